"""A recipe that mines with Qdrant, on a server and embedded, through the command line."""

import json
from pathlib import Path

from qdrant_client import QdrantClient

RETRIEVERS = """\
    dense: {{use: qdrant, encoder: student, url: "${{env:QDRANT_URL}}", depth: 10}}
    embedded: {{use: qdrant, where: embedded, encoder: student, depth: 10, exact: true}}
"""


def test_mining_with_a_server_and_embedded(folder: Path, cli, qdrant) -> None:
    text = (folder / "recipe.yaml").read_text()
    exact = "    dense: {use: exact, encoder: student, depth: 10}\n"
    (folder / "recipe.yaml").write_text(text.replace(exact, RETRIEVERS.format()) if exact in text else "")
    (folder / ".recipekit").mkdir()
    (folder / ".recipekit" / "owner").write_text("recipekit-test-run")

    told = cli("run", "recipe.yaml", "--until", "mine", QDRANT_URL=qdrant.url).stderr

    summary = json.loads((folder / "runs/tiny/latest/stages/mine/manifest.json").read_text())["summary"]
    assert summary["engines"] == {"dense": {"exact": False, "recall_against_exact": 1.0}, "embedded": {"exact": True}}
    assert summary["overlap"]["dense & embedded"] == 1.0
    assert summary["recall"]["retrievers"]["dense"] == summary["recall"]["retrievers"]["embedded"]
    assert "recall@10 against exact search is 1.0000" in told
    assert qdrant.url not in (folder / "runs/tiny/latest/recipe.resolved.yaml").read_text()

    kept = cli("cache", "gc", "--recipe", "recipe.yaml", QDRANT_URL=qdrant.url).stdout
    freed = cli("cache", "gc", "--recipe", "recipe.yaml", "--keep-runs", "0", QDRANT_URL=qdrant.url).stdout
    assert "Qdrant" not in kept
    assert f"removed Qdrant at {qdrant.url}: recipekit-" in freed
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    assert not [found for found in client.get_collections().collections if found.name in freed]
    client.close()
