"""The tutorial works exactly as it is written."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.help_center import FILE, help_center_oracle
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
    binaries = Path(sys.executable).parent
    asked = 0
    with serving(help_center_oracle()) as server:
        environment = {
            **os.environ,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "OPENAI_API_KEY": "sk-tutorial",
            "OPENAI_BASE_URL": f"{server.url.removesuffix('/v1')}/v1",
            "OPENAI_API_BASE": f"{server.url.removesuffix('/v1')}/v1",
        }
        for block in code_blocks("console"):
            if block.page != PAGE:
                continue
            for command, shown in commands(block):
                ended = subprocess.run(
                    ["bash", "-c", command], cwd=folder, env=environment, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                )  # fmt: skip
                assert ended.returncode == 0, f"{command}\n{ended.stdout}"
                assert re.fullmatch(pattern(shown), ended.stdout), f"{command}\n{ended.stdout}"
                asked += 1
    assert asked == 7

    (program,) = [block for block in code_blocks("python") if block.page == PAGE]
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program.text, str(program), "exec"), {"__name__": "tutorial"})
    assert printed.getvalue() == "torch.Size([1, 1])\n"
