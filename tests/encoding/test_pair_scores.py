"""Scoring pairs with a CrossEncoder where memory is not enough for whole batches."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipekit.encoders.cross_encoder import CrossEncoderModelSpec
from recipekit.encoding.pair_scores import PairScorer
from recipekit.errors import RunError
from recipekit.testing import RecordingProgress, context

QUERIES = ["river opera", "honey", "gene comet valve"] * 4
PASSAGES = [" ".join(["orbit honey"] * (1 + i)) for i in range(12)]


class SmallMemory:
    """Lets predictions over more pairs than fit run out of memory, and counts those that fit."""

    def __init__(self, scorer: PairScorer, fits: int) -> None:
        self.predict, self.fits = scorer.model.predict, fits
        self.refused = 0
        self.scored: list[int] = []
        scorer.model.predict = self

    def __call__(self, pairs: Sequence[tuple[str, str]], **options: Any) -> Any:
        if len(pairs) > self.fits:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.scored.append(len(pairs))
        return self.predict(pairs, **options)


@pytest.fixture
def progress() -> RecordingProgress:
    return RecordingProgress()


@pytest.fixture
def make_scorer(
    tiny_cross_encoder: Path, tmp_path: Path, progress: RecordingProgress
) -> Callable[[], PairScorer]:
    """`make_scorer()`: a scorer in fp32."""
    spec = CrossEncoderModelSpec(model=str(tiny_cross_encoder), precision="fp32")
    return lambda: spec.build(context(tmp_path, progress=progress))


def test_a_batch_of_pairs_that_does_not_fit_is_divided_for_the_rest_of_the_run(
    make_scorer: Callable[[], PairScorer], progress: RecordingProgress
) -> None:
    scorer = make_scorer()
    scorer.max_tokens_per_batch = 10**6
    whole = scorer.score(QUERIES, PASSAGES, logits=True)
    memory = SmallMemory(scorer, fits=1)
    np.testing.assert_allclose(scorer.score(QUERIES, PASSAGES, logits=True), whole, atol=1e-5)
    assert memory.refused and set(memory.scored) == {1}
    halved = [f"each batch is divided into {parts} parts" for parts in (2, 4, 8, 16)]
    assert len(progress.warnings) == len(halved)
    for warning, parts in zip(progress.warnings, halved, strict=True):
        assert warning == (
            f"out of memory while scoring pairs: {parts}, with the same result. A lower "
            "max_tokens_per_batch of the cross-encoder avoids the failed attempts"
        )
    memory.refused = 0
    scorer.score(QUERIES, PASSAGES)
    assert not memory.refused, "later calls do not try whole batches again"
    scorer.reset_counts()
    scorer.score(QUERIES, PASSAGES)
    assert scorer.pairs == len(QUERIES), "a pair counts once, however often it was tried"


def test_a_single_pair_that_does_not_fit_is_one_line(
    make_scorer: Callable[[], PairScorer],
) -> None:
    scorer = make_scorer()
    SmallMemory(scorer, fits=0)
    with pytest.raises(RunError) as error:
        scorer.score(QUERIES, PASSAGES)
    assert str(error.value) == (
        "out of memory with one of the pairs in a forward pass: set a shorter max_length for the "
        "cross-encoder"
    )
    assert error.value.code == "RK634"


def test_other_errors_of_the_model_are_raised(make_scorer: Callable[[], PairScorer]) -> None:
    scorer = make_scorer()

    def fail(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access")

    scorer.model.predict = fail
    with pytest.raises(RuntimeError, match="illegal memory access"):
        scorer.score(QUERIES, PASSAGES)
