"""What the cache may lose."""

from pathlib import Path

import pytest

from recipekit.artifacts.store import Store
from recipekit.errors import StoreError
from recipekit.pipeline.garbage import collect_garbage
from recipekit.pipeline.remote_indices import collect_remote_garbage
from recipekit.recipe.sections import Recipe


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / ".recipekit")
    for key in ("kept", "free"):
        store.make("collect", key, lambda folder: {"stage": "collect"})
    run = tmp_path / "runs" / "mine" / "20250101T000000Z-abc" / "stages"
    run.mkdir(parents=True)
    (run / "collect").symlink_to(store.cache / "collect" / "kept")
    return store


def test_what_no_run_leads_to_goes(store: Store, tmp_path: Path) -> None:
    assert [path.name for path, _ in collect_garbage(store, tmp_path / "runs")] == ["free"]
    assert [artifact.key for artifact in store.all()] == ["kept"]


def test_where_there_are_no_runs_nothing_goes(store: Store, tmp_path: Path) -> None:
    with pytest.raises(
        StoreError,
        match=r"elsewhere: no runs are here, so that nothing would be kept; --runs names their folder",
    ):
        list(collect_garbage(store, tmp_path / "elsewhere"))
    with pytest.raises(
        StoreError, match="no runs are here"
    ):  # before any server of the recipe is looked for
        list(collect_remote_garbage(Recipe.model_construct(), store, tmp_path / "elsewhere"))
    assert len(list(store.all())) == 2


def test_an_empty_cache_needs_no_runs(tmp_path: Path) -> None:
    assert list(collect_garbage(Store(tmp_path), tmp_path / "runs")) == []
