"""The generator of the pages, and the example plugin as if it were installed."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from helpers.markdown import ROOT
from helpers.module_from_file import module_from_file
from recipekit import registry


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """The module `docs/generate.py`."""
    return module_from_file(ROOT / "docs" / "generate.py")


@pytest.fixture
def example_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The entry points of plugins/recipekit-example, without building a distribution."""
    plugin = ROOT / "plugins" / "recipekit-example"
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / "recipekit_example-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: recipekit-example\nVersion: 0.1\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(plugin / "src")
    monkeypatch.syspath_prepend(info.parent)
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()
