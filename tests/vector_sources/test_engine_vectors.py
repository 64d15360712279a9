"""Vectors of a Qdrant collection and of an Elasticsearch index become those of the passages."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipekit.component import Embeddings, VectorSourceSpec
from recipekit.dataset import Dataset
from recipekit.encoding.embed import open_embeddings
from recipekit.errors import ComponentError, DataError
from recipekit.testing import RecordingProgress, check_vector_source, context
from recipekit.vector_sources.elasticsearch import ElasticsearchVectorsSpec, dense_vector_mapping
from recipekit.vector_sources.qdrant import QdrantVectorsSpec
from recipekit.vector_sources.stored import WantedTexts, store_vectors

MATRIX = np.random.default_rng(3).normal(size=(36, 5)).astype(np.float32)
UNIT = MATRIX / np.linalg.norm(MATRIX, axis=1, keepdims=True)


def stored(spec: VectorSourceSpec, dataset: Dataset, folder: Path) -> Embeddings:
    """The embeddings that an index gives."""
    folder.mkdir()
    source = spec.build(context(folder / "context"))
    texts = WantedTexts("passage", dataset.passages)
    store_vectors(spec, source, texts, source.similarity, folder, RecordingProgress())
    return open_embeddings(folder)


# Qdrant
# -------------------------------------------------------------------------------------------------


def test_a_collection_gives_the_vector_of_each_passage(
    qdrant: Any, vector_collection: Any, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ids = list(tiny_dataset.passages.ids)
    cases = [("Cosine", "cosine", UNIT), ("Dot", "dot", MATRIX), ("Euclid", "euclidean", MATRIX)]
    for distance, similarity, expected in cases:
        name = vector_collection(ids[::-1], MATRIX[::-1], distance)
        spec = QdrantVectorsSpec(url=qdrant.url, collection=name, id_field="doc", page_size=7)
        found = stored(spec, tiny_dataset, tmp_path / similarity)
        np.testing.assert_allclose(found.matrix, expected, atol=1e-6)
        assert found.similarity == similarity
        assert f"collection '{name}'" in spec.described()
        before = spec.fingerprint()
        assert spec.fingerprint() == before
    check_vector_source(spec, context(tmp_path / "check"))


def test_a_named_vector_is_read_by_its_name(
    qdrant: Any, vector_collection: Any, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    name = vector_collection(list(tiny_dataset.passages.ids), MATRIX, "Dot", named="title")
    spec = QdrantVectorsSpec(
        url=qdrant.url,
        collection=name,
        id_field="doc",
        vector_name="title",
        protocol="grpc",
        grpc_port=qdrant.grpc_port,
    )
    found = stored(spec, tiny_dataset, tmp_path / "named")
    np.testing.assert_allclose(found.matrix, MATRIX, atol=1e-6)
    spec = QdrantVectorsSpec(url=qdrant.url, collection=name, id_field="doc")
    with pytest.raises(ComponentError, match="no unnamed vector: it has 'title'; set `vector_nam"):
        spec.build(context(tmp_path / "unnamed"))


def test_a_collection_that_does_not_fit_is_one_line(
    qdrant: Any, vector_collection: Any, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ids = list(tiny_dataset.passages.ids)
    name = vector_collection(ids[:30], MATRIX[:30], "Cosine")
    spec = QdrantVectorsSpec(url=qdrant.url, collection=name, id_field="doc")
    with pytest.raises(DataError, match=f"'{name}' .*: 6 of 36 passages have no vector"):
        stored(spec, tiny_dataset, tmp_path / "few")
    spec = QdrantVectorsSpec(url=qdrant.url, collection=name, id_field="other")
    with pytest.raises(ComponentError, match="point 0 has no id in its payload field 'other'"):
        stored(spec, tiny_dataset, tmp_path / "no-id")
    spec = QdrantVectorsSpec(url=qdrant.url, collection="recipekit-test-absent")
    with pytest.raises(ComponentError, match="recipekit-test-absent"):
        spec.build(context(tmp_path / "absent"))


# Elasticsearch
# -------------------------------------------------------------------------------------------------


def test_a_field_gives_the_vector_of_each_passage(
    elasticsearch_url: str, vector_index: Any, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ids = list(tiny_dataset.passages.ids)
    cases = [
        ("cosine", "cosine", UNIT),
        ("max_inner_product", "dot", MATRIX),
        ("l2_norm", "euclidean", MATRIX),
    ]
    for kind, similarity, expected in cases:
        spec = ElasticsearchVectorsSpec(
            url=elasticsearch_url,
            index=vector_index(ids[::-1], MATRIX[::-1], kind),
            vector_field="embedding",
            id_field="doc",
            page_size=5,
        )
        found = stored(spec, tiny_dataset, tmp_path / kind)
        np.testing.assert_allclose(found.matrix, expected, atol=1e-5)
        assert found.similarity == similarity
        assert spec.fingerprint() == spec.fingerprint()
    check_vector_source(spec, context(tmp_path / "check"))


def test_an_index_that_does_not_fit_is_one_line(
    elasticsearch_url: str, vector_index: Any, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ids = list(tiny_dataset.passages.ids)
    name = vector_index([*ids[:35], ids[0]], MATRIX, "cosine")
    own = {"url": elasticsearch_url, "index": name, "id_field": "doc"}
    spec = ElasticsearchVectorsSpec(**own, vector_field="embedding")
    with pytest.raises(DataError, match=f"several vectors have the same passage id: '{ids[0]}'"):
        stored(spec, tiny_dataset, tmp_path / "twice")
    with pytest.raises(ComponentError, match=r"'text' \(`vector_field`\) has type text, not dens"):
        ElasticsearchVectorsSpec(**own, vector_field="text").build(context(tmp_path / "text"))
    with pytest.raises(ComponentError, match=r"has no field 'vektor' \(`vector_field`\)"):
        ElasticsearchVectorsSpec(**own, vector_field="vektor").build(context(tmp_path / "none"))


def test_a_field_whose_vectors_have_no_known_dimension_is_one_line() -> None:
    mapped = {"mappings": {"texts.vector": {"mapping": {"vector": {"type": "dense_vector"}}}}}
    connection: Any = SimpleNamespace(
        call=lambda request, index: {"empty": mapped}, named=lambda index: f"index '{index}'"
    )
    line = "index 'empty': field 'texts.vector' (`vector_field`) has no vectors yet"
    with pytest.raises(ComponentError, match=re.escape(line)):
        dense_vector_mapping(connection, "empty", "texts.vector")
