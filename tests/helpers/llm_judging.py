"""Pairs for the llm judge's tests, and the words they speak in."""

from dataclasses import replace

import numpy as np

from recipekit.component import PairBatch
from recipekit.judges.llm_judge.reply_forms import GradeForm
from recipekit.records import Verdict

UMBRELA = GradeForm((0, 1, 2, 3))
PRICE = {"input": 1.0, "output": 4.0}  # as the server's ledger bills


def batch(queries=6, passages=25, **changed):
    """The first passages as candidates of the first queries, all of them wanted, none given."""
    n = queries * passages
    query = np.repeat(np.arange(queries, dtype=np.int32), passages)
    made = PairBatch(
        query,
        np.tile(np.arange(passages, dtype=np.int32), queries),
        np.zeros(n, bool),
        np.full(n, Verdict.UNJUDGED, np.int8),
        np.ones(n, bool),
    )
    return replace(made, **changed)


def verdicts(done):
    return {pair: said.verdict for pair, said in done.said.items()}
