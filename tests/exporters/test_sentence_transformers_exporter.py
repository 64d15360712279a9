"""The exported model and its card."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.errors import RunError
from recipekit.exporters.sentence_transformers import SentenceTransformersSpec
from recipekit.report.blocks import Figure, Table
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
    "counts": {"passages in the corpus": 12345, "mined candidates": 50},
    "versions": {"python": "3.11"},
}


@pytest.fixture
def trained(tiny_model: Path, tmp_path: Path) -> Path:
    """A trained encoder with prompts and two towers."""
    spec = BiEncoderSpec(
        model=str(tiny_model), precision="fp32", query_prompt="river: ", tied=False
    )
    spec.build(context(tmp_path / "scratch")).save(tmp_path / "train" / "encoder")
    return tmp_path / "train" / "encoder"


def export(folder: Path, files: dict[str, Path], card: dict[str, object]) -> dict[str, object]:
    return dict(
        SentenceTransformersSpec().build(context(folder / "scratch")).export(files, card, folder)
    )


def test_the_exported_folder_encodes_as_the_trained_encoder(trained: Path, tmp_path: Path) -> None:
    written = export(tmp_path / "model", {"encoder": trained}, CARD)
    router = json.loads((tmp_path / "model" / "router_config.json").read_text())
    assert router["parameters"]["default_route"] == "document"  # as the card says
    exported, original = (
        SentenceTransformer(str(folder), device="cpu") for folder in (tmp_path / "model", trained)
    )
    texts = ["river mountain", "opera"]
    np.testing.assert_array_equal(exported.encode_query(texts), original.encode_query(texts))
    np.testing.assert_array_equal(exported.encode_document(texts), original.encode_document(texts))
    assert written["files"] == sum(1 for file in (tmp_path / "model").rglob("*") if file.is_file())


def test_the_model_card_states_usage_metrics_data_and_how_to_reproduce(
    trained: Path, tmp_path: Path
) -> None:
    export(tmp_path / "model", {"encoder": trained}, CARD)
    _, front, body = (tmp_path / "model" / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["library_name"] == "sentence-transformers"
    assert metadata["pipeline_tag"] == "sentence-similarity"
    assert metadata["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert "recipekit" in metadata["tags"]
    assert metadata["model-index"] == [
        {
            "name": "stdlib-code-search",
            "results": [
                {
                    "task": {"type": "information-retrieval", "name": "Information Retrieval"},
                    "dataset": {"name": "held_out", "type": "held_out", "split": "test"},
                    "metrics": [{"type": "ndcg@10", "name": "ndcg@10", "value": 0.61}],
                }
            ],
        }
    ]
    for line in (
        "# stdlib-code-search",
        "Finds functions by what they do.",
        "| embedding dimensions | 32 |",
        "| similarity function | cosine |",
        '| query prompt | `"river: "` |',
        "| document prompt | none |",
        "### held_out, test split",
        "| untrained | 0.500 [0.450, 0.550] |",
        "| trained | **0.610** |",
        "| passages in the corpus | 12,345 |",
        "| mined candidates | 50 |",
        "Queries and passages have separate encoders: queries need `encode_query`, since `encode` "
        "takes the encoder of passages.",
        "recipe: 1",
        "recipekit run stdlib-code-search.yaml",
        "Versions: python 3.11.",
    ):
        assert line in body.splitlines(), line


def test_the_card_of_one_encoder_for_both_sides_warns_of_nothing(
    tiny_model: Path, tmp_path: Path
) -> None:
    encoder = tmp_path / "train" / "encoder"
    spec = BiEncoderSpec(model=str(tiny_model), precision="fp32")
    spec.build(context(tmp_path / "scratch")).save(encoder)
    export(tmp_path / "model", {"encoder": encoder}, {})
    card = (tmp_path / "model" / "README.md").read_text()
    assert "This is a sentence-transformers model trained with recipekit. It maps" in card
    assert "separate encoders" not in card


def test_a_model_card_without_content_is_still_valid(trained: Path, tmp_path: Path) -> None:
    export(tmp_path / "model", {"encoder": trained}, {})
    _, front, body = (tmp_path / "model" / "README.md").read_text().split("---\n", 2)
    assert "model-index" not in yaml.safe_load(front)
    assert "# Text-embedding model" in body and "## Evaluation" not in body


def test_a_local_path_does_not_appear_in_the_card(trained: Path, tmp_path: Path) -> None:
    export(tmp_path / "model", {"encoder": trained}, {"base_model": "/home/ada/models/mine"})
    assert "/home/ada" not in (tmp_path / "model" / "README.md").read_text()


def test_without_training_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match="no trained model to export: this recipe has no train section"
    ):
        export(tmp_path / "model", {}, CARD)


def test_the_card_shows_the_figures_of_the_model(trained: Path, tmp_path: Path) -> None:
    table = Table(["step", "loss"], [["1", "2.0"]], left=0)
    curve = Figure("Learning curve", "step", {"loss": [(0, 3.0), (1, 2.0)]}, table)
    card = CARD | {"figures": {"model": [curve], "data": []}}
    export(tmp_path / "model", {"encoder": trained}, card)
    text = (tmp_path / "model" / "README.md").read_text()
    assert "## Figures\n\n![Learning curve](figures/learning-curve.svg)\n\n| step" in text
    drawing = (tmp_path / "model" / "figures" / "learning-curve.svg").read_text()
    assert drawing.startswith("<svg")
