"""Every architecture that people bring: load, encode, train a few steps, save, load again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sentence_transformers import SentenceTransformer

from helpers.tiny_models import FAMILIES, write_tiny_model
from helpers.train_inputs import COORDINATE_ASCENT, IN_BATCH, train_inputs, train_section
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.max_length import UNLIMITED, position_limit
from recipekit.encoding.named_model import known_dimension
from recipekit.errors import ModelError
from recipekit.stages.train.train import train
from recipekit.testing import RecordingProgress, check_encoder, context

pytestmark = pytest.mark.slow

TEXTS = [
    "river mountain valley",
    "violin",
    "bread cheese butter honey pepper salt enzyme protein gene cell",
    "ocean forest " * 40,
]
ALL_FAMILIES = pytest.mark.parametrize("family", list(FAMILIES))


def vectors(encoder: Any, side: str = "passage") -> np.ndarray:
    encoder.eval()
    ids, _ = encoder.tokenize(TEXTS, side)
    with torch.no_grad():
        return encoder(encoder.collate(ids, side), side).numpy()


def reference(folder: Path) -> np.ndarray:
    """The unit vectors of sentence-transformers, each text alone and in float32."""
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    tokenizer = model.tokenizer
    if getattr(tokenizer, "eos_token", None) and tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # sentence-transformers cannot encode without one
    return model.float().encode(TEXTS, batch_size=1, normalize_embeddings=True)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / lengths


@ALL_FAMILIES
def test_a_model_encodes_as_in_sentence_transformers(
    family: str, words: list[str], build: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model(family, words, tmp_path)
    encoder = build(model=folder)
    ours = vectors(encoder)
    assert cosines(ours, reference(folder)).min() > 0.9999
    assert cosines(ours[:1], ours[1:2]).max() < 0.999, "the texts differ"
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert known_dimension(str(folder), None) == encoder.dimension == ours.shape[1]


@ALL_FAMILIES
def test_lengths_are_read_from_files_as_they_are_from_the_model(
    family: str, words: list[str], build: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model(family, words, tmp_path)
    spec = BiEncoderSpec(model=str(folder))
    encoder = build(model=folder)
    if family == "static":
        assert (encoder.max_length, spec.known_max_length()) == (UNLIMITED, None)
    else:
        assert spec.known_max_length() == encoder.max_length == 64
    first = SentenceTransformer(str(folder), device="cpu")[0]
    limit = UNLIMITED if family == "static" else position_limit(first.model)
    longest = BiEncoderSpec(model=str(folder), max_length=limit)
    assert list(longest.key_mistakes()) == []
    assert longest.known_max_length() == limit
    if limit < UNLIMITED:
        longer = BiEncoderSpec(model=str(folder), max_length=limit + 1)
        with pytest.raises(ModelError) as raised:
            build(model=folder, max_length=limit + 1)
        ((key, error),) = longer.key_mistakes()
        assert (key, error.message, error.code) == (
            "max_length",
            raised.value.message,
            raised.value.code,
        )


@pytest.mark.parametrize("phase", [IN_BATCH, COORDINATE_ASCENT], ids=lambda phase: phase["use"])
@ALL_FAMILIES
def test_a_model_trains_and_its_export_encodes_identically(
    family: str,
    phase: dict[str, Any],
    words: list[str],
    tiny_dataset: Any,
    build: Any,
    tmp_path: Path,
) -> None:
    folder = write_tiny_model(family, words, tmp_path)
    before = vectors(build(model=folder))
    inputs = train_inputs(tmp_path, folder, tiny_dataset)
    epochs = "epochs" if phase is IN_BATCH else "query_epochs"
    section = train_section({**phase, epochs: 4}, learning_rate=5e-3, keep_weights="last")
    train(inputs, section, tmp_path / "out")
    curve = json.loads((tmp_path / "out" / "training.json").read_text())["curve"]
    losses = [point["loss"] for point in curve]
    assert sum(losses[-3:]) < sum(losses[:3]), "the loss of the last epoch is below the first's"
    trained = vectors(inputs.encoder("student"))
    assert cosines(before, trained).min() < 0.9999, "training changed the weights"
    exported = SentenceTransformer(str(tmp_path / "out" / "encoder"), device="cpu")
    for encode in (exported.encode, exported.encode_query, exported.encode_document):
        np.testing.assert_allclose(encode(TEXTS), trained, atol=1e-5)
    np.testing.assert_allclose(
        vectors(build(model=tmp_path / "out" / "encoder")), trained, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("family", ["bert", "t5", "qwen3", "static"])
def test_a_half_precision_checkpoint_is_trained_and_exported_in_float32(
    family: str, dtype: torch.dtype, words: list[str], build: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model(family, words, tmp_path, dtype=dtype)
    assert stored_dtypes(folder) == {str(dtype)}
    encoder = build(model=folder)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert cosines(vectors(encoder), reference(folder)).min() > 0.9999
    encoder.save(tmp_path / "saved")
    assert stored_dtypes(tmp_path / "saved") == {"torch.float32"}
    exported = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert {parameter.dtype for parameter in exported.parameters()} == {torch.float32}
    np.testing.assert_allclose(exported.encode(TEXTS), vectors(encoder), atol=1e-5)


def stored_dtypes(folder: Path) -> set[str]:
    """The dtypes of all weights in a folder's files."""
    found = set()
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            found |= {str(weights.get_tensor(name).dtype) for name in weights.keys()}
    return found


def test_a_missing_padding_token_is_added_with_a_notice(
    words: list[str], build: Any, progress: RecordingProgress, tmp_path: Path
) -> None:
    folder = write_tiny_model("llama", words, tmp_path)
    build(model=folder)
    notices = [event.get("message", "") for event in progress.events]
    message = f"the tokenizer of model '{folder}' has no padding token, so '</s>' is used"
    assert message in notices


# Models without a transformer
# -------------------------------------------------------------------------------------------------


def test_a_static_embedding_cuts_its_texts_at_max_length_and_so_does_its_export(
    words: list[str], build: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model("static", words, tmp_path)
    whole, cut = build(model=folder), build(model=folder, max_length=3)
    assert [len(ids) for ids in whole.tokenize(TEXTS, "query")[0]] == [3, 1, 10, 80]
    ids, count = cut.tokenize(TEXTS, "query")
    assert ([len(one) for one in ids], count) == ([3, 1, 3, 3], 2)
    cut.save(tmp_path / "saved")
    exported = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(exported.encode(TEXTS), vectors(cut), atol=1e-6)
    np.testing.assert_allclose(vectors(build(model=tmp_path / "saved")), vectors(cut), atol=1e-6)


def test_a_text_without_a_known_token_has_a_static_embedding_of_zero(
    words: list[str], build: Any, tmp_path: Path
) -> None:
    encoder = build(model=write_tiny_model("static", words, tmp_path), query_prompt="")
    for texts in (["", "river"], ["", ""]):
        ids, _ = encoder.tokenize(texts, "query")
        with torch.no_grad():
            embeddings = encoder(encoder.collate(ids, "query"), "query")
        assert not embeddings[0].any()
        assert torch.isfinite(embeddings).all()


def test_a_static_embedding_has_untied_towers_too(
    words: list[str], tiny_dataset: Any, build: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model("static", words, tmp_path)
    inputs = train_inputs(tmp_path, folder, tiny_dataset, tied=False)
    section = train_section(IN_BATCH, learning_rate=5e-2, keep_weights="last")
    train(inputs, section, tmp_path / "out")
    encoder = inputs.encoder("student")
    exported = SentenceTransformer(str(tmp_path / "out" / "encoder"), device="cpu")
    np.testing.assert_allclose(exported.encode_query(TEXTS), vectors(encoder, "query"), atol=1e-5)
    np.testing.assert_allclose(exported.encode_document(TEXTS), vectors(encoder), atol=1e-5)
    assert cosines(vectors(encoder, "query"), vectors(encoder)).min() < 0.999


def test_a_static_embedding_passes_the_conformance_check(words: list[str], tmp_path: Path) -> None:
    folder = write_tiny_model("static", words, tmp_path)
    check_encoder(BiEncoderSpec(model=str(folder), precision="fp32"), context(tmp_path / "scratch"))
