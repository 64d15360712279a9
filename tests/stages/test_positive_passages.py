"""A softmax over the positives is one over a corpus that has no other passages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from helpers.train_inputs import BOTH_HALVES, IN_BATCH, train_inputs, train_section
from recipekit.dataset import Dataset
from recipekit.stages.train.train import READS_CORPUS, train

pytestmark = pytest.mark.slow

WARM = {**IN_BATCH, "epochs": 1, "num_hard_negatives": 0}
ONE_STEP = {**BOTH_HALVES, "passage_gradient": "corpus"}
SHARE = {**BOTH_HALVES, "passage_share": 0.5, "separate_towers": True}


@pytest.fixture
def with_others(
    tiny_dataset: Dataset, make_dataset: Callable[..., Dataset]
) -> Callable[[bool], Dataset]:
    """`with_others(True)`: the training queries with their passages, and others between them."""
    texts = tiny_dataset.passages.texts(range(36))
    queries = [(f"q{i}", f"query {texts[i]}", "train") for i in range(12)]

    def make(others: bool) -> Dataset:
        gap = 3 if others else 1
        numbers = [i // 3 if i % 3 == 1 else i + 12 for i in range(36)] if others else range(12)
        passages = [(f"p{i}", texts[i % 36]) for i in numbers]
        labels = {(i, gap * i + (gap == 3)): 1.0 for i in range(12)}
        return make_dataset(queries, passages, labels, folder=f"others-{others}")

    return make


@pytest.mark.parametrize("phase", [BOTH_HALVES, ONE_STEP, SHARE], ids=["both", "step", "share"])
def test_other_passages_do_not_matter(
    phase: dict[str, Any],
    with_others: Callable[[bool], Dataset],
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    made, summaries = [], []
    for others, passages in ((True, "positives"), (False, "all")):
        section = train_section(
            WARM,
            {**phase, "passages": passages, "cycles": 1},
            keep_weights="last",
            eval_every_epochs=None,
            max_tokens_per_batch=24,
        )
        out = tmp_path / passages
        summaries.append(train(train_inputs(out, tiny_model, with_others(others)), section, out))
        parts = json.loads((out / "training.json").read_text())["parts"]
        files = sorted(out.rglob("encoder/**/*.safetensors"))
        made.append((parts, [load_file(file) for file in files]))
    (parts, weights), (expected_parts, expected) = made
    assert parts == expected_parts
    assert len(weights) == len(expected) > 0
    for found, own in zip(weights, expected, strict=True):
        assert all((found[name] == own[name]).all() for name in own)
    assert READS_CORPUS not in summaries[0]["notes"]
    assert READS_CORPUS in summaries[1]["notes"]
