"""`recipekit cache ls` and `gc --recipe`: what runs left on servers."""

import json
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.store import Store
from recipekit.cli.main import invoke
from recipekit.component import Embeddings
from recipekit.records import Dataset
from recipekit.retrievers.qdrant import Qdrant
from recipekit.testing import context

RECIPE = """\
recipe: 1
name: demo
encoders:
  student: {{use: bi_encoder, model: ./model}}
collect:
  sources:
    mine: {{use: pairs, file: pairs.jsonl}}
mine:
  retrievers:
    dense: {{use: qdrant, encoder: student, url: "{url}"}}
    again: {{use: qdrant, encoder: student, url: "{url}", exact: true}}
    words: {{use: bm25}}
"""


@pytest.fixture
def folder(tmp_path: Path, qdrant, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, and a cache with data set `kept`, to which a run leads, and `freed`, to which none does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(url=qdrant.url))
    store = Store(Path(".recipekit"))
    (tmp_path / ".recipekit").mkdir()
    (tmp_path / ".recipekit" / "owner").write_text(f"recipekit-test-{tmp_path.name}")
    for key in ("kept", "freed"):
        store.make("collect", key, lambda partial, key=key: manifest(stage="collect", key=key, identity={}, inputs={}, summary={}))
    stages = tmp_path / "runs" / "demo" / "20260101T000000Z-aa" / "stages"
    stages.mkdir(parents=True)
    (stages / "collect").symlink_to(tmp_path / ".recipekit" / "cache" / "collect" / "kept")
    return tmp_path


def make_collection(url: str, dataset: Dataset, key: str, owner: str, scratch: Path) -> str:
    vectors = np.eye(64, dtype=np.float32)
    held = Dataset(dataset.path, key)
    around = context(
        scratch,
        dataset=held,
        owner=owner,
        embeddings=lambda name, side: Embeddings(scratch, vectors[: 24 if side == "query" else 36], True, f"{key}-{side}"),
    )
    return Qdrant(encoder="student", url=url, exact=True).build(around).points.collection


@pytest.fixture
def collections(folder: Path, qdrant, tiny_dataset: Dataset) -> dict[str, str]:
    """Collections: of this cache over both data sets, and over one that is gone; of another cache; and somebody's own."""
    owner = Store(Path(".recipekit")).owner
    made = {key: make_collection(qdrant.url, tiny_dataset, key, owner, folder / key) for key in ("kept", "freed", "gone")}
    made["another's"] = make_collection(qdrant.url, tiny_dataset, "gone", "recipekit-test-other", folder / "other")
    made["unmarked"] = "recipekit-test-by-hand"
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    client.create_collection(made["unmarked"], vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.close()
    return made


def there(url: str, collections: dict[str, str]) -> set[str]:
    client = QdrantClient(url=url, check_compatibility=False)
    names = {collection.name for collection in client.get_collections().collections}
    client.close()
    return {what for what, name in collections.items() if name in names}


def test_ls_tells_what_is_on_the_servers_of_a_recipe(folder, qdrant, collections, capsys):
    assert invoke(["cache", "ls", "--recipe", "recipe.yaml"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Qdrant at")]
    told = {line.split(": ")[1].split("  ")[0]: line.split("passages  ")[1] for line in lines}
    assert told == {
        collections["kept"]: "needed",
        collections["freed"]: "free",
        collections["gone"]: "free",
        collections["another's"]: "of another cache",
    }
    assert all("36 passages" in line for line in lines)


def test_gc_removes_only_what_this_cache_made_and_no_run_needs(folder, qdrant, collections, capsys):
    everything = set(collections)
    assert invoke(["cache", "gc", "--recipe", "recipe.yaml", "--dry-run"]) == 0
    assert f"would remove Qdrant at {qdrant.url}: {collections['freed']}" in capsys.readouterr().out
    assert there(qdrant.url, collections) == everything

    assert invoke(["cache", "gc"]) == 0
    assert there(qdrant.url, collections) == everything

    assert invoke(["cache", "gc", "--recipe", "recipe.yaml"]) == 0
    assert there(qdrant.url, collections) == {"kept", "another's", "unmarked"}
    assert invoke(["cache", "gc", "--recipe", "recipe.yaml"]) == 0
    assert there(qdrant.url, collections) == {"kept", "another's", "unmarked"}


def test_a_server_that_does_not_answer_is_an_error_and_nothing_is_removed(folder, capsys):
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(url="http://127.0.0.1:9"))
    assert invoke(["cache", "gc", "--recipe", "recipe.yaml"]) != 0
    assert "Qdrant at http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err
    assert json.loads((folder / ".recipekit/cache/collect/freed/manifest.json").read_text())["key"] == "freed"
