"""What the shell completes, and that it does so without heavy imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


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
        ("recipekit ru", ["run"]),
        ("recipekit run q", ["quickstart"]),
        ("recipekit run my", ["my.yaml"]),
        ("recipekit run sub", ["sub/"]),
        ("recipekit validate sub/", ["sub/other.yml"]),
        ("recipekit judge ", ["try", "sample"]),
        ("recipekit judge try my", ["my.yaml"]),
        ("recipekit run --until m", ["mine"]),
        ("recipekit plan --from e", ["evaluate", "export"]),
        ("recipekit components ph", ["phase"]),
    ],
)
def test_a_line_is_completed_quickly(line: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.yml").touch()
    (tmp_path / "my.yaml").touch()
    (tmp_path / "my.csv").touch()
    found, modules = completed(line, tmp_path)
    assert found == expected
    assert "typer" in modules
    assert not modules & {"torch", "transformers", "datasets", "litellm", "mteb"}
