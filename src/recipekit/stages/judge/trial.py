"""`recipekit judge try`: which queries to judge, what to show of them, and what all would cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from recipekit.arrays import Rows, positions_in_groups
from recipekit.component import JudgeSpec, Slot
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.judging.policy import ReliabilityFloors
from recipekit.judging.verdict_log import VerdictLog
from recipekit.llm.completion import Reply, Request, RequestFailed
from recipekit.recipe.sections import Recipe
from recipekit.records import Verdict
from recipekit.stages.judge.section import JudgeSection
from recipekit.suggestions import did_you_mean

__all__ = [
    "JudgeTrial",
    "TriedPair",
    "count_candidates",
    "select_queries",
    "trial_section",
    "tried_pairs",
    "unconditional_judges",
]

FEWEST_QUERIES = 3
"""Pairs of fewer queries would show little of the data."""


@dataclass(frozen=True)
class TriedPair:
    """One judged pair with its last verdict."""

    query: str
    passage_id: str
    passage: str
    rank: int
    source_positive: bool
    """Whether the source calls it a positive, which the judge was not shown."""
    verdict: str
    judge: str
    grade: float | None
    confidence: float | None
    reason: str | None
    ungraded: bool = False
    """Whether the judge gave no usable answer; the verdict is then `ignore`."""


@dataclass(frozen=True)
class JudgeTrial:
    """The result of a trial."""

    pairs: tuple[TriedPair, ...]
    """The pairs to show, by query and rank."""
    queries: int
    candidates: int
    """Candidates of the tried queries that a run would judge, control pairs not included."""
    all_candidates: int
    """The same of all queries."""
    summary: Mapping[str, Any]
    """The judge stage's summary of the tried queries."""
    unconditional: tuple[str, ...]
    """Paid judges that were tried without their conditions.

    A run gives them fewer pairs, in other groups, and pays for these calls again.
    """
    calls: tuple[tuple[Request, Reply | RequestFailed], ...] = ()
    """Every call to a language model with its outcome, stored or not."""

    @property
    def without_pairs(self) -> tuple[str, ...]:
        """The paid judges that got no pair, because the judges before them left none."""
        paid = {name: self._counts(name) for name in self.summary["judges"]}
        return tuple(
            name for name, counts in paid.items() if "calls" in counts and not _used(counts)
        )

    def _counts(self, name: str) -> Mapping[str, Any]:
        return self.summary["judges"][name].get("counts") or {}

    @property
    def usd_for_all(self) -> float | None:
        """What all candidates would cost at this rate, with replies from the store at their price.

        None if a price is unknown, the budget was spent, or no paid judge judged anything.
        """
        counts = [self._counts(name) for name in self.summary["judges"]]
        paid = [count for count in counts if "calls" in count and _used(count)]
        if not paid or not self.candidates:
            return None
        if any(count.get("usd") is None or count.get("pairs_over_budget") for count in paid):
            return None
        stored = [(count.get("from_store") or {}).get("usd") or 0.0 for count in paid]
        usd = float(sum(count["usd"] for count in paid) + sum(stored))
        return usd / self.candidates * self.all_candidates


def _used(counts: Mapping[str, Any]) -> bool:
    """Whether a paid judge made a call, had a stored reply, or was stopped by the budget."""
    stored = (counts.get("from_store") or {}).get("replies")
    return bool(counts["calls"] or stored or counts.get("pairs_over_budget"))


def trial_section(recipe: Recipe, name: str | None) -> JudgeSection:
    """The recipe's judge section for a few queries: no `max_pairs`, human labels or floors.

    Args:
        recipe: The recipe.
        name: Try only this judge, without its conditions on other judges' verdicts.

    Raises:
        RunError: The recipe has no judge section or no such judge.
    """
    section = recipe.section(JudgeSection)
    if section is None:
        raise RunError("this recipe has no judge section: there is nothing to try", code="RK623")
    if name is not None and name not in section.judges:
        known = f" The judges are {', '.join(section.judges)}."
        hint = did_you_mean(name, section.judges) or known
        raise RunError(f"--judge {name}: there is no such judge.{hint}", code="RK624")
    dropped = ["max_pairs"]
    if name is not None:
        dropped += ["previous_verdicts", "below_confidence", "disagreeing_with"]
    judges = {
        own: _without(slot, dropped)
        for own, slot in section.judges.items()
        if name is None or own == name
    }
    control_pairs = section.control_pairs.model_copy(update={"human_labels": None})
    return section.model_copy(
        update={"judges": judges, "control_pairs": control_pairs, "require": ReliabilityFloors()}
    )


def _without(slot: Slot[JudgeSpec], keys: list[str]) -> Slot[JudgeSpec]:
    changed = slot.model_copy()
    changed.bind(slot.entry, slot.spec.model_copy(update=dict.fromkeys(keys)))
    return changed


def unconditional_judges(
    recipe: Recipe, tried: JudgeSection, summary: Mapping[str, Any]
) -> tuple[str, ...]:
    """The paid judges whose conditions `trial_section` dropped."""
    section = recipe.section(JudgeSection)
    assert section is not None
    paid = [
        name for name, stats in summary["judges"].items() if "calls" in (stats.get("counts") or {})
    ]
    return tuple(name for name in paid if tried.judges[name].spec != section.judges[name].spec)


def select_queries(candidates: pa.Table, section: JudgeSection, n: int, seed: int) -> Rows:
    """Queries in a seeded order, as many as the first judge needs for `n` pairs of several."""
    query = candidates["query"].to_numpy()
    if not section.rejudge_source_labels:
        query = query[~candidates["source_positive"].to_numpy(zero_copy_only=False)]
    queries, sizes = np.unique(query, return_counts=True)
    first = _specs(section)[0]
    if first.max_rank is not None:
        sizes = np.minimum(sizes, first.max_rank)
    order = np.random.default_rng(seed).permutation(len(queries))
    count = max(int(np.searchsorted(np.cumsum(sizes[order]), n)) + 1, min(n, FEWEST_QUERIES))
    return np.sort(queries[order[:count]])


def count_candidates(candidates: pa.Table, section: JudgeSection) -> int:
    """How many candidates the judges can get, by `max_rank` and `rejudge_source_labels`."""
    judged = np.ones(len(candidates), dtype=np.bool_)
    max_ranks = [spec.max_rank for spec in _specs(section)]
    if None not in max_ranks:
        rank = positions_in_groups(candidates["query"].to_numpy()) + 1
        judged &= rank <= max(max_rank for max_rank in max_ranks if max_rank is not None)
    if not section.rejudge_source_labels:
        judged &= ~candidates["source_positive"].to_numpy(zero_copy_only=False)
    return int(judged.sum())


def _specs(section: JudgeSection) -> list[JudgeSpec]:
    return [slot.spec for slot in section.judges.values()]


def tried_pairs(
    dataset: Dataset, candidates: pa.Table, logs: Mapping[str, VerdictLog], n: int, seed: int
) -> Iterator[TriedPair]:
    """A seeded choice of `n` judged pairs, in the candidates' order.

    The queries take turns, and one pair is a likely positive. Control pairs are included.

    Args:
        dataset: The collected data.
        candidates: The candidates of the tried queries.
        logs: The judges' logs, by name and in order.
        n: How many pairs.
        seed: Chooses them.
    """
    last = _last_verdicts(logs)
    query, passage = candidates["query"].to_numpy(), candidates["passage"].to_numpy()
    rank = positions_in_groups(query) + 1
    pairs = list(zip(query.tolist(), passage.tolist(), strict=True))
    judged = np.array([row for row, pair in enumerate(pairs) if pair in last], dtype=np.int64)
    shuffled = np.random.default_rng(seed).permutation(judged)
    positive = candidates["source_positive"].to_numpy(zero_copy_only=False)
    likely = sorted(shuffled.tolist(), key=lambda row: (not positive[row], rank[row]))[:1]
    rows = np.array(sorted(islice(_in_turns([*likely, *shuffled.tolist()], query), n)), np.int64)
    columns = zip(
        rows.tolist(),
        dataset.queries.texts(query[rows]),
        dataset.passages.column("id", passage[rows]),
        dataset.passages.texts(passage[rows]),
        positive[rows].tolist(),
        strict=True,
    )
    for row, query_text, passage_id, passage_text, source_positive in columns:
        found = last[pairs[row]]
        yield TriedPair(
            query=query_text,
            passage_id=passage_id,
            passage=passage_text,
            rank=int(rank[row]),
            source_positive=source_positive,
            verdict=Verdict(found["verdict"]).name.lower(),
            **{key: found[key] for key in ("judge", "grade", "confidence", "reason", "ungraded")},
        )


def _in_turns(rows: Sequence[int], query: Rows) -> Iterator[int]:
    """Yield each row once: the first row of every query, then their second rows, and so on."""
    by_query: dict[int, list[int]] = {}
    for row in dict.fromkeys(rows):
        by_query.setdefault(int(query[row]), []).append(row)
    for turn in zip_longest(*by_query.values()):
        yield from (row for row in turn if row is not None)


def _last_verdicts(logs: Mapping[str, VerdictLog]) -> dict[tuple[int, int], dict[str, Any]]:
    """The last verdict on each judged (query, passage), which an ungraded one does not replace."""
    last: dict[tuple[int, int], dict[str, Any]] = {}
    for name, log in logs.items():
        for batch in log.batches():
            for row in batch.to_pylist():
                pair = row["query"], row["passage"]
                if not row["ungraded"] or pair not in last:
                    last[pair] = {**row, "judge": name}
    return last
