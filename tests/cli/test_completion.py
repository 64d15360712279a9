"""What the shell completes, and that it does so without heavy imports."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


COMPLETE = """
import contextlib, io, json, os, sys
from recipekit.cli.main import invoke

found = {}
for line in json.loads(sys.argv[1]):
    cursor = len(line.split(" ")) - 1
    variables = {"_RECIPEKIT_COMPLETE": "complete_bash", "COMP_WORDS": line}
    os.environ.update(variables, COMP_CWORD=str(cursor))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        invoke([])
    found[line] = printed.getvalue().split()
print(json.dumps([found, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
COMPLETED = {
    "recipekit ru": ["run", "runs"],
    "recipekit run q": ["quickstart"],
    "recipekit run my": ["my.yaml"],
    "recipekit run sub": ["sub/"],
    "recipekit validate sub/": ["sub/other.yml"],
    "recipekit judge ": ["try", "sample"],
    "recipekit judge try my": ["my.yaml"],
    "recipekit run --until m": ["mine"],
    "recipekit plan --from e": ["evaluate", "export"],
    "recipekit components ph": ["phase"],
    "recipekit components retriever e": ["elasticsearch", "exact"],
    "recipekit components retrievers b": ["bm25"],
    "recipekit components loss inf": ["infonce"],
    "recipekit components nothing ": [],
    "recipekit report s": ["small", "sub/"],
    "recipekit search sm": ["small"],
    "recipekit report --runs other-runs s": ["second", "sub/"],
    "recipekit recipes q": ["quickstart"],
    "recipekit keys ev": ["evaluate"],
    "recipekit init --source b": ["beir"],
    "recipekit new-plugin --kind lo": ["loss"],
    "recipekit cache ls --recipe my": ["my.yaml"],
    "recipekit schema --distribution rec": ["recipekit"],
}
"""The completions of lines that end where the cursor is."""


def test_lines_are_completed_quickly(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.yml").touch()
    (tmp_path / "my.yaml").touch()
    (tmp_path / "runs" / "small").mkdir(parents=True)
    (tmp_path / "other-runs" / "second").mkdir(parents=True)
    (tmp_path / "my.csv").touch()
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE, json.dumps(list(COMPLETED))],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stderr == ""
    found, modules = json.loads(done.stdout)
    assert found == COMPLETED
    assert "typer" in modules
    assert not set(modules) & {"torch", "transformers", "datasets", "litellm", "mteb"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_script_completes_in_bash(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("recipekit")
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(
        [command, "--show-completion", "bash"], capture_output=True, text=True, env=environment
    )
    (tmp_path / "completion.bash").write_text(shown.stdout)
    script = (
        "source completion.bash; COMP_WORDS=(recipekit components loss i); COMP_CWORD=3; "
        '_recipekit_completion "$0"; echo "${COMPREPLY[@]}"; complete -p recipekit'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, command], capture_output=True, text=True, cwd=tmp_path
    )
    completed, registered = done.stdout.splitlines()
    assert completed == "infonce", done.stderr
    assert registered == "complete -o default -F _recipekit_completion recipekit"
