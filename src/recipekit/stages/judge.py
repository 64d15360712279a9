"""The judge stage: a verdict on every candidate that somebody judges, in the order of the judges.

It reads `candidates.arrow`, and writes `judgments.arrow` (`JUDGMENTS`): the labels that the sources gave, and the last verdict on
every judged pair. What nobody judged has no row. While it works, each judge's verdicts are appended to
`scratch/verdicts/<judge>/` (see `recipekit.stages.journal`), and the judge itself may keep what it likes in `scratch/judges/<judge>/`:
a run that was killed judges only what is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from recipekit.component import Judge, JudgeSpec
from recipekit.errors import RunError
from recipekit.recipe.models import JudgeSection
from recipekit.records import JUDGMENTS as SCHEMA
from recipekit.records import Bools, Verdict, read_table, write_table
from recipekit.stages.inputs import Inputs
from recipekit.stages.journal import Journal, verdicts_of
from recipekit.stages.pairs import GIVEN, Pairs, load_pairs

__all__ = ["judge"]

BANDS = {"1-10": 1, "11-50": 11, "51-100": 51, "101-": 101}
"""Ranks among the candidates, for the summary: a band's name and its first rank."""

WORDS = {"negative": Verdict.NEGATIVE, "positive": Verdict.POSITIVE, "ignore": Verdict.IGNORE}


def judge(inputs: Inputs, section: JudgeSection, out: Path) -> dict[str, Any]:
    """Judge the candidates, write `out/judgments.arrow` and return what was counted.

    The judges are built on every rank, since embeddings are encoded by all of them together; the main rank judges.

    Returns:
        `candidates`, `queries`, `given` (positives and negatives that the sources gave), `judges` (for each: how many pairs it
        was asked about and judged, its verdicts, and these by the candidate's rank), `verdicts` and `unjudged` (what stands in
        the end), `false_negatives` (unlabelled candidates that are now positive or ignored, and per query).

    Raises:
        RunError: There are no candidates to judge.
        ComponentError: A judge broke its contract.
    """
    if inputs.dataset is None or "mine" not in inputs.artifacts:
        raise RunError("there is nothing to judge: this recipe has no mine section", code="RK620")
    specs = {name: cast(JudgeSpec, slot.spec) for name, slot in section.judges.items()}
    judges: dict[str, Judge] = {name: spec.build(inputs.context(out / "scratch" / "judges" / name)) for name, spec in specs.items()}
    summary: dict[str, Any] = {}
    if inputs.ranks.is_main:
        pairs = load_pairs(inputs.dataset, read_table(inputs.artifacts["mine"].path / "candidates.arrow"))
        journals = {name: Journal(out / "scratch" / "verdicts" / name) for name in judges}
        told: dict[str, Any] = {}
        for code, (name, built) in enumerate(judges.items(), start=1):
            wanted = pairs.wanted(specs[name], section.audit_given)
            asked = int(wanted.sum())
            _run(inputs, pairs, wanted, name, code, built, journals[name])
            told[name] = {"seen": asked, **_counts(pairs, pairs.judge == code)}
        names = ["given", *judges]
        write_table(out / "judgments.arrow", SCHEMA, pairs.judgments(names, [journal.batches() for journal in journals.values()]))
        summary = _summary(pairs, told)
    inputs.ranks.barrier()
    return summary


def _run(inputs: Inputs, pairs: Pairs, wanted: Bools, name: str, code: int, built: Judge, journal: Journal) -> None:
    """Let one judge speak: first what it said before a kill, then the pairs that are still wanted."""
    before = pairs.verdict.copy()
    with inputs.progress.track(f"judge {name}", total=int(wanted.sum()), unit="pairs") as tracker:
        for batch in journal.batches():
            tracker.advance(pairs.apply(name, code, verdicts_of(batch), wanted))
        if journal.complete:
            return
        with journal:
            # A copy: `wanted` shrinks with every verdict, while the batches ahead are still to be made.
            for said in built.judge(pairs.batches(wanted.copy(), before)):
                done = pairs.apply(name, code, said, wanted)
                journal.append(said)
                tracker.advance(done)
        journal.finish()


def _counts(pairs: Pairs, chosen: Bools) -> dict[str, Any]:
    """Verdicts of some pairs, in all and by the rank of the candidate."""
    verdict, rank = pairs.verdict[chosen], pairs.rank[chosen]
    band = np.digitize(rank, list(BANDS.values())) - 1
    table = np.zeros((len(BANDS), len(WORDS)), dtype=np.int64)
    np.add.at(table, (band, verdict), 1)
    by_rank = {name: {word: int(table[row, code]) for word, code in WORDS.items()} for row, name in enumerate(BANDS) if table[row].any()}
    return {"judged": len(verdict), "verdicts": _words(verdict), "by_rank": by_rank}


def _words(verdict: Any) -> dict[str, int]:
    return {word: int((verdict == code).sum()) for word, code in WORDS.items()}


def _summary(pairs: Pairs, judges: dict[str, Any]) -> dict[str, Any]:
    candidate, labelled = pairs.rank > 0, ~np.isnan(pairs.grade) & (pairs.judge == GIVEN)
    queries = len(np.unique(pairs.query[candidate]))
    # A judged negative of the source that a judge calls relevant is no unlabelled candidate, but is counted by its judge.
    found = candidate & (pairs.judge > GIVEN) & ~pairs.given
    positive, ignore = (int((found & (pairs.verdict == verdict)).sum()) for verdict in (Verdict.POSITIVE, Verdict.IGNORE))
    return {
        "queries": queries,
        "candidates": int(candidate.sum()),
        "given": {"positive": int(pairs.given.sum()), "negative": int((labelled & ~pairs.given).sum())},
        "judges": judges,
        "verdicts": _words(pairs.verdict),
        "unjudged": int((pairs.verdict == Verdict.UNJUDGED).sum()),
        "false_negatives": {
            "positive": positive,
            "ignore": ignore,
            "positive_per_query": positive / queries if queries else 0.0,
            "ignore_per_query": ignore / queries if queries else 0.0,
        },
    }
