"""Training a query encoder for passages whose vectors come from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from helpers.killed import KilledAfter
from helpers.train_inputs import (
    BOTH_HALVES,
    COORDINATE_ASCENT,
    IN_BATCH,
    train_section,
    trained_artifact,
)
from helpers.train_inputs import train_inputs as plain_inputs
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.errors import ModelError, RunError
from recipekit.registry import load, resolve
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.train import train
from recipekit.testing import RecordingProgress

pytestmark = pytest.mark.slow
EPOCHS = {**COORDINATE_ASCENT, "query_epochs": 8}


@pytest.fixture
def vectors(tmp_path: Path) -> Any:
    """`vectors(dimension)` writes a random vector for each of the 36 passages."""

    def write(dimension: int) -> dict[str, Any]:
        file = tmp_path / f"vectors-{dimension}.npy"
        np.save(file, np.random.default_rng(5).normal(size=(36, dimension)).astype(np.float32))
        return {"use": "vectors_file", "path": str(file)}

    return write


def train_inputs(
    folder: Path, model: Path, dataset: Any, vectors: dict[str, Any], **options: Any
) -> StageInputs:
    """Inputs whose student has vectors for its passages."""
    made = plain_inputs(folder, model, dataset, passage_vectors=vectors, **options)
    slot = made.encoders["student"].spec.stored_passages()
    assert slot is not None
    assert slot.spec.described().startswith("file vectors")
    return made


def weights(out: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.parent.name}/{name}": tensor
        for file in sorted(out.rglob("encoder/**/*.safetensors"))
        for name, tensor in load_file(file).items()
    }


@pytest.mark.parametrize("dimension", [32, 48, 8])
def test_queries_learn_to_find_the_vectors_of_another_model(
    dimension: int, vectors: Any, tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, vectors(dimension), progress=progress)
    section = train_section(EPOCHS, learning_rate=1e-2, keep_weights="last")
    summary = train(inputs, section, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "training.json").read_text())
    exact = [part["exact_loss"] for part in written["parts"]]
    assert exact[-1] < exact[0] / 2
    assert "passage_drift" not in written["parts"][-1]
    assert summary["notes"][1].startswith("passages were not encoded: their vectors are those of")
    assert list(summary["truncated"]) == ["query"]
    assert not [event for event in progress.events if "encode passage" in str(event)]
    model = SentenceTransformer(str(tmp_path / "out" / "encoder"), device="cpu")
    assert model.encode_query(["river"]).shape == (1, dimension)
    has_dense = any("Dense" in name for name in weights(tmp_path / "out"))
    assert has_dense == (dimension != 32)
    # The trained encoder finds the same vectors, and needs no further layer.
    inputs.artifacts["train"] = trained_artifact(tmp_path / "out")  # type: ignore[index]
    one = inputs.embeddings("student", "passage", weights="initial")
    other = inputs.embeddings("student", "passage", weights="trained")
    assert one.path == other.path
    trained: Any = inputs.encoder("student", weights="trained")
    assert (trained.dimension, trained.has_untrained_dense) == (dimension, False)


@pytest.mark.parametrize("advances", [4, 9])
def test_a_resumed_run_ends_with_the_same_weights(
    advances: int,
    vectors: Any,
    tiny_model: Path,
    tiny_dataset: Any,
    tmp_path: Path,
) -> None:
    section = train_section({**COORDINATE_ASCENT, "cycles": 2}, learning_rate=1e-2)
    own = (tiny_model, tiny_dataset, vectors(48))
    train(train_inputs(tmp_path, *own), section, tmp_path / "whole")
    killed = KilledAfter("train", advances)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("recipekit.training.loop.CHECKPOINT_SECONDS", 0.0)
        train(train_inputs(tmp_path, *own, progress=killed), section, tmp_path / "killed")
    train(train_inputs(tmp_path, *own), section, tmp_path / "killed")
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_softmax_over_the_positives_reads_the_vectors_of_these(
    vectors: Any, tiny_model: Path, tiny_dataset: Any, make_dataset: Any, tmp_path: Path
) -> None:
    """Twelve passages have a training query; alone in the corpus, they train the same encoder."""
    queries = [(f"q{i}", tiny_dataset.queries.texts([i])[0], "train") for i in range(12)]
    passages = [(f"p{i}", tiny_dataset.passages.texts([i])[0]) for i in range(36)]
    labels = {(i, 35 - i): 1.0 for i in range(12)}
    many = make_dataset(queries, passages, labels, folder="many")
    few = make_dataset(queries, passages[24:], {(i, 11 - i): 1.0 for i in range(12)}, folder="few")
    all_vectors = vectors(32)
    own = np.load(all_vectors["path"])[24:]
    np.save(tmp_path / "vectors-own.npy", own)
    for name, dataset, file, keys in (
        ("positives", many, all_vectors["path"], {"passages": "positives"}),
        ("all", few, str(tmp_path / "vectors-own.npy"), {}),
    ):
        section = train_section({**EPOCHS, **keys}, keep_weights="last", eval_every_epochs=None)
        given = {"use": "vectors_file", "path": file}
        train(train_inputs(tmp_path / name, tiny_model, dataset, given), section, tmp_path / name)
    found, expected = weights(tmp_path / "positives"), weights(tmp_path / "all")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_similarity_is_that_of_the_vectors(
    vectors: Any, tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, {**vectors(32), "similarity": "dot"})
    assert inputs.encoder("student").similarity == "dot"
    inputs = train_inputs(
        tmp_path,
        tiny_model,
        tiny_dataset,
        {**vectors(32), "similarity": "dot"},
        similarity="cosine",
    )
    with pytest.raises(ModelError, match="are compared by dot: leave `similarity` out"):
        inputs.encoder("student")
    vectors_of = {**vectors(32), "similarity": "manhattan"}
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, vectors_of)
    with pytest.raises(RunError, match="passage_vectors is manhattan: use other vectors"):
        train(inputs, train_section(EPOCHS), tmp_path / "out")


def test_a_new_layer_is_not_used_before_it_is_trained(
    vectors: Any, tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, vectors(48))
    with pytest.raises(RunError, match="'student' cannot be used before it is trained") as error:
        inputs.embeddings("student", "query")
    assert error.value.code == "RK646"
    assert inputs.embeddings("student", "passage").matrix.shape == (36, 48)
    equal = train_inputs(tmp_path, tiny_model, tiny_dataset, vectors(32))
    assert equal.embeddings("student", "query").matrix.shape[1] == 32


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (IN_BATCH, "'in_batch' encodes passages"),
        (BOTH_HALVES, "set passage_epochs: 0"),
        ({**COORDINATE_ASCENT, "separate_towers": True}, "leave separate_towers out"),
        ({"use": "masked_language_model"}, "set texts: queries"),
    ],
)
def test_phases_that_encode_passages_are_refused(
    phase: dict[str, Any], message: str, vectors: Any, tiny_model: Path, tmp_path: Path
) -> None:
    fields = {"model": str(tiny_model), "passage_vectors": vectors(32)}
    spec = BiEncoderSpec.model_validate(fields)
    declared = load(resolve("phase", phase["use"])).model_validate(
        {key: value for key, value in phase.items() if key != "use"}
    )
    assert message in declared.refuses_encoder(spec)


def test_an_encoder_without_a_passage_side_refuses_to_embed_passages(
    vectors: Any, tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, vectors(32))
    with pytest.raises(RunError, match="it embeds no passages") as error:
        train(inputs, train_section(IN_BATCH, eval_every_epochs=None), tmp_path / "out")
    assert error.value.code == "RK646"


def test_keys_of_a_passage_side_are_refused(vectors: Any, tiny_model: Path) -> None:
    fields = {"model": str(tiny_model), "passage_vectors": vectors(32)}
    for key, value in (("tied", False), ("passage_prompt", "passage: ")):
        with pytest.raises(ValueError, match="passage_vectors"):
            BiEncoderSpec.model_validate({**fields, key: value})
