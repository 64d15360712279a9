"""The `cross_encoder` judge: a model that reads query and passage together, and thresholds on its
score.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from recipekit.arrays import Floats, Ints
from recipekit.artifacts.store import write_json
from recipekit.component import Context, Judge, JudgeSpec, NotIdentity, PairBatch, Verdicts
from recipekit.dataset import Dataset
from recipekit.encoding.named_model import NamedModel
from recipekit.judges.calibration import (
    Calibration,
    KnownPairs,
    Thresholds,
    fewest_negatives,
    known_labels,
    known_pairs,
    thresholds,
)
from recipekit.records import Verdict

if TYPE_CHECKING:
    from recipekit.judges.cross_encoder_scores import PairScorer

__all__ = ["CrossEncoderJudge", "CrossEncoderSpec"]

PAIRS_AT_ONCE = 2048
"""Pairs that are sorted by length together, and what a kill costs at most."""


class CrossEncoderSpec(NamedModel, JudgeSpec):
    """A sentence-transformers CrossEncoder, and thresholds on its score.

    A score of at least `positive_threshold` is a positive, one below `negative_threshold` a
    negative, and what is between is ignored. A verdict's confidence is its score's distance from
    the nearest threshold, so that `below_confidence` sends the close calls to the next judge. The
    scores are those of `CrossEncoder.predict`: after the model's own activation, a logit or a
    probability as it was trained.
    """

    measured: ClassVar[bool] = True

    positive_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The lowest score of a positive."""
    negative_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The score that is too high for a negative; equal to `positive_threshold`, nothing is ignored.
    """
    calibrate: Calibration | None = None
    """Find both thresholds on known pairs instead: `{precision: 0.9}`."""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Tokens of query and passage together after which the longer is cut.

    By default as the model was trained.
    """
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the model, bf16 where the hardware has it; scores near a threshold may fall on
    its other side.
    """
    max_tokens_per_batch: Annotated[int | None, NotIdentity, Field(ge=1)] = None
    """Padded tokens in one forward pass. By default 8192 on a CPU, and 65536 elsewhere."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = [
            value
            for value in (self.positive_threshold, self.negative_threshold)
            if value is not None
        ]
        if (len(given) == 2) == (self.calibrate is not None) or len(given) == 1:
            raise ValueError(
                "set both positive_threshold and negative_threshold, or calibrate alone (`calibrate: {precision: 0.9}`)"
            )
        if len(given) == 2 and given[0] < given[1]:
            raise ValueError(
                f"positive_threshold {given[0]} is below negative_threshold {given[1]}: a score would be both"
            )
        return self

    def check(self, dataset: Dataset) -> None:
        """See that calibration has known pairs to rest on."""
        if self.calibrate is not None:
            known_labels(dataset, self.calibrate)

    def build(self, context: Context) -> Judge:
        """Load the model onto the rank's device, and find the thresholds where they are to be
        found.
        """
        from recipekit.judges.cross_encoder_scores import load_scorer

        scorer = load_scorer(self, context.ranks.device)
        if self.calibrate is None:
            assert self.positive_threshold is not None and self.negative_threshold is not None
            return CrossEncoderJudge(
                scorer,
                context.dataset,
                Thresholds(self.positive_threshold, self.negative_threshold),
                {},
            )
        told = _calibrated(self.calibrate, scorer, context)
        return CrossEncoderJudge(
            scorer,
            context.dataset,
            Thresholds(told["positive_threshold"], told["negative_threshold"]),
            told,
        )


def _calibrated(calibration: Calibration, scorer: PairScorer, context: Context) -> dict[str, Any]:
    """The thresholds and what they rest on; found once, and read back by an attempt that goes on."""
    file = context.scratch / "calibration.json"
    if file.is_file():
        told: dict[str, Any] = json.loads(file.read_text())
        return told
    known = known_pairs(context.dataset, calibration, context.seed)
    scores = _scores(scorer, context.dataset, known.query, known.passage)
    found = thresholds(scores, known, calibration)
    if not np.isfinite(found.positive_threshold):
        context.progress.warn(
            f"cross_encoder: nothing will be called positive: {_why_none(calibration, known)}"
        )
        found = Thresholds(float(np.finfo(np.float32).max), found.negative_threshold)
    quartiles = {
        name: [round(float(value), 4) for value in np.quantile(scores[chosen], (0.25, 0.5, 0.75))]
        if chosen.any()
        else None
        for name, chosen in (("positives", known.positive), ("negatives", ~known.positive))
    }
    told = {
        **asdict(found),
        "known": {
            "positives": int(known.positive.sum()),
            "negatives": int((~known.positive).sum()),
            "drawn": known.random_negatives,
        },
        "quartiles": quartiles,
    }
    scorer.forget_counts()  # what was cut here is not among what is judged
    if context.ranks.is_main:
        write_json(file, told)
    return told


def _why_none(calibration: Calibration, known: KnownPairs) -> str:
    """Why no score is shown to be precise enough."""
    n, fewest = int((~known.positive).sum()), fewest_negatives(calibration)
    negatives = f"{n} {'random' if known.random_negatives else 'known'} negatives"
    wanted = (
        f"a precision of {calibration.precision} at positive_share {calibration.positive_share}"
    )
    if n < fewest:
        return f"{negatives} cannot show {wanted}; {fewest} would do, if all of them score less than the positives"
    return f"no score separates the known positives from {negatives} with {wanted}"


def _scores(scorer: PairScorer, dataset: Dataset, query: Ints, passage: Ints) -> Floats:
    return scorer.score(dataset.queries.texts(query), dataset.passages.texts(passage))


class CrossEncoderJudge(Judge):
    """See `CrossEncoderSpec`."""

    def __init__(
        self,
        scorer: PairScorer,
        dataset: Dataset,
        lines: Thresholds,
        calibration: Mapping[str, Any],
    ) -> None:
        self.scorer = scorer
        self.dataset = dataset
        self.lines = lines
        self.calibration = calibration

    @property
    def figures(self) -> Mapping[str, str]:
        """The share of the pairs that were cut so far."""
        return {"cut": f"{100 * self.scorer.truncated / max(self.scorer.pairs, 1):.1f} %"}

    @property
    def counts(self) -> Mapping[str, Any]:
        """Thresholds, what they rest on, and how many of the pairs that this attempt scored were
        cut at the model's length.
        """
        return {
            **asdict(self.lines),
            **(
                {"calibration": {name: self.calibration[name] for name in ("known", "quartiles")}}
                if self.calibration
                else {}
            ),
            "scored": self.scorer.pairs,
            "truncated": self.scorer.truncated,
            "truncated_share": round(self.scorer.truncated / max(self.scorer.pairs, 1), 6),
        }

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream verdicts, some thousand pairs at a time; every pair is judged by itself."""
        for batch in batches:
            wanted = np.flatnonzero(batch.wanted)
            for start in range(0, len(wanted), PAIRS_AT_ONCE):
                rows = wanted[start : start + PAIRS_AT_ONCE]
                yield self._verdicts(batch.query[rows], batch.passage[rows])

    def _verdicts(self, query: Ints, passage: Ints) -> Verdicts:
        scores = _scores(self.scorer, self.dataset, query, passage)
        verdict = np.full(len(scores), Verdict.IGNORE, dtype=np.int8)
        verdict[scores >= self.lines.positive_threshold] = Verdict.POSITIVE
        verdict[scores < self.lines.negative_threshold] = Verdict.NEGATIVE
        distance = np.minimum(
            np.abs(scores - self.lines.positive_threshold),
            np.abs(scores - self.lines.negative_threshold),
        )
        return Verdicts(query, passage, verdict, confidence=distance.astype(np.float32))
