"""After training, a component chooses which weights of an encoder it gets."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from helpers.train_inputs import bind, train_inputs, trained_artifact
from recipekit.component import Slot
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.stages.evaluate.evaluate import evaluate
from recipekit.stages.evaluate.section import EvaluateSection
from recipekit.stages.inputs import StageInputs


@pytest.fixture
def after_training(
    tiny_model: Path, tiny_dataset: Dataset, tmp_path: Path
) -> Callable[..., StageInputs]:
    """The inputs of a stage after training, whose trained weights differ from the initial ones."""
    trained = SentenceTransformer(str(tiny_model), device="cpu")
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.5)
    trained.save(str(tmp_path / "train" / "encoder"), create_model_card=False)

    def make() -> StageInputs:
        inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
        inputs.artifacts = {
            **inputs.artifacts,
            "train": trained_artifact(tmp_path / "train"),
        }
        return inputs

    return make


def expected(folder: Path, dataset: Dataset) -> np.ndarray:
    texts = dataset.passages.texts(range(len(dataset.passages)))
    return SentenceTransformer(str(folder), device="cpu").encode(texts)


def test_the_weights_are_those_that_a_component_names(
    after_training, tiny_model: Path, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    context = after_training().context(tmp_path / "scratch")
    for weights, folder in (("initial", tiny_model), ("trained", tmp_path / "train" / "encoder")):
        embeddings = context.embeddings("student", "passage", weights=weights)
        np.testing.assert_allclose(embeddings.matrix, expected(folder, tiny_dataset), atol=1e-5)
        encoder = context.encoder("student", weights=weights)
        with torch.no_grad():
            ids, _ = encoder.tokenize(tiny_dataset.passages.texts([0]), "passage")
            vector = encoder(encoder.collate(ids, "passage"), "passage").numpy()
        np.testing.assert_allclose(vector[0], embeddings.matrix[0], atol=1e-5)
    assert context.encoder("trained") is context.encoder("student", weights="trained")
    np.testing.assert_array_equal(
        context.embeddings("trained", "passage").matrix,
        context.embeddings("student", "passage", weights="trained").matrix,
    )


def test_a_choice_is_required_where_both_exist(after_training, tmp_path: Path) -> None:
    context = after_training().context(tmp_path / "scratch")
    message = (
        "encoder 'student' has initial and trained weights: choose them with "
        'weights="initial" or weights="trained"'
    )
    for call in (
        lambda: context.encoder("student"),
        lambda: context.embeddings("student", "query"),
        lambda: context.query_embeddings("student"),
    ):
        with pytest.raises(RunError) as raised:
            call()
        assert raised.value.message == message
    with pytest.raises(RunError, match="'trained' has no initial weights: name the encoder"):
        context.embeddings("trained", "query", weights="initial")


def test_before_training_there_is_only_one_choice(
    tiny_model: Path, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    context = train_inputs(tmp_path, tiny_model, tiny_dataset).context(tmp_path / "scratch")
    assert context.encoder("student") is context.encoder("student", weights="initial")
    with pytest.raises(RunError, match="encoder 'student' has no trained weights"):
        context.embeddings("student", "query", weights="trained")
    with pytest.raises(RunError, match="this recipe trains no encoder"):
        context.embeddings("trained", "query")


def evaluation(inputs: StageInputs, out: Path, **fields: Any) -> dict[str, float]:
    """The value of each system."""
    section = EvaluateSection(
        evaluators={"held_out": {"use": "retrieval", "metrics": ["mrr@36"]}}, **fields
    )
    bind(section.evaluators["held_out"], "evaluator")
    for slot in section.baselines.values():
        bind(slot, "retriever")
    out.mkdir()
    evaluate(inputs, section, out)
    rows = json.loads((out / "metrics.json").read_text())
    return {row["system"]: row["value"] for row in rows}


def test_a_baseline_has_the_initial_weights_unless_it_names_the_trained_ones(
    after_training, tmp_path: Path
) -> None:
    baselines = {
        "before": Slot(use="exact", encoder="student"),
        "after": Slot(use="exact", encoder="trained"),
    }
    values = evaluation(after_training(), tmp_path / "out", baselines=baselines)
    assert values["before"] == values["untrained"] != values["trained"] == values["after"]


def test_evaluation_encodes_only_the_queries_that_it_measures(
    after_training, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    inputs = after_training()
    baselines = {"dense": Slot(use="exact", encoder="student")}
    few = evaluation(inputs, tmp_path / "few", baselines=baselines)
    encoded = [e for e in inputs.progress.events if e["event"] == "encoded"]
    assert [e["texts"] for e in encoded if e["side"] == "query"] == [6, 6], "initial and trained"

    shutil.rmtree(tmp_path / "store")
    inputs = after_training()
    for weights in ("initial", "trained"):
        assert inputs.embeddings("student", "query", weights=weights).rows is None
    whole = evaluation(inputs, tmp_path / "whole", baselines=baselines)
    encoded = [e for e in inputs.progress.events if e["event"] == "encoded"]
    assert [e["texts"] for e in encoded if e["side"] == "query"] == [24, 24], "they are reused"
    assert few == whole


def test_a_row_that_was_not_encoded_is_not_read_silently(after_training, tiny_dataset) -> None:
    rows = tiny_dataset.rows("test")
    embeddings = after_training().embeddings("student", "query", weights="initial", rows=rows)
    assert embeddings.take(rows[::-1]).shape == (6, 32)
    np.testing.assert_array_equal(embeddings.take(rows[[1]])[0], embeddings.matrix[1])
    with pytest.raises(KeyError, match="row 0 was not embedded"):
        embeddings.take(np.array([0]))
