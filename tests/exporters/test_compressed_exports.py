"""Exports with fewer dimensions or fewer bits, each loaded as its card says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from recipekit.component import Context, Embeddings
from recipekit.dataset import Dataset
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.compression import fit_compressor
from recipekit.encoding.compression_keys import CompressionKeys
from recipekit.exporters.embeddings import EmbeddingsSpec
from recipekit.exporters.sentence_transformers import SentenceTransformersSpec
from recipekit.testing import check_exporter, context
from recipekit.vector_sources.vectors_file import VectorsFileSpec

pytestmark = pytest.mark.slow

METRICS = [
    {"evaluator": "held_out", "split": "test", "system": system, "metric": "ndcg@10",
     "value": value, "low": None, "high": None, **keys}
    for system, value, keys in (
        ("trained", 0.5, {}),
        ("trained pca-6", 0.4, {
            "variant": "compression", "variant_of": "trained",
            "differences": {"trained": {"difference": -0.1, "low": -0.2, "high": 0.0,
                                        "p_value": 0.01, "p_adjusted": 0.01}}}),
    )
]  # fmt: skip


@pytest.fixture
def trained(tiny_model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A trained encoder with prompts; two towers if the test asks for them."""
    tied = getattr(request, "param", True)
    spec = BiEncoderSpec(model=str(tiny_model), precision="fp32", passage_prompt="gear ", tied=tied)
    spec.build(context(tmp_path / "scratch")).save(tmp_path / "train" / "encoder")
    return tmp_path / "train" / "encoder"


@pytest.fixture
def made(tiny_dataset: Dataset, trained: Path, tmp_path: Path) -> Callable[[], Context]:
    """A context whose passages are embedded by the trained encoder."""
    passages = list(tiny_dataset.passages.texts(range(len(tiny_dataset.passages))))
    matrix = SentenceTransformer(str(trained), device="cpu").encode_document(passages)

    def make() -> Context:
        def embeddings(name: str, side: str, weights: str | None = None) -> Embeddings:
            assert side == "passage" and (name == "trained") == (weights is None)
            return Embeddings(tmp_path, matrix, "cosine")

        return context(tmp_path / "work", dataset=tiny_dataset, embeddings=embeddings)

    return make


@pytest.mark.parametrize("trained", [True, False], indirect=True, ids=["tied", "untied"])
@pytest.mark.parametrize("keys", [{"pca": 6}, {"dimensions": 6}], ids=["pca", "truncated"])
def test_a_reduced_model_encodes_as_its_compression_was_measured(
    made: Callable[[], Context], trained: Path, tmp_path: Path, keys: dict[str, Any]
):
    spec = SentenceTransformersSpec(compression=keys)
    spec.build(made()).export({"encoder": trained}, {"metrics": METRICS}, tmp_path / "out")

    texts = ["river mountain", "opera", "piston valve"]
    full = SentenceTransformer(str(trained), device="cpu")
    loaded = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    vectors = made().embeddings("trained", "passage")
    compressor = fit_compressor(CompressionKeys(**keys), vectors.matrix, "cosine")
    for side in ("encode_query", "encode_document"):
        found = getattr(loaded, side)(texts)
        expected = compressor.reduce(getattr(full, side)(texts))
        assert found.shape == (3, 6)
        scaled = found / np.linalg.norm(found, axis=1, keepdims=True)
        np.testing.assert_allclose(scaled, expected, atol=1e-5)
    if "pca" in keys:
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    ours = BiEncoderSpec(model=str(tmp_path / "out"), precision="fp32")
    assert ours.build(context(tmp_path / "again")).dimension == 6
    card = (tmp_path / "out" / "README.md").read_text()
    assert "embedding dimensions" in card and "Its dimensions were reduced" in card
    assert ("value: 0.4" in card) == ("pca" in keys), "the model index has this model's figures"
    assert ("this reduction was not measured" in card) == ("pca" not in keys)


def test_a_model_has_no_quantized_vectors():
    with pytest.raises(ValidationError, match="use the exporter 'embeddings'"):
        SentenceTransformersSpec(compression="int8")


@pytest.mark.parametrize(
    "keys", [None, "int8", "binary", {"pca": 6}, {"dimensions": 6, "precision": "int8"}], ids=str
)
def test_exported_vectors_are_searched_as_their_readme_says(
    made: Callable[[], Context],
    trained: Path,
    tiny_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: Any,
):
    folder = tmp_path / "vectors"
    folder.mkdir()
    spec = EmbeddingsSpec(compression=keys)
    written = spec.build(made()).export({}, {"name": "tiny"}, folder)

    assert written["rows"] == {"passages.npy": 36}
    facts = json.loads((folder / "vectors.json").read_text())
    stored = np.load(folder / "passages.npy")
    assert stored.itemsize * stored.shape[1] == facts["bytes_per_vector"]
    blocks = (folder / "README.md").read_text().split("```python\n")[1:]
    code = "\n".join(block.partition("```")[0] for block in blocks)
    model = SentenceTransformer(str(trained), device="cpu")
    namespace: dict[str, Any] = {"model": model}
    monkeypatch.chdir(folder)
    exec(code, namespace)
    assert namespace["ids"].to_pylist()[:2] == ["p0", "p1"]
    query = model.encode_query(["a question"])
    full = made().embeddings("trained", "passage").matrix
    if spec.compression is None:
        expected = query @ full.T
    else:
        compressor = fit_compressor(spec.compression, full, "cosine")
        expected = compressor.reduce(query) @ compressor.expand(compressor.compress(full)).T
    ranking = np.argsort(-expected, axis=1)[:, :10]
    scores = np.take_along_axis(namespace["scores"], namespace["best"], axis=1)
    assert np.take_along_axis(namespace["scores"], ranking, axis=1) == pytest.approx(scores)


def test_vectors_with_fewer_dimensions_are_a_vector_source(
    made: Callable[[], Context], tiny_dataset: Dataset, tmp_path: Path
):
    folder = tmp_path / "vectors"
    folder.mkdir()
    EmbeddingsSpec(compression={"pca": 6}).build(made()).export({}, {}, folder)
    source = VectorsFileSpec(path=folder / "passages.npy").build(made())
    assert source.dimension == 6


def test_the_exporter_keeps_its_promises(made: Callable[[], Context], tiny_model: Path):
    check_exporter(EmbeddingsSpec(encoder="student"), made(), {}, {"name": "tiny"})
