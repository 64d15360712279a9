"""What the judge stage shows while it runs, and its summary."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from recipekit.arrays import Bools
from recipekit.component import Progress, Spending, Verdicts
from recipekit.judging.candidate_pairs import RANK_BANDS, CandidatePairs, rank_bands
from recipekit.judging.verdicts import SOURCE, Codes
from recipekit.records import Verdict
from recipekit.report.numbers import usd as dollars

__all__ = ["LiveFigures", "count_verdicts", "pairs_over_budget", "spending_summary", "summarize"]

CODES: Final = {
    "negative": Verdict.NEGATIVE,
    "positive": Verdict.POSITIVE,
    "ignore": Verdict.IGNORE,
}


class LiveFigures:
    """What is shown while a judge runs: shares of its verdicts, its own figures, cost to come."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.counts = np.zeros(len(CODES), dtype=np.int64)
        self.read_back = 0
        """Verdicts of an earlier attempt."""

    def start_attempt(self) -> None:
        """Count what follows as judged, and paid for, in this attempt."""
        self.read_back = int(self.counts.sum())

    def add(self, verdicts: Verdicts, figures: Mapping[str, Any]) -> dict[str, float | str]:
        """The figures to show after some more verdicts, given the judge's own `figures`."""
        self.counts += np.bincount(np.asarray(verdicts.verdict), minlength=len(CODES))
        done = int(self.counts.sum())
        shown: dict[str, float | str] = {
            name: f"{self.counts[CODES[name]] / max(done, 1):.0%}"
            for name in ("positive", "ignore")
        }
        shown |= {name: figure for name, figure in figures.items() if name != "usd_a_pair"}
        remaining = self._usd_per_pair(figures, done - self.read_back) * (self.total - done)
        if remaining > 0:
            shown["remaining cost"] = f"about {dollars(remaining)}"
        return shown

    def _usd_per_pair(self, figures: Mapping[str, Any], judged: int) -> float:
        """The judge's own `usd_a_pair` if it has one.

        Otherwise what was paid in this attempt, by pair. Replies from the store cost nothing, so
        that is less than what the remaining pairs cost.
        """
        usd = figures.get("usd")
        paid = usd / judged if isinstance(usd, float) and judged > 0 else 0.0
        return float(figures.get("usd_a_pair") or paid)


def count_verdicts(pairs: CandidatePairs, selected: Bools) -> dict[str, Any]:
    """The verdicts on selected pairs, in all and by the rank of the candidate."""
    verdict, rank = pairs.verdicts.verdict[selected], pairs.rank[selected]
    table = np.zeros((len(RANK_BANDS), len(CODES)), dtype=np.int64)
    np.add.at(table, (rank_bands(rank), verdict), 1)
    by_rank = {
        band: {name: int(table[row, code]) for name, code in CODES.items()}
        for row, band in enumerate(RANK_BANDS)
        if table[row].any()
    }
    return {"judged": len(verdict), "verdicts": _by_name(verdict), "by_rank": by_rank}


def _by_name(verdict: Codes) -> dict[str, int]:
    return {name: int((verdict == code).sum()) for name, code in CODES.items()}


def summarize(
    pairs: CandidatePairs, judges: Mapping[str, Any], measured: Sequence[int]
) -> dict[str, Any]:
    """The stage's summary.

    Args:
        pairs: All pairs, judged.
        judges: The statistics of each judge.
        measured: Codes of the measured judges. A pair that a judge of texts ignores is undecided,
            while a pair that a filter ignores is likely a false negative.
    """
    verdict, judge = pairs.verdicts.verdict, pairs.verdicts.judge
    candidate, negative = pairs.rank > 0, pairs.labelled & ~pairs.source_positive
    queries = len(np.unique(pairs.query[candidate]))
    unlabelled = candidate & (judge > SOURCE) & ~pairs.labelled
    ignored = unlabelled & (verdict == Verdict.IGNORE)
    found = {
        "positive": int((unlabelled & (verdict == Verdict.POSITIVE)).sum()),
        "ignore": int(ignored.sum()),
    }
    if measured:
        found["undecided"] = int((ignored & np.isin(judge, measured)).sum())
    overruled = {
        "positive": int((pairs.source_positive & ~pairs.standing_positives()).sum()),
        "negative": int((negative & (verdict != Verdict.NEGATIVE)).sum()),
    }
    return {
        "queries": queries,
        "candidates": int(candidate.sum()),
        "source_labels": {
            "positive": int(pairs.source_positive.sum()),
            "negative": int(negative.sum()),
        },
        **({"overruled": overruled} if any(overruled.values()) else {}),
        "judges": dict(judges),
        "verdicts": _by_name(verdict),
        "unjudged": int((verdict == Verdict.UNJUDGED).sum()),
        "false_negatives": {
            **found,
            "positive_per_query": found["positive"] / max(queries, 1),
            "ignore_per_query": found["ignore"] / max(queries, 1),
        },
    }


# Spending
# --------------------------------------------------------------------------------------------------


def spending_summary(
    spending: Spending, judges: Mapping[str, Mapping[str, Any]], progress: Progress
) -> dict[str, Any]:
    """`spent`, and `notes` on pairs over budget, which are also warnings; empty if none was paid.

    A paid judge has these `counts`: `calls` and `usd`, made and paid for this artifact (`usd` is
    None where the price is unknown); `from_store`, the `replies` that were paid for earlier and
    their `usd`; `pairs_over_budget`; `refused_usd`, the cost of the call that the budget refused,
    and `limits_reached`, the limits that refused it.
    """
    paid = {name: stats["counts"] for name, stats in judges.items() if "calls" in _counts(stats)}
    if not paid:
        return {}
    prices = [counts.get("usd") for counts in paid.values()]
    usd = None if None in prices else sum(prices)
    over = [name for name in pairs_over_budget(judges) if name in paid]
    spent = {
        "usd": usd,
        "calls": sum(counts["calls"] for counts in paid.values()),
        "limit_reached": bool(over),
    }
    notes = [_over_budget(spending, name, judges[name]) for name in over]
    for note in notes:
        progress.warn(note)
    return {"spent": spent, **({"notes": notes} if notes else {})}


def pairs_over_budget(judges: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How many pairs each judge left because the budget was spent; judges that left none omitted.

    Args:
        judges: The statistics of each judge, as in the stage's summary.
    """
    over = {
        name: int(_counts(stats).get("pairs_over_budget") or 0) for name, stats in judges.items()
    }
    return {name: n for name, n in over.items() if n}


def _counts(stats: Mapping[str, Any]) -> Mapping[str, Any]:
    return stats.get("counts") or {}


def _over_budget(spending: Spending, name: str, stats: Mapping[str, Any]) -> str:
    """What the budget left unjudged, and about how much more the rest takes, in one line."""
    counts = stats["counts"]
    stored = counts.get("from_store") or {}
    left, total = int(counts["pairs_over_budget"]), stats["pairs"] + stats.get("control_pairs", 0)
    more = left / (total - left) if total > left else 0.0
    limits = list(_limits_reached(spending, counts))
    remaining = []
    if any(name.endswith("max_cost_usd") for name, _ in limits):
        if usd := more * ((counts.get("usd") or 0.0) + (stored.get("usd") or 0.0)):
            remaining.append(dollars(usd))
    if any(name.endswith("max_calls") for name, _ in limits):
        if calls := math.ceil(more * (counts["calls"] + stored.get("replies", 0))):
            remaining.append(f"{calls:,} calls" if calls > 1 else "1 call")
    advice = f"To judge them, raise {' or '.join(f'{name} ({limit:,g})' for name, limit in limits)}"
    if remaining:
        advice += f" by about {' and '.join(remaining)}"
    if refused := counts.get("refused_usd"):
        advice += f" (the next call could cost {dollars(refused)}, more than was left)"
    return (
        f"judge '{name}': the budget is spent, and {left:,} of {total:,} pairs have no verdict "
        "from "
        f"it. {advice}; replies that are paid for are kept and not paid again"
    )


def _limits_reached(spending: Spending, counts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the limits that a judge reached, else all there are, by their paths in the recipe."""
    reached = counts.get("limits_reached")
    for account in spending.accounts:
        for key in ("max_cost_usd", "max_calls"):
            name, limit = f"{account.limits}.{key}", getattr(account, key)
            if limit is not None and (reached is None or name in reached):
                yield name, limit
