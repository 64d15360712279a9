"""How the retrievers score the pairs of each verdict: can a threshold tell them apart?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.records import Verdict
from recipekit.report.blocks import Figure
from recipekit.report.run_folder import RunFolder
from recipekit.stages.score_histograms import of_some_queries, score_histograms

__all__ = ["score_figures"]

NAMES: Final = {
    Verdict.POSITIVE: "positive",
    Verdict.NEGATIVE: "negative",
    Verdict.IGNORE: "ignored",
}


def score_figures(run: RunFolder) -> Iterator[Figure]:
    """A histogram of the scores of each retriever by final verdict, source labels included."""
    judgments = run.table("judge", "judgments.arrow")
    candidates = run.table("mine", "candidates.arrow")
    if judgments is None or candidates is None:
        return
    candidates = of_some_queries(candidates)
    verdicts = _verdicts(candidates, judgments)
    groups = {name: verdicts == verdict for verdict, name in NAMES.items()}
    yield from score_histograms(candidates, groups, title="by verdict", group="verdict")


def _verdicts(candidates: pa.Table, judgments: pa.Table) -> npt.NDArray[np.int8]:
    """The verdict of each candidate; UNJUDGED for those without a row in the judgments."""
    queries = candidates["query"].to_numpy()
    judged_queries = judgments["query"].to_numpy()
    wanted = np.flatnonzero(np.isin(judged_queries, np.unique(queries)))
    judged = judgments.select(["query", "passage", "verdict"]).take(pa.array(wanted))
    keys = _keys(judged)
    found = np.full(len(queries), Verdict.UNJUDGED, dtype=np.int8)
    if not len(keys):
        return found
    wanted_keys = _keys(candidates)
    places = np.minimum(np.searchsorted(keys, wanted_keys), len(keys) - 1)
    hits = keys[places] == wanted_keys
    found[hits] = judged["verdict"].to_numpy()[places[hits]]
    return found


def _keys(pairs: pa.Table) -> npt.NDArray[np.int64]:
    """One number for each (query, passage), in the order of the pairs."""
    queries, passages = (pairs[side].to_numpy().astype(np.int64) for side in ("query", "passage"))
    keys: npt.NDArray[np.int64] = (queries << 32) | passages
    return keys
