"""Pairs for the LLM judge's tests."""

from dataclasses import replace

import numpy as np

from recipekit.component import PairBatch
from recipekit.judges.llm_judge.reply_forms import GradeForm
from recipekit.records import Verdict

UMBRELA = GradeForm((0, 1, 2, 3))
PRICE = {"input": 1.0, "output": 4.0}
"""The prices of the test server's ledger."""


def batch(queries=6, passages=25, **changes):
    """The first passages as candidates of the first queries, all wanted, none a source positive."""
    n = queries * passages
    pairs = PairBatch(
        np.repeat(np.arange(queries, dtype=np.int32), passages),
        np.tile(np.arange(passages, dtype=np.int32), queries),
        np.zeros(n, bool),
        np.full(n, Verdict.UNJUDGED, np.int8),
        np.ones(n, bool),
    )
    return replace(pairs, **changes)


def verdicts(run):
    """The verdict on each pair of a run."""
    return {pair: one.verdict for pair, one in run.pairs.items()}


def grades(run):
    """The grade of each pair of a run."""
    return {pair: one.grade for pair, one in run.pairs.items()}
