"""What the judge stage counts: verdicts as they come, in the end, and what is to be told of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recipekit.arrays import Bools
from recipekit.component import Progress, Verdicts
from recipekit.judging.candidate_pairs import CandidatePairs
from recipekit.judging.reliability import BANDS, rank_bands
from recipekit.judging.verdict_state import SOURCE, Codes
from recipekit.records import Verdict
from recipekit.stages.judge.section import JudgeSection

__all__ = ["VerdictShares", "counted", "notes", "pairs_over_budget", "summarized"]

WORDS = {"negative": Verdict.NEGATIVE, "positive": Verdict.POSITIVE, "ignore": Verdict.IGNORE}


class VerdictShares:
    """What is shown while a judge speaks: the shares of its verdicts, its own figures, and the
    money to come.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.counts = np.zeros(len(WORDS), dtype=np.int64)
        self.before = 0
        """Verdicts that were there when this attempt began to ask."""

    def start(self) -> None:
        """What comes from now on is said, and paid, in this attempt."""
        self.before = int(self.counts.sum())

    def of(self, said: Verdicts, figures: Mapping[str, Any]) -> dict[str, float | str]:
        """The figures to show once these verdicts are taken over."""
        self.counts += np.bincount(np.asarray(said.verdict), minlength=len(WORDS))
        done = int(self.counts.sum())
        shown: dict[str, float | str] = {
            word: f"{self.counts[code] / max(done, 1):.0%}" for word, code in WORDS.items() if code
        }
        shown |= {name: figure for name, figure in figures.items() if name != "usd_a_pair"}
        usd, new = figures.get("usd"), done - self.before
        # Answers from the store are quick and cost nothing: what is paid per pair in this attempt
        # says little of the pairs to come.
        each = figures.get("usd_a_pair") or (
            usd / new if isinstance(usd, float) and new > 0 else 0.0
        )
        if each > 0 and done < self.total:
            shown["usd to come"] = f"about {_usd(each * (self.total - done))}"
        return shown


def counted(pairs: CandidatePairs, chosen: Bools) -> dict[str, Any]:
    """Verdicts of some pairs, in all and by the rank of the candidate."""
    verdict, rank = pairs.said.verdict[chosen], pairs.rank[chosen]
    table = np.zeros((len(BANDS), len(WORDS)), dtype=np.int64)
    np.add.at(table, (rank_bands(rank), verdict), 1)
    by_rank = {
        name: {word: int(table[row, code]) for word, code in WORDS.items()}
        for row, name in enumerate(BANDS)
        if table[row].any()
    }
    return {"judged": len(verdict), "verdicts": _words(verdict), "by_rank": by_rank}


def _words(verdict: Codes) -> dict[str, int]:
    return {word: int((verdict == code).sum()) for word, code in WORDS.items()}


def summarized(
    pairs: CandidatePairs, judges: dict[str, Any], measured: Sequence[int]
) -> dict[str, Any]:
    """The stage's counts.

    Args:
        pairs: All pairs, judged.
        judges: What was counted of each judge.
        measured: The codes of the judges that read the texts: what they ignore they found
            undecided, while what a filter ignores is likely a false negative.
    """
    said = pairs.said
    candidate, negative = pairs.rank > 0, pairs.labelled & ~pairs.given
    queries = len(np.unique(pairs.query[candidate]))
    found = candidate & (said.judge > SOURCE) & ~pairs.labelled
    positive, ignore = (
        int((found & (said.verdict == verdict)).sum())
        for verdict in (Verdict.POSITIVE, Verdict.IGNORE)
    )
    undecided = int(
        (found & (said.verdict == Verdict.IGNORE) & np.isin(said.judge, measured)).sum()
    )
    return {
        "queries": queries,
        "candidates": int(candidate.sum()),
        "source_labels": {"positive": int(pairs.given.sum()), "negative": int(negative.sum())},
        **_overruled(
            int((pairs.given & ~pairs.standing()).sum()),
            int((negative & (said.verdict != Verdict.NEGATIVE)).sum()),
        ),
        "judges": judges,
        "verdicts": _words(said.verdict),
        "unjudged": int((said.verdict == Verdict.UNJUDGED).sum()),
        "false_negatives": {
            "positive": positive,
            "ignore": ignore,
            **({"undecided": undecided} if measured else {}),
            "positive_per_query": positive / queries if queries else 0.0,
            "ignore_per_query": ignore / queries if queries else 0.0,
        },
    }


def _overruled(positive: int, negative: int) -> dict[str, Any]:
    """The sources' labels that are others now; nothing where all stand."""
    return (
        {"overruled": {"positive": positive, "negative": negative}} if positive or negative else {}
    )


def notes(
    section: JudgeSection, judges: Mapping[str, Mapping[str, Any]], progress: Progress
) -> dict[str, Any]:
    """`spent`, and `notes` on what the budget left unjudged, which are also told at once; nothing
    where nobody was paid.

    Of what a judge counts itself, known here are `calls` and `usd` (made and paid for this
    artifact), `from_store` (`usd`: what the replies that were paid for earlier had cost), and
    `pairs_over_budget` (pairs that were not asked about, since the budget was spent).
    """
    counts = {name: told.get("counts") or {} for name, told in judges.items()}
    paid = {name: told for name, told in counts.items() if "calls" in told}
    if not paid:
        return {}
    prices = [told.get("usd") for told in paid.values()]
    usd = None if any(price is None for price in prices) else sum(prices)  # type: ignore[arg-type]
    found: dict[str, Any] = {
        "spent": {"usd": usd, "calls": sum(told["calls"] for told in paid.values())}
    }
    told = [
        _unpaid(section, name, judges[name], paid[name])
        for name in pairs_over_budget(judges)
        if name in paid
    ]
    for line in told:
        progress.warn(line)
    return {**found, "notes": told} if told else found


def pairs_over_budget(judges: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The judges, by what was counted of each, whose budget did not reach all of their pairs, and
    how many it left.
    """
    return {
        name: int(n)
        for name, told in judges.items()
        if (n := (told.get("counts") or {}).get("pairs_over_budget"))
    }


def _unpaid(
    section: JudgeSection, name: str, told: Mapping[str, Any], counts: Mapping[str, Any]
) -> str:
    """What the budget left, and how to go on, in a line."""
    limits = {"max_cost_usd": section.max_cost_usd, "max_calls": section.max_calls}
    named = " or ".join(
        f"judge.{key} ({value:,g})" for key, value in limits.items() if value is not None
    )
    left, seen = int(counts["pairs_over_budget"]), told["seen"] + told.get("blind", 0)
    stored, share = counts.get("from_store") or {}, left / (seen - left) if seen > left else 0.0
    usd = (
        share * ((counts.get("usd") or 0.0) + (stored.get("usd") or 0.0))
        if section.max_cost_usd is not None
        else 0.0
    )
    calls = (
        math.ceil(share * (counts["calls"] + stored.get("replies", 0)))
        if section.max_calls is not None
        else 0
    )
    rest = " and ".join(
        [f"${_usd(usd)}"] * bool(usd) + [f"{calls:,} call{'s' * (calls > 1)}"] * bool(calls)
    )
    more = f": about {rest} more would do for this judge" if rest else ""
    if refused := counts.get("refused_usd"):
        more += f" (the next call could cost ${_usd(refused)}, for which there was no room)"
    return (
        f"judge '{name}': the budget is spent, {left:,} of {seen:,} pairs stay without its verdict. To go on, raise {named}{more}; "
        f"what is paid for is kept and is not paid again"
    )


def _usd(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.1 else f"{amount:.2g}"
