"""Trying the judges on a few queries, with real calls, before anybody pays for all of them."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recipekit.arrays import Rows, positions_in_groups
from recipekit.artifacts.store import Artifact
from recipekit.component import JudgeSpec, Progress, Ranks, Slot
from recipekit.errors import RunError
from recipekit.judging.policy import ReliabilityFloors
from recipekit.judging.verdict_log import VerdictLog
from recipekit.pipeline.mined_recipe import MinedRecipe
from recipekit.recipe.sections import Recipe
from recipekit.records import Verdict
from recipekit.stages.inputs import StageInputs
from recipekit.stages.judge.judge import judge
from recipekit.stages.judge.section import JudgeSection
from recipekit.suggestions import did_you_mean
from recipekit.tables import write_table

__all__ = ["JudgeTrial", "TriedPair", "section_to_try", "try_judges"]


@dataclass(frozen=True)
class TriedPair:
    """One pair, with the last word on it."""

    query: str
    passage_id: str
    passage: str
    rank: int
    given: bool
    """Whether the source calls it a positive; then it was judged blind."""
    verdict: str
    judge: str
    grade: float | None
    confidence: float | None
    reason: str | None
    answered: bool = True
    """False where the judge gave no answer that could be used, which is an `ignore`."""


@dataclass(frozen=True)
class JudgeTrial:
    """What came of trying."""

    shown: tuple[TriedPair, ...]
    """So many pairs as were asked for, or all that were judged, by query and rank."""
    queries: int
    candidates: int
    """Candidates of the tried queries that a run would ask about; pairs judged blind, a small
    share, are left out of both.
    """
    of: int
    """Such candidates of the whole recipe."""
    summary: Mapping[str, Any]
    """The judge stage's counts, of the tried queries."""
    freed: tuple[str, ...]
    """Paid judges that were freed of their conditions: a run asks about fewer pairs, in other
    groups, and pays for these calls.
    """

    @property
    def usd_for_all(self) -> float | None:
        """What all candidates would cost at this rate, replies that were paid for earlier counted
        as if they were paid now.

        None where no price is known, nobody was paid, a limit was reached, or there was nothing to
        judge.
        """
        paid = [
            counts
            for told in self.summary["judges"].values()
            if "calls" in (counts := told.get("counts") or {})
        ]
        if (
            not paid
            or not self.candidates
            or any(counts.get("usd") is None or counts.get("pairs_over_budget") for counts in paid)
        ):
            return None
        worth: float = sum(
            counts["usd"] + ((counts.get("from_store") or {}).get("usd") or 0.0) for counts in paid
        )
        return worth / self.candidates * self.of


def section_to_try(recipe: Recipe, name: str | None) -> JudgeSection:
    """The recipe's judge section for a few queries: no sample of all pairs, nothing required; one
    judge alone where it is named.

    Raises:
        RunError: There is no such section or judge.
    """
    section = recipe.section(JudgeSection)
    if section is None:
        raise RunError("this recipe has no judge section: there is nothing to try", code="RK623")
    if name is not None and name not in section.judges:
        known = (
            did_you_mean(name, section.judges) or f" The judges are {', '.join(section.judges)}."
        )
        raise RunError(f"--judge {name}: there is no such judge.{known}", code="RK624")
    free = {
        "max_pairs": None,
        **(
            {"previous_verdicts": None, "below_confidence": None, "disagreeing_with": None}
            if name
            else {}
        ),
    }
    judges = {
        own: _freed(slot, free) for own, slot in section.judges.items() if name in (None, own)
    }
    trust = section.control_pairs.model_copy(update={"human_labels": None})
    return section.model_copy(
        update={"judges": judges, "control_pairs": trust, "require": ReliabilityFloors()}
    )


def _freed(slot: Slot[JudgeSpec], conditions: Mapping[str, None]) -> Slot[JudgeSpec]:
    freed = slot.model_copy()
    freed.bind(slot.entry, slot.spec.model_copy(update=dict(conditions)))
    return freed


def try_judges(
    mined: MinedRecipe,
    section: JudgeSection,
    n: int,
    *,
    progress: Callable[[Path], Progress],
    ranks: Ranks,
) -> JudgeTrial:
    """Judge whole queries, drawn by the recipe's seed, until there are `n` pairs, and give `n` of
    these.

    Whole queries, as in a run: so the judges see what they will see then, and calls that are paid
    for here are found again, but for those of judges that `section_to_try` freed of their
    conditions.

    Args:
        mined: The recipe with its candidates.
        section: From `section_to_try`.
        n: How many pairs to give.
        progress: Makes what reports, given a folder for its log.
        ranks: The process's device.
    """
    table = mined.candidates
    query = table["query"].to_numpy()
    given = table["source_positive"].to_numpy(zero_copy_only=False)
    chosen = _queries(
        query if section.rejudge_source_labels else query[~given], section, n, mined.recipe.seed
    )
    tried = table.filter(pa.array(np.isin(query, chosen)))
    with tempfile.TemporaryDirectory(prefix="recipekit-try-") as folder:
        mine, out = Path(folder) / "mine", Path(folder) / "judge"
        mine.mkdir()
        out.mkdir()
        write_table(mine / "candidates.arrow", table.schema, [tried])
        # A key that no other trial has: what it spends is booked to an account of its own.
        artifacts = {
            "collect": mined.artifacts["collect"],
            "mine": Artifact("mine", f"try-{secrets.token_hex(8)}", mine),
        }
        summary = judge(
            StageInputs.of(mined.recipe, mined.store, artifacts, progress(Path(folder)), ranks),
            section,
            out,
        )
        words = _last_words(
            {name: VerdictLog(out / "scratch" / "verdicts" / name) for name in section.judges}
        )
        shown = tuple(_judged(mined, tried, words, n))
    freed = _freed_judges(mined.recipe, section, summary)
    return JudgeTrial(
        shown, len(chosen), _askable(tried, section), _askable(table, section), summary, freed
    )


def _freed_judges(
    recipe: Recipe, tried: JudgeSection, summary: Mapping[str, Any]
) -> tuple[str, ...]:
    section = recipe.section(JudgeSection)
    assert section is not None
    paid = [
        name for name, told in summary["judges"].items() if "calls" in (told.get("counts") or {})
    ]
    return tuple(name for name in paid if tried.judges[name].spec != section.judges[name].spec)


def _askable(candidates: pa.Table, section: JudgeSection) -> int:
    """How many candidates a judge may be asked about, within its `max_rank`: in an audit all,
    otherwise those that no source calls positives.
    """
    tops = [
        slot.spec.max_rank for slot in section.judges.values() if isinstance(slot.spec, JudgeSpec)
    ]
    asked = np.ones(len(candidates), dtype=np.bool_)
    if tops and None not in tops:
        asked &= positions_in_groups(candidates["query"].to_numpy()) < max(
            top for top in tops if top is not None
        )
    if not section.rejudge_source_labels:
        asked &= ~candidates["source_positive"].to_numpy(zero_copy_only=False)
    return int(asked.sum())


def _queries(query: Rows, section: JudgeSection, n: int, seed: int) -> Rows:
    """Queries in a seeded order, as many as it takes for `n` candidates within the first judge's
    reach; `query` is each candidate's.
    """
    first = next(iter(section.judges.values())).spec
    assert isinstance(first, JudgeSpec)
    distinct, sizes = np.unique(query, return_counts=True)
    if first.max_rank is not None:
        sizes = np.minimum(sizes, first.max_rank)
    order = np.random.default_rng(seed).permutation(len(distinct))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), n)) + 1
    return np.sort(distinct[order[:enough]])


def _last_words(journals: Mapping[str, VerdictLog]) -> dict[tuple[int, int], dict[str, Any]]:
    """What was said last of each judged pair, blind ones among them."""
    words: dict[tuple[int, int], dict[str, Any]] = {}
    for name, journal in journals.items():
        for batch in journal.batches():
            for row in batch.to_pylist():
                pair = row["query"], row["passage"]
                if not (
                    row["ungraded"] and pair in words
                ):  # what could not be had replaces nothing
                    words[pair] = {**row, "judge": name}
    return words


def _judged(
    mined: MinedRecipe, tried: pa.Table, words: Mapping[tuple[int, int], Mapping[str, Any]], n: int
) -> Iterator[TriedPair]:
    """`n` of the judged candidates, drawn by the seed, in the order of the candidates."""
    query, passage = tried["query"].to_numpy(), tried["passage"].to_numpy()
    rank = positions_in_groups(query) + 1
    pairs = list(zip(query.tolist(), passage.tolist(), strict=True))
    rows = np.array([row for row, pair in enumerate(pairs) if pair in words], dtype=np.int64)
    drawn = np.sort(np.random.default_rng(mined.recipe.seed).permutation(rows)[:n])
    dataset = mined.dataset
    queries, texts = dataset.queries.texts(query[drawn]), dataset.passages.texts(passage[drawn])
    ids, given = (
        dataset.passages.column("id", passage[drawn]),
        tried["source_positive"].take(pa.array(drawn)).to_pylist(),
    )
    for place, row in enumerate(drawn.tolist()):
        word = words[pairs[row]]
        yield TriedPair(
            query=queries[place],
            passage_id=ids[place],
            passage=texts[place],
            rank=int(rank[row]),
            given=given[place],
            verdict=Verdict(word["verdict"]).name.lower(),
            judge=word["judge"],
            grade=word["grade"],
            confidence=word["confidence"],
            reason=word["reason"],
            answered=not word["ungraded"],
        )
