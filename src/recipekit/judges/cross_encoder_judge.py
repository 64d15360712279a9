"""Judging with a CrossEncoder's scores, and calibrating its thresholds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from recipekit.artifacts.store import write_json
from recipekit.component import Context, Judge, PairBatch, Verdicts
from recipekit.dataset import Dataset
from recipekit.encoding.pair_scores import PairScorer
from recipekit.judges.calibration import (
    min_negatives,
    sample_labelled_pairs,
    thresholds,
)
from recipekit.judges.cross_encoder import CalibrationSpec
from recipekit.records import Verdict

__all__ = ["CrossEncoderJudge", "calibrate"]

PAIRS_PER_SCORING = 2048
"""Pairs that are sorted by length together; a kill loses at most this many scores."""


class CrossEncoderJudge(Judge):
    """What `CrossEncoderSpec` builds."""

    def __init__(
        self,
        scorer: PairScorer,
        dataset: Dataset,
        positive_threshold: float,
        negative_threshold: float,
        calibration: Mapping[str, Any] | None = None,
    ) -> None:
        self.scorer = scorer
        self.dataset = dataset
        self.positive_threshold = positive_threshold
        self.negative_threshold = negative_threshold
        self.calibration = calibration

    @property
    def figures(self) -> Mapping[str, str]:
        """The share of truncated pairs so far."""
        return {"truncated": f"{self._truncated_share:.1%}"}

    @property
    def counts(self) -> Mapping[str, Any]:
        """The thresholds, their calibration, and how many pairs this attempt truncated."""
        calibration = {"calibration": self.calibration} if self.calibration else {}
        return {
            "positive_threshold": self.positive_threshold,
            "negative_threshold": self.negative_threshold,
            **calibration,
            "scored": self.scorer.pairs,
            "truncated": self.scorer.truncated,
            "truncated_share": round(self._truncated_share, 6),
        }

    @property
    def _truncated_share(self) -> float:
        return self.scorer.truncated / max(self.scorer.pairs, 1)

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream verdicts on some thousand pairs at a time; each pair is judged by itself."""
        for batch in batches:
            wanted = np.flatnonzero(batch.wanted)
            for start in range(0, len(wanted), PAIRS_PER_SCORING):
                rows = wanted[start : start + PAIRS_PER_SCORING]
                query, passage = batch.query[rows], batch.passage[rows]
                scores = self.scorer.score_rows(self.dataset, query, passage)
                above = scores - self.positive_threshold
                below = scores - self.negative_threshold
                verdict = np.full(len(scores), Verdict.IGNORE, dtype=np.int8)
                verdict[above >= 0] = Verdict.POSITIVE
                verdict[below < 0] = Verdict.NEGATIVE
                confidence = np.minimum(np.abs(above), np.abs(below)).astype(np.float32)
                yield Verdicts(query, passage, verdict, confidence=confidence)


def calibrate(calibration: CalibrationSpec, scorer: PairScorer, context: Context) -> dict[str, Any]:
    """Derive the thresholds from labelled pairs, once; a resumed attempt reads them back.

    Returns:
        `positive_threshold`, `negative_threshold`, and `calibration`: how many labelled pairs they
        rest on, and the quartiles of their scores.
    """
    file = context.scratch / "calibration.json"
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    pairs = sample_labelled_pairs(context.dataset, calibration, context.seed)
    scores = scorer.score_rows(context.dataset, pairs.query, pairs.passage)
    positive_threshold, negative_threshold = thresholds(scores, pairs, calibration)
    n_negatives = int((~pairs.positive).sum())
    if not np.isfinite(positive_threshold):
        kind = "random" if pairs.random_negatives else "labelled"
        reason = _describe_shortage(calibration, n_negatives, kind)
        context.progress.warn(f"cross_encoder: no candidate can be positive: {reason}")
        positive_threshold = float(np.finfo(np.float32).max)
    found = {
        "positive_threshold": positive_threshold,
        "negative_threshold": negative_threshold,
        "calibration": {
            "positives": int(pairs.positive.sum()),
            "negatives": n_negatives,
            "random_negatives": pairs.random_negatives,
            "positive_quartiles": _quartiles(scores[pairs.positive]),
            "negative_quartiles": _quartiles(scores[~pairs.positive]),
        },
    }
    scorer.reset_counts()  # the counts are of the judged pairs
    if context.ranks.is_main:
        write_json(file, found)
    return found


def _quartiles(scores: Any) -> list[float] | None:
    if not len(scores):
        return None
    return [round(float(value), 4) for value in np.quantile(scores, (0.25, 0.5, 0.75))]


def _describe_shortage(calibration: CalibrationSpec, n_negatives: int, kind: str) -> str:
    """Why no score is proven to be precise enough."""
    negatives = f"{n_negatives} {kind} negatives"
    goal = f"a precision of {calibration.precision} at positive_share {calibration.positive_share}"
    needed = min_negatives(calibration)
    if n_negatives < needed:
        return (
            f"{negatives} cannot prove {goal}; {needed} can, if all of them score below the "
            "positives"
        )
    return f"no score separates the labelled positives from {negatives} with {goal}"
