"""The tutorial works exactly as it is written."""

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest

from helpers.help_center import FILE, help_center_oracle
from helpers.in_process import call_in_process
from helpers.markdown import ROOT, CodeBlock, code_blocks
from servers.openai_server import serving

PAGE = ROOT / "docs" / "tutorial.md"


def commands(block: CodeBlock) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that the page shows."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def pattern(shown: list[str]) -> str:
    """A regular expression for output: `...` is any text, and alone in a line any lines."""
    lines = []
    for line in shown:
        if line == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(r".*".join(re.escape(part) for part in line.split("...")) + r"\n")
    return "".join(lines)


@pytest.mark.slow
def test_the_tutorial_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "help-center"
    folder.mkdir()
    shutil.copy(FILE, folder)
    for variable in ("RECIPEKIT_CACHE", "RECIPEKIT_RUNS"):
        monkeypatch.delenv(variable, raising=False)
    asked = 0
    with serving(help_center_oracle()) as server:
        environment = {
            "OPENAI_API_KEY": "sk-tutorial",
            "OPENAI_BASE_URL": f"{server.url.removesuffix('/v1')}/v1",
            "OPENAI_API_BASE": f"{server.url.removesuffix('/v1')}/v1",
        }
        for block in code_blocks("console"):
            if block.page != PAGE:
                continue
            for command, shown in commands(block):
                program, *arguments = shlex.split(command)
                assert program == "recipekit"
                ended = call_in_process(folder, *arguments, merge=True, **environment)
                assert re.fullmatch(pattern(shown), ended.stdout), f"{command}\n{ended.stdout}"
                asked += 1
    assert asked == 7

    (program,) = [block for block in code_blocks("python") if block.page == PAGE]
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program.text, str(program), "exec"), {"__name__": "tutorial"})
    assert printed.getvalue() == "torch.Size([1, 1])\n"
