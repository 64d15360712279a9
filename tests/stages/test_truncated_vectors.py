"""Models trained with `matryoshka` rank better with truncated vectors, for both kinds of losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from helpers.train_inputs import train_inputs, train_section
from recipekit.dataset import Dataset
from recipekit.stages.train.train import train

DIMENSIONS = 4


def truncated_mrr(folder: Path, dataset: Dataset) -> float:
    """Mean reciprocal rank of the training queries' positives, with four dimensions."""
    model = SentenceTransformer(str(folder), device="cpu", truncate_dim=DIMENSIONS)
    queries, passages = (
        model.encode([dataset.table(side).texts([row])[0] for row in range(count)])
        for side, count in (("query", 12), ("passage", 36))
    )
    scores = model.similarity(queries, passages).numpy()
    ranks = (scores > scores[np.arange(12), np.arange(12)][:, None]).sum(1) + 1
    return float((1 / ranks).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "inner"),
    [
        ({"use": "in_batch", "epochs": 12, "num_hard_negatives": 0}, {"use": "infonce"}),
        (
            {"use": "coordinate_ascent", "query_epochs": 6, "passage_epochs": 2},
            {"use": "exact_softmax"},
        ),
    ],
)
def test_truncated_vectors_rank_better_than_without(
    phase, inner, tmp_path, tiny_model, tiny_dataset
):
    found = {}
    for name, loss in {
        "plain": inner,
        "matryoshka": {"use": "matryoshka", "loss": inner, "dimensions": [32, DIMENSIONS]},
    }.items():
        section = train_section({**phase, "loss": loss}, eval_every_epochs=None)
        inputs = train_inputs(tmp_path / name, tiny_model, tiny_dataset)
        train(inputs, section, tmp_path / name)
        found[name] = truncated_mrr(tmp_path / name / "encoder", tiny_dataset)
    assert found["matryoshka"] > found["plain"] + 0.05
