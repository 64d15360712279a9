"""A softmax over the positives is one over a corpus that has no other passages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from helpers.dense_reference import training_labels
from helpers.train_inputs import BOTH_HALVES, IN_BATCH, train_inputs, train_section
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.records import Verdict
from recipekit.stages.train.train import READS_CORPUS, train
from recipekit.testing import RecordingProgress

pytestmark = pytest.mark.slow

WARM = {**IN_BATCH, "epochs": 1, "num_hard_negatives": 0}
ONE_STEP = {**BOTH_HALVES, "passage_gradient": "corpus"}
SHARE = {**BOTH_HALVES, "passage_share": 0.5, "separate_towers": True}


@pytest.fixture
def with_others(
    tiny_dataset: Dataset, make_dataset: Callable[..., Dataset]
) -> Callable[[bool], Dataset]:
    """`with_others(True)`: training queries with their passages, and other passages between them.

    Queries 0 and 1 share a passage, and query 2 has two.
    """
    texts = tiny_dataset.passages.texts(range(36))
    queries = [(f"q{i}", f"query {texts[i]}", "train") for i in range(12)]
    answers = [(0, 0), (1, 0), *((i, i) for i in range(2, 12)), (2, 1)]

    def make(others: bool) -> Dataset:
        ids = []
        for i in range(12):
            ids += [12 + i, i, 24 + i] if others else [i]
        passages = [(f"p{i}", texts[i]) for i in ids]
        labels = {(query, ids.index(passage)): 1.0 for query, passage in answers}
        return make_dataset(queries, passages, labels, folder=f"others-{others}")

    return make


def test_ignored_passages_are_those_among_the_positives() -> None:
    verdicts = np.full((3, 5), Verdict.NEGATIVE, dtype=np.int8)
    verdicts[[0, 1, 2], [1, 3, 1]] = Verdict.POSITIVE
    verdicts[[0, 0, 1, 2], [2, 3, 0, 4]] = Verdict.IGNORE
    labels = training_labels(verdicts)
    passages = labels.positive_passages()
    assert passages.tolist() == [1, 3]
    found = labels.among(passages)
    assert found.positive.passage.tolist() == [0, 1, 0]
    assert (found.ignored.query.tolist(), found.ignored.passage.tolist()) == ([0], [1])
    assert found.weight.tolist() == labels.weight.tolist()
    assert len(found.negative) == 0
    assert found.without_negative(len(passages)) == 1  # query 0
    assert labels.without_negative(5) == 0


def test_queries_without_a_negative_among_the_positives_are_counted(
    make_dataset: Callable[..., Dataset], tiny_model: Path, tmp_path: Path
) -> None:
    queries = [("q0", "river", "train"), ("q1", "valley", "train")]
    passages = [("p0", "river valley"), ("p1", "drum"), ("p2", "night")]
    dataset = make_dataset(queries, passages, {(0, 0): 1.0, (1, 0): 1.0, (1, 1): 1.0})
    section = train_section({**BOTH_HALVES, "passages": "positives"}, eval_every_epochs=None)
    inputs = train_inputs(tmp_path, tiny_model, dataset)
    train(inputs, section, tmp_path / "out")
    assert isinstance(inputs.progress, RecordingProgress)
    assert inputs.progress.warnings == [
        "coordinate_ascent: 1 of 2 queries have no negative among the softmax's 2 passages. "
        "`passages: all` has those of the whole corpus"
    ]


def test_one_passage_has_nothing_to_be_compared_with(
    make_dataset: Callable[..., Dataset], tiny_model: Path, tmp_path: Path
) -> None:
    queries = [("q0", "river", "train"), ("q1", "valley", "train")]
    passages = [("p0", "river valley"), ("p1", "drum")]
    dataset = make_dataset(queries, passages, {(0, 0): 1.0, (1, 0): 1.0})
    section = train_section({**BOTH_HALVES, "passages": "positives"}, eval_every_epochs=None)
    with pytest.raises(RunError, match="has one passage") as error:
        train(train_inputs(tmp_path, tiny_model, dataset), section, tmp_path / "out")
    assert error.value.code == "RK638"


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
