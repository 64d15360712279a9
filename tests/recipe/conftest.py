from collections.abc import Callable
from pathlib import Path

import pytest

SMALLEST = """\
recipe: 1
name: smallest
collect:
  sources:
    jars: {use: shelf, path: jars}
"""


@pytest.fixture
def write(tmp_path: Path, installed: Path) -> Callable[..., Path]:
    """`write(more, name=...)`: write the smallest recipe followed by `more` into `tmp_path`."""

    def write(more: str = "", name: str = "recipe.yaml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SMALLEST + more)
        return file

    return write
