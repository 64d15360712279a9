"""A recipe that mines with Elasticsearch and Qdrant and ends with a trained model."""

import json
from pathlib import Path

import elasticsearch
import pytest
from qdrant_client import QdrantClient

EMBEDDED = """\
    lexical: {use: bm25, depth: 10}
    dense: {use: exact, encoder: student, depth: 10}
"""
RETRIEVERS = """\
    lexical: {{use: elasticsearch, url: "${{env:ES_URL}}", depth: 10}}
    dense: {{use: qdrant, encoder: student, url: "${{env:QDRANT_URL}}", depth: 10}}
    exact: {{use: exact, encoder: student, depth: 10}}
"""


@pytest.mark.slow
def test_a_recipe_mines_with_both_engines_and_trains(
    folder: Path, cli, qdrant, elasticsearch_url
) -> None:
    servers = {"QDRANT_URL": qdrant.url, "ES_URL": elasticsearch_url}
    recipe = folder / "recipe.yaml"
    assert EMBEDDED in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(EMBEDDED, RETRIEVERS.format()))
    (folder / ".recipekit").mkdir()
    (folder / ".recipekit" / "owner").write_text("recipekit-test-run")

    output = cli("run", "recipe.yaml", **servers).stderr

    latest = folder / "runs/tiny/latest"
    summary = json.loads((latest / "stages/mine/manifest.json").read_text())["summary"]
    assert summary["engines"]["dense"] == {
        "similarity": "cosine",
        "exact": False,
        "recall_against_exact": 1.0,
    }
    assert summary["overlap"]["dense & exact"] == 1.0
    assert summary["recall"]["retrievers"]["dense"] == summary["recall"]["retrievers"]["exact"]
    assert summary["recall"]["retrievers"]["lexical"]["10"] > 0.8, (
        "a query is three words of its passage"
    )
    assert "recall@10 against exact search is 1.0000" in output
    judged = json.loads((latest / "stages/judge/manifest.json").read_text())["summary"]
    assert (
        judged["judges"]["near"]["judged"]
        == judged["candidates"] - judged["source_labels"]["positive"]
    )
    assert {row["system"] for row in json.loads((latest / "metrics.json").read_text())} == {
        "bm25",
        "untrained",
        "trained",
    }
    assert not [
        url for url in servers.values() if url in (latest / "recipe.resolved.yaml").read_text()
    ]

    kept = cli("cache", "gc", "--recipe", "recipe.yaml", **servers).stdout
    freed = cli("cache", "gc", "--recipe", "recipe.yaml", "--keep-runs", "0", **servers).stdout
    assert "recipekit-" not in kept
    assert f"removed Qdrant at {qdrant.url}: recipekit-" in freed
    assert f"removed Elasticsearch at {elasticsearch_url}: recipekit-" in freed
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    assert not [found for found in client.get_collections().collections if found.name in freed]
    client.close()
    with elasticsearch.Elasticsearch(elasticsearch_url) as client:
        assert not [name for name in client.indices.get(index="recipekit-*") if name in freed]
