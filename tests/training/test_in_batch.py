"""What `in_batch` does with queries that have nothing to be compared with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recipekit.dataset import Dataset
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.errors import RunError
from recipekit.phases.in_batch import InBatchSpec
from recipekit.testing import RecordingProgress, bind, context
from recipekit.testing.phases import training_context


def phase(dataset: Dataset, model: Path, folder: Path, progress: RecordingProgress, **fields):
    spec = bind(InBatchSpec, {"num_hard_negatives": 0, **fields})
    plain = context(folder / "scratch", dataset=dataset, progress=progress)
    encoder = bind(BiEncoderSpec, {"model": str(model), "precision": "fp32"}).build(plain)
    return spec.build(training_context(spec, encoder, plain))


SYMMETRIC = ["how high is the river", "the height of the river"]


@pytest.fixture
def symmetric(make_dataset) -> Dataset:
    """Two pairs whose texts are both queries and passages."""
    texts = [*SYMMETRIC, "what is a violin", "an instrument like a piano"]
    queries = [(f"q{i}", text, "train") for i, text in enumerate(texts)]
    passages = [(f"p{i}", text) for i, text in enumerate(texts)]
    return make_dataset(queries, passages, {(0, 1): 1.0, (1, 0): 1.0, (2, 3): 1.0, (3, 2): 1.0})


def test_a_querys_own_text_is_not_its_negative_in_the_batch(
    symmetric: Dataset, tiny_model: Path, tmp_path: Path
) -> None:
    built = phase(symmetric, tiny_model, tmp_path, RecordingProgress(), batch_size=4)
    result = built.gradient(0)
    assert result.without_negative == 0 and result.loss > 0
    from recipekit.records import Verdict
    from recipekit.training.batches import labelled_batch

    batch = labelled_batch(built.training.labels, np.arange(4), 0, [13])
    assert batch.passages.tolist() == [0, 1, 2, 3]
    ignored = batch.mask == Verdict.IGNORE
    assert ignored.tolist() == np.eye(4, dtype=bool).tolist()


def test_queries_without_a_negative_are_counted_and_reported_once(
    make_dataset, tiny_model: Path, tmp_path: Path
) -> None:
    dataset = make_dataset(
        [(f"q{i}", text, "train") for i, text in enumerate(SYMMETRIC)],
        [(f"p{i}", text) for i, text in enumerate(SYMMETRIC)],
        {(0, 1): 1.0, (1, 0): 1.0},
    )
    progress = RecordingProgress()
    built = phase(dataset, tiny_model, tmp_path, progress, batch_size=2, epochs=2)
    assert float(built.gradient(0).loss) == pytest.approx(0, abs=1e-6)
    again = phase(dataset, tiny_model, tmp_path, progress, batch_size=2, epochs=2)
    again.restore(built.state(), tmp_path)
    again.gradient(1)
    again.end()
    again.end()
    assert progress.warnings == [
        "in_batch: 4 of 4 queries, over all epochs, had no negative in their batch and were not "
        "trained on. Larger batches or more hard negatives help"
    ]


def test_no_step_has_a_single_query(tiny_dataset: Dataset, tiny_model: Path, tmp_path) -> None:
    progress = RecordingProgress()
    built = phase(tiny_dataset, tiny_model, tmp_path, progress, batch_size=11)
    assert [part.steps for part in built.parts] == [2]
    for step in range(2):
        result = built.gradient(step)
        assert result.without_negative == 0 and torch.isfinite(result.loss)
    built.end()
    assert progress.warnings == []


def test_one_training_query_without_a_hard_negative_is_refused(
    make_dataset, tiny_model: Path, tmp_path: Path
) -> None:
    texts = [("a", "river", "train")], [("p", "mountain"), ("q", "valley")]
    with pytest.raises(RunError, match="in_batch has one training query, and it has no hard"):
        phase(make_dataset(*texts, {(0, 0): 1.0}), tiny_model, tmp_path, RecordingProgress())
    dataset = make_dataset(*texts, {(0, 0): 1.0, (0, 1): 0.0})
    built = phase(dataset, tiny_model, tmp_path, RecordingProgress(), num_hard_negatives=1)
    assert built.gradient(0).loss > 0


def test_queries_that_conflict_are_counted_in_the_epochs_that_ran(
    make_dataset, tiny_model: Path, tmp_path: Path
) -> None:
    dataset = make_dataset(
        [(f"q{i}", f"question {i}", "train") for i in range(4)],
        [("p0", "the answer to all"), ("p1", "another text")],
        {(i, 0): 1.0 for i in range(4)},
    )
    loss = {"use": "sentence_transformers", "loss": "MultipleNegativesRankingLoss"}
    options = {"loss": loss, "batch_size": 2, "epochs": 3}
    progress = RecordingProgress()
    built = phase(dataset, tiny_model, tmp_path, progress, **options)
    built.gradient(0)
    resumed = phase(dataset, tiny_model, tmp_path, progress, **options)
    resumed.restore(built.state(), tmp_path)
    for step in (1, 2, 3):
        resumed.gradient(step)
    resumed.end()
    assert [warning.split(",")[0] for warning in progress.warnings] == ["in_batch: 4 queries"]
