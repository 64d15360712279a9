"""What the shell completes, and that it does so without heavy imports."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def completed(line: str, folder: Path) -> tuple[list[str], set[str]]:
    """The completions of a line that ends where the cursor is, and the modules imported."""
    code = (
        "import sys\nfrom recipekit.cli.main import invoke\ninvoke([])\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    words = line.split(" ")
    environment = {
        **os.environ,
        "_RECIPEKIT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder
    )
    return done.stdout.split(), set(done.stderr.split())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("recipekit ru", ["run", "runs"]),
        ("recipekit run q", ["quickstart"]),
        ("recipekit run my", ["my.yaml"]),
        ("recipekit run sub", ["sub/"]),
        ("recipekit validate sub/", ["sub/other.yml"]),
        ("recipekit judge ", ["try", "sample"]),
        ("recipekit judge try my", ["my.yaml"]),
        ("recipekit run --until m", ["mine"]),
        ("recipekit plan --from e", ["evaluate", "export"]),
        ("recipekit components ph", ["phase"]),
        ("recipekit components retriever e", ["elasticsearch", "exact"]),
        ("recipekit components retrievers b", ["bm25"]),
        ("recipekit components loss inf", ["infonce"]),
        ("recipekit components nothing ", []),
        ("recipekit report s", ["small", "sub/"]),
        ("recipekit search sm", ["small"]),
        ("recipekit report --runs other-runs s", ["second", "sub/"]),
        ("recipekit recipes q", ["quickstart"]),
        ("recipekit keys ev", ["evaluate"]),
        ("recipekit init --source b", ["beir"]),
        ("recipekit new-plugin --kind lo", ["loss"]),
        ("recipekit cache ls --recipe my", ["my.yaml"]),
        ("recipekit schema --distribution rec", ["recipekit"]),
    ],
)
def test_a_line_is_completed_quickly(line: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.yml").touch()
    (tmp_path / "my.yaml").touch()
    (tmp_path / "runs" / "small").mkdir(parents=True)
    (tmp_path / "other-runs" / "second").mkdir(parents=True)
    (tmp_path / "my.csv").touch()
    found, modules = completed(line, tmp_path)
    assert found == expected
    assert "typer" in modules
    assert not modules & {"torch", "transformers", "datasets", "litellm", "mteb"}


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
