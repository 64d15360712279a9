"""The expected work and cost of judging."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipekit.component import JudgeSpec, Sizes
from recipekit.component.method_errors import method_errors
from recipekit.stages.estimate_inputs import EstimateInputs
from recipekit.stages.judge.section import JudgeSection
from recipekit.stages.mine.estimate import most_candidates_per_query
from recipekit.stages.mine.section import MineSection

__all__ = ["estimate"]


def estimate(inputs: EstimateInputs, section: JudgeSection) -> dict[str, Any]:
    """Return the pairs, and for each judge the pairs that it may see and its own estimate."""
    mine = inputs.recipe.section(MineSection)
    if mine is None:
        return {}
    sizes = inputs.labelled(mine.splits)
    candidates = _candidates(section, mine, sizes, inputs.summaries.get("mine"))
    unit = "pairs" if candidates.mined else "pairs at most"
    work: dict[str, Any] = {unit: candidates.pairs}
    judges: dict[str, dict[str, Any]] = {}
    for name, slot in section.judges.items():
        spec = slot.spec
        pairs, exact = _pairs_of_judge(spec, section, candidates)
        with method_errors(spec, "estimate"):
            own = dict(spec.estimate(sizes, pairs))
        if own or type(spec).measured:
            judges[name] = {"pairs" if exact else "pairs at most": pairs, **own}
    if judges:
        work["judges"] = judges
    costs = [own["usd"] for own in judges.values() if "usd" in own]
    if len(costs) > 1 and all(isinstance(cost, int | float) for cost in costs):
        work["usd"] = sum(costs)
    return work


@dataclass(frozen=True)
class _Candidates:
    """The pairs to judge: exact once mining has run, the most there can be before."""

    queries: int
    pairs: int
    """Candidates, source positives not counted."""
    positives: int
    """Source positives of the mined queries. How many of them are candidates is unknown before
    mining.
    """
    human_labels: int
    mined: bool


def _candidates(
    section: JudgeSection, mine: MineSection, sizes: Sizes, mined: Mapping[str, Any] | None
) -> _Candidates:
    human_labels = 0
    if section.control_pairs.human_labels is not None:
        from recipekit.human_labels.label_file import read_labels

        human_labels = len(read_labels(section.control_pairs.human_labels))
    if mined is None:
        pairs = sizes.n_queries * most_candidates_per_query(mine, sizes.passages)
    else:
        pairs = int(mined["candidates"]) - sizes.positives
    return _Candidates(
        sizes.n_queries, pairs, sizes.positives, human_labels, mined=mined is not None
    )


def _pairs_of_judge(
    spec: JudgeSpec, section: JudgeSection, candidates: _Candidates
) -> tuple[int, bool]:
    """Return the most pairs that a judge may see, and whether that is their exact number.

    How many pairs meet a judge's conditions on earlier verdicts is unknown before those exist:
    all of them are counted.
    """
    pairs = candidates.pairs
    if spec.max_rank is not None:
        pairs = min(pairs, candidates.queries * spec.max_rank)
    conditional = (
        spec.previous_verdicts is not None
        or spec.below_confidence is not None
        or spec.disagreeing_with is not None
    )
    exact = (
        candidates.mined
        and spec.max_rank is None
        and spec.ranks_below_positive is None
        and not conditional
    )
    if section.rejudge_source_labels:
        pairs += candidates.positives
    elif type(spec).measured:
        # Judged negatives are among the candidates anyway.
        pairs += _most_drawn(section.control_pairs.share, candidates.positives)
        exact = exact and section.control_pairs.share == 0
    if type(spec).measured and not candidates.mined:
        pairs += candidates.human_labels  # after mining, most of them are among the candidates
    if spec.max_pairs is not None and spec.max_pairs <= pairs:
        return spec.max_pairs, exact or not conditional
    return pairs, exact


def _most_drawn(share: float, n: int) -> int:
    """Return the most of `n` pairs that a draw of each with chance `share` gives.

    The bound is three standard deviations above the mean.
    """
    return min(n, math.ceil(share * n + 3 * math.sqrt(share * (1 - share) * n)))
