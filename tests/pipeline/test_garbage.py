"""Removing unused artifacts from a cache."""

import json
import os
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


def test_artifacts_that_no_run_uses_are_removed(store: Store, tmp_path: Path) -> None:
    assert [path.name for path, _ in collect_garbage(store, tmp_path / "runs")] == ["free"]
    assert [artifact.key for artifact in store.all()] == ["kept"]


def test_what_an_interrupted_run_resumes_from_stays(store: Store, tmp_path: Path) -> None:
    run = next((tmp_path / "runs" / "mine").iterdir())
    for key in ("resumed", "abandoned"):
        store.partial("train", key).mkdir(parents=True)
        (store.partial("train", key) / "checkpoint").write_bytes(b"12")
    store.make("embeddings", "old", lambda folder: {"stage": "embeddings"})
    os.utime(store.cache / "embeddings" / "old", (0, 0))
    planned = [{"stage": "train", "key": "resumed"}, {"stage": "evaluate", "key": None}]
    (run / "plan.json").write_text(json.dumps(planned))
    (run / "run.json").write_text(json.dumps({"started": "2025-01-01T00:00:00+00:00"}))
    store.make("embeddings", "new", lambda folder: {"stage": "embeddings"})
    store.partial("embeddings", "half").mkdir()

    def removed(**options: bool) -> set[str]:
        found = collect_garbage(store, tmp_path / "runs", dry_run=True, **options)
        return {path.name for path, _ in found}

    assert removed() == {"free", "old", "abandoned.partial"}
    assert removed(unfinished=True) == {"new", "half.partial", "resumed.partial", *removed()}
    list(collect_garbage(store, tmp_path / "runs"))
    assert (store.partial("train", "resumed") / "checkpoint").read_bytes() == b"12"
    (run / "run.json").write_text("{")
    assert removed() == set()
    (run / "plan.json").write_text("{")
    assert removed() == {"new", "half.partial", "resumed.partial"}


def test_nothing_is_removed_if_the_folder_of_runs_is_missing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(
        StoreError,
        match=r"elsewhere: there are no runs here, so everything would be removed; "
        r"name their folder with --runs",
    ):
        list(collect_garbage(store, tmp_path / "elsewhere"))
    # The error is raised before the servers of the recipe are looked up.
    with pytest.raises(StoreError, match="there are no runs here"):
        list(collect_remote_garbage(Recipe.model_construct(), store, tmp_path / "elsewhere"))
    assert len(list(store.all())) == 2


def test_an_empty_cache_needs_no_runs(tmp_path: Path) -> None:
    assert list(collect_garbage(Store(tmp_path), tmp_path / "runs")) == []


def test_stored_tables_that_no_run_names_are_removed_after_a_day(
    store: Store, tmp_path: Path
) -> None:
    tables = store.root / "tables"
    tables.mkdir()
    run = next((tmp_path / "runs" / "mine").iterdir())
    (run / "recipe.yaml").write_text(f"file: {tables}/used.arrow\n")
    for name in ("used", "unused", "new"):
        (tables / f"{name}.arrow").write_bytes(b"1234")
        if name != "new":
            os.utime(tables / f"{name}.arrow", (0, 0))
    runs = tmp_path / "runs"
    removed = {path.name: size for path, size in collect_garbage(store, runs, dry_run=True)}
    assert removed == {"free": removed["free"], "unused.arrow": 4}
    assert (tables / "unused.arrow").exists(), "nothing is removed by a dry run"
    list(collect_garbage(store, runs))
    assert sorted(path.name for path in tables.iterdir()) == ["new.arrow", "used.arrow"]
    list(collect_garbage(store, runs, keep_runs=0))
    assert [path.name for path in tables.iterdir()] == ["new.arrow"]
