"""The exported model: what others load, and its card."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.errors import RunError
from recipekit.exporters.sentence_transformers import SentenceTransformersSpec
from recipekit.testing import context

CARD = {
    "name": "stdlib-code-search",
    "description": "Finds functions by what they do.",
    "recipe": "recipe: 1\nname: stdlib-code-search\n",
    "base_model": "sentence-transformers/all-MiniLM-L6-v2",
    "command": "recipekit run stdlib-code-search.yaml",
    "metrics": [
        {
            "evaluator": "held_out",
            "split": "test",
            "system": "untrained",
            "metric": "ndcg@10",
            "value": 0.5,
            "low": 0.45,
            "high": 0.55,
        },
        {
            "evaluator": "held_out",
            "split": "test",
            "system": "trained",
            "metric": "ndcg@10",
            "value": 0.61,
            "low": None,
            "high": None,
        },
    ],
    "counts": {
        "collect": {"passages": 12345, "sources": {"stdlib": 1}},
        "mine": {"candidates_per_query": 50},
    },
    "versions": {"python": "3.11"},
}


@pytest.fixture
def trained(tiny_model: Path, tmp_path: Path) -> Path:
    """A train artifact whose encoder has prompts and towers of its own."""
    spec = BiEncoderSpec(
        model=str(tiny_model), precision="fp32", query_prompt="river: ", tied=False
    )
    spec.build(context(tmp_path / "scratch")).save(tmp_path / "train" / "encoder")
    return tmp_path / "train"


def export(folder: Path, inputs: dict[str, Path], card: dict[str, object]) -> dict[str, object]:
    return dict(
        SentenceTransformersSpec().build(context(folder / "scratch")).export(inputs, card, folder)
    )


def test_the_exported_folder_encodes_as_the_trained_encoder(trained: Path, tmp_path: Path) -> None:
    written = export(tmp_path / "model", {"train": trained}, CARD)
    exported, original = (
        SentenceTransformer(str(folder), device="cpu")
        for folder in (tmp_path / "model", trained / "encoder")
    )
    texts = ["river mountain", "opera"]
    np.testing.assert_array_equal(exported.encode_query(texts), original.encode_query(texts))
    np.testing.assert_array_equal(exported.encode_document(texts), original.encode_document(texts))
    assert written["files"] == sum(1 for file in (tmp_path / "model").rglob("*") if file.is_file())


def test_the_card_tells_data_recipe_metrics_and_how_to_repeat(
    trained: Path, tmp_path: Path
) -> None:
    export(tmp_path / "model", {"train": trained}, CARD)
    _, front, body = (tmp_path / "model" / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert (
        told["library_name"] == "sentence-transformers"
        and told["pipeline_tag"] == "sentence-similarity"
    )
    assert (
        told["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
        and "recipekit" in told["tags"]
    )
    assert "| evaluator | split | metric | untrained | trained |" in body
    assert "| held_out | test | ndcg@10 | 0.5000 [0.4500, 0.5500] | 0.6100 |" in body
    assert (
        "| collect | passages | 12,345 |" in body and "| mine | candidates per query | 50 |" in body
    )
    assert 'query "river: "' in body
    assert (
        "recipe: 1\nname: stdlib-code-search" in body
        and "recipekit run stdlib-code-search.yaml" in body
    )


def test_a_path_of_this_machine_stays_out_of_the_card(trained: Path, tmp_path: Path) -> None:
    export(tmp_path / "model", {"train": trained}, {"base_model": "/home/somebody/models/mine"})
    assert "somebody" not in (tmp_path / "model" / "README.md").read_text()


def test_without_training_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match="no trained model to export: this recipe has no train section"
    ):
        export(tmp_path / "model", {"collect": tmp_path}, CARD)
