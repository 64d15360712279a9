"""`recipekit cache ls` and `gc --recipe`: what runs left on servers."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import elasticsearch
import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models

from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.store import Store
from recipekit.cli.main import invoke
from recipekit.component import Context, Embeddings
from recipekit.dataset import Dataset
from recipekit.retrievers.elasticsearch import ElasticsearchRetrieverSpec
from recipekit.retrievers.qdrant import QdrantSpec
from recipekit.tables import PASSAGES, write_table
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
    first: {first}
    again: {again}
    words: {{use: bm25}}
"""
pytestmark = pytest.mark.server

RUN = "runs/demo/20260101T000000Z-aa"


@dataclass(frozen=True)
class Engine:
    """A kind of server, for tests of both."""

    server: str
    """Its name in messages."""
    first: str
    again: str
    """Two retrievers on it."""
    build: Callable[[Context], str]
    """Makes an index with an ownership tag and returns its name."""
    names: Callable[[], set[str]]
    """The names of everything on the server."""


@pytest.fixture
def on_qdrant(qdrant) -> Iterator[Engine]:
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    client.create_collection(
        "recipekit-test-by-hand",
        vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT),
    )
    spec = f'{{use: qdrant, encoder: student, url: "{qdrant.url}"'
    yield Engine(
        f"Qdrant at {qdrant.url}",
        f"{spec}}}",
        f"{spec}, exact: true}}",
        lambda run_context: (
            QdrantSpec(encoder="student", url=qdrant.url, exact=True).build(run_context).collection
        ),
        lambda: {collection.name for collection in client.get_collections().collections},
    )
    client.close()


@pytest.fixture
def on_elasticsearch(elasticsearch_url) -> Iterator[Engine]:
    client = elasticsearch.Elasticsearch(elasticsearch_url)
    client.indices.create(index="recipekit-test-by-hand")
    spec = f'{{use: elasticsearch, url: "{elasticsearch_url}"'
    before = set(client.indices.get(index="*"))
    yield Engine(
        f"Elasticsearch at {elasticsearch_url}",
        f"{spec}}}",
        f"{spec}, b: 0.75}}",
        lambda run_context: (
            ElasticsearchRetrieverSpec(url=elasticsearch_url).build(run_context).target.index
        ),
        lambda: set(client.indices.get(index="*")),
    )
    for name in {*set(client.indices.get(index="*")) - before, "recipekit-test-by-hand"}:
        client.indices.delete(index=name)
    client.close()


@pytest.fixture(params=["on_qdrant", "on_elasticsearch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue(request.param)


def passages(folder: Path, key: str) -> Dataset:
    """A collected corpus whose texts contain a key."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [
        [f"p{row}" for row in range(36)],
        [""] * 36,
        [f"{key} {row}" for row in range(36)],
        ["test"] * 36,
    ]
    write_table(folder / "passages.arrow", PASSAGES, [pa.table(columns, schema=PASSAGES)])
    return Dataset(folder, key)


def collected(key: str) -> Store:
    """The cache with a data set in it."""
    store = Store(Path(".recipekit"))

    def build(partial: Path) -> dict[str, object]:
        passages(partial, key)
        return manifest(stage="collect", key=key, identity={}, inputs={}, summary={})

    store.make("collect", key, build)
    return store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with data set `kept`, which a run needs, and `freed`, which none needs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".recipekit").mkdir()
    (tmp_path / ".recipekit" / "owner").write_text(f"recipekit-test-{tmp_path.name}")
    collected("kept")
    collected("freed")
    stages = tmp_path / RUN / "stages"
    stages.mkdir(parents=True)
    (stages / "collect").symlink_to(tmp_path / ".recipekit" / "cache" / "collect" / "kept")
    return tmp_path


def indexed(engine: Engine, folder: Path, key: str, owner: str) -> str:
    vectors = np.eye(64, dtype=np.float32)[:36]
    run_context = context(
        folder / key / owner,
        dataset=passages(folder / key, key),
        owner=owner,
        embeddings=lambda name, side: Embeddings(folder, vectors, "cosine", f"{key}-{side}"),
    )
    return engine.build(run_context)


@pytest.fixture
def indices(folder: Path, engine: Engine) -> dict[str, str]:
    """Indices by their owner: this cache (three data sets, one of them gone), another, no tag."""
    (folder / "recipe.yaml").write_text(RECIPE.format(first=engine.first, again=engine.again))
    owner = Store(Path(".recipekit")).owner
    made = {key: indexed(engine, folder, key, owner) for key in ("kept", "freed", "gone")}
    made["other cache"] = indexed(engine, folder, "gone", "recipekit-test-other")
    made["untagged"] = "recipekit-test-by-hand"
    return made


def remaining(engine: Engine, indices: dict[str, str]) -> set[str]:
    names = engine.names()
    return {what for what, name in indices.items() if name in names}


def test_ls_lists_the_indices_on_the_servers_of_a_recipe(folder, engine, indices, capsys):
    assert invoke(["cache", "ls", "--recipe", "recipe.yaml"]) == 0
    rows = [re.split(" {2,}", line) for line in capsys.readouterr().out.splitlines()]
    rows = [row for row in rows if row[0] == engine.server]
    states = {index: state for _, index, state, *_ in rows}
    assert {name: states.get(name) for name in indices.values()} == {
        indices["kept"]: "needed",
        indices["freed"]: "free",
        indices["gone"]: "free",
        indices["other cache"]: "of another cache",
        indices["untagged"]: None,
    }
    assert len(states) == len(rows), "a server that two retrievers use is listed once"
    assert sum(row[3] == "36" for row in rows) >= 4


def test_gc_removes_only_unused_indices_of_this_cache(folder, engine, indices, capsys):
    everything = set(indices)
    assert invoke(["cache", "gc", "--recipe", "recipe.yaml", "--dry-run"]) == 0
    assert f"would remove {engine.server}: {indices['freed']}" in capsys.readouterr().out
    assert remaining(engine, indices) == everything

    assert invoke(["cache", "gc"]) == 0
    assert remaining(engine, indices) == everything

    assert invoke(["cache", "gc", "--recipe", "recipe.yaml"]) == 0
    assert remaining(engine, indices) == {"kept", "other cache", "untagged"}
    assert invoke(["cache", "gc", "--recipe", "recipe.yaml"]) == 0
    assert remaining(engine, indices) == {"kept", "other cache", "untagged"}


def test_an_index_serves_every_data_set_of_its_passages(folder, on_elasticsearch, capsys):
    """A data set with other labels needs the index that an earlier one, long removed, had made."""
    store = Store(Path(".recipekit"))
    name = indexed(on_elasticsearch, folder, "kept", store.owner)
    (folder / "recipe.yaml").write_text(
        RECIPE.format(first=on_elasticsearch.first, again=on_elasticsearch.again)
    )
    kept = store.find("collect", "kept")
    relabelled = kept.path.with_name("relabelled")
    kept.path.rename(relabelled)
    link = folder / RUN / "stages" / "collect"
    link.unlink()
    link.symlink_to(relabelled.absolute())
    assert invoke(["cache", "gc", "--recipe", "recipe.yaml"]) == 0
    assert name in on_elasticsearch.names()
    link.unlink()
    assert invoke(["cache", "gc", "--recipe", "recipe.yaml"]) == 0
    assert name not in on_elasticsearch.names()


@pytest.mark.parametrize(
    ("use", "place"),
    [
        (
            "{use: qdrant, encoder: student, url: 'http://127.0.0.1:9'}",
            "Qdrant at http://127.0.0.1:9",
        ),
        ("{use: elasticsearch, url: 'http://127.0.0.1:9'}", "Elasticsearch at http://127.0.0.1:9"),
    ],
)
def test_a_server_that_does_not_answer_is_an_error_and_nothing_is_removed(
    folder, capsys, use, place
):
    (folder / "recipe.yaml").write_text(RECIPE.format(first=use, again=use))
    assert invoke(["cache", "gc", "--recipe", "recipe.yaml"]) != 0
    assert f"{place} cannot be reached" in capsys.readouterr().err
    assert Store(Path(".recipekit")).find("collect", "freed")
