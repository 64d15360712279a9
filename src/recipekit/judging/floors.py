"""Reliability floors (`judge.require`): checked before judges are paid, enforced afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recipekit.errors import RunError
from recipekit.judging.agreement import FIGURES
from recipekit.judging.policy import ReliabilityFloors
from recipekit.judging.verdicts import Codes
from recipekit.records import Verdict

__all__ = [
    "LABEL_MORE_PAIRS",
    "check_floors",
    "deciding_labels",
    "enforce_floors",
    "unmeasurable",
]

MIN_PAIRS = 10
"""Pairs per label that a floor needs: after 10 pairs without an error, Wilson's interval still
reaches to 28 %."""
NEEDED_LABELS: Final = {
    "kappa": ("positive", "negative"),
    "false_positive_rate": ("negative",),
    "false_negative_rate": ("positive",),
}
"""The labels of which a figure needs `MIN_PAIRS` each; the others need as many of both together."""
LABEL_MORE_PAIRS = (
    "label pairs (`recipekit judge sample` writes a file to fill in) and name the file in "
    "judge.control_pairs.human_labels"
)
GET_MORE_CONTROL_PAIRS = (
    "raise judge.control_pairs.share or the judges' `max_pairs` if the sources have more labels"
)


def deciding_labels(reliability: Mapping[str, Any]) -> str:
    """The labels that floors are held against: `human_labels` if there are any."""
    return "source_labels" if reliability["human_labels"] is None else "human_labels"


def check_floors(floors: ReliabilityFloors, truth: Codes, *, human: bool) -> None:
    """Check that the required figures can be measured, before any judge is paid.

    Args:
        floors: The recipe's `require`.
        truth: Labels of the control pairs that measured judges get.
        human: Whether these are human labels.

    Raises:
        RunError: There are too few labels.
    """
    missing = _missing_labels(floors, _count(truth))
    if missing:
        which = "human labels" if human else "control pairs"
        problems = [
            f"{figure} needs {MIN_PAIRS} {labels} among the {which}, and there are {n}"
            for figure, labels, n in missing
        ]
        raise unmeasurable(problems, [LABEL_MORE_PAIRS] if human else None)


def enforce_floors(
    reliability: Mapping[str, Any],
    floors: ReliabilityFloors,
    *,
    file: str,
    over_budget: Mapping[str, int],
) -> None:
    """Check that the final verdicts on control pairs reach what the recipe requires.

    Args:
        reliability: The content of `reliability.json`.
        floors: The recipe's `require`.
        file: Where a person finds the figures.
        over_budget: How many pairs each judge left because the budget was spent.

    Raises:
        RunError: A figure is below its floor, or could not be measured.
    """
    deciding = deciding_labels(reliability)
    human, final = deciding == "human_labels", reliability[deciding]["final"]
    required = _required(floors)
    missing = _missing_labels(floors, _count_judged(final))
    unmeasured = [name for name in required if final[name] is None]
    if missing or unmeasured:
        reasons = [f"{name} ({final['unmeasured'][name]})" for name in unmeasured]
        reasons += [
            f"{figure} ({n} {labels} have a verdict that counts, and {MIN_PAIRS} are needed)"
            for figure, labels, n in missing
            if figure not in unmeasured
        ]
        if over_budget:
            left = " and ".join(f"{n:,} pairs of judge '{name}'" for name, n in over_budget.items())
            raise unmeasurable(reasons, [f"raise the budget, which left {left} unjudged"])
        raise unmeasurable(reasons, [LABEL_MORE_PAIRS] if human else None)
    failed = [
        _describe_failure(name, final[name], floor)
        for name, floor in required.items()
        if not _reaches(name, final[name]["value"], floor)
    ]
    if failed:
        pairs = f"{final['pairs']:,} {'human-labelled pairs' if human else 'control pairs'}"
        raise RunError(
            f"the judges stay below judge.require on {pairs}: {', '.join(failed)}; figures and "
            f"examples are in {file}. Improve the judges, or lower the floor, which judges "
            "nothing again",
            code="RK621",
        )


def unmeasurable(reasons: Sequence[str], remedies: Sequence[str] | None = None) -> RunError:
    """The error for floors that cannot be measured; remedies are by default those for few pairs."""
    advice = ", or ".join(remedies or [GET_MORE_CONTROL_PAIRS, LABEL_MORE_PAIRS])
    return RunError(
        f"judge.require asks for figures that cannot be measured: {'; '.join(reasons)}. "
        f"To continue, {advice}",
        code="RK622",
    )


def _required(floors: ReliabilityFloors) -> dict[str, float]:
    values = {name: getattr(floors, name) for name in FIGURES}
    return {name: floor for name, floor in values.items() if floor is not None}


def _count(truth: Codes) -> dict[str, dict[str, int]]:
    """For each figure, how many pairs of each label there are."""
    counts = {
        "positive": int((truth == Verdict.POSITIVE).sum()),
        "negative": int((truth == Verdict.NEGATIVE).sum()),
    }
    return dict.fromkeys(FIGURES, counts)


def _count_judged(final: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """For each figure, how many pairs of each label have a verdict that counts for it."""
    decided = {label: row["positive"] + row["negative"] for label, row in final["table"].items()}
    judged = {label: sum(row.values()) for label, row in final["table"].items()}
    return {name: judged if name == "decided_share" else decided for name in FIGURES}


def _missing_labels(
    floors: ReliabilityFloors, counts: Mapping[str, Mapping[str, int]]
) -> list[tuple[str, str, int]]:
    """Required figures with too few labels: the figure, which labels, and how many there are."""
    missing = []
    for figure in _required(floors):
        if figure in NEEDED_LABELS:
            available = {f"{label}s": counts[figure][label] for label in NEEDED_LABELS[figure]}
        else:
            available = {"labelled pairs": sum(counts[figure].values())}
        missing += [(figure, labels, n) for labels, n in available.items() if n < MIN_PAIRS]
    return missing


def _reaches(name: str, value: float, floor: float) -> bool:
    return value <= floor if name.endswith("_rate") else value >= floor


def _describe_failure(name: str, figure: Mapping[str, float], floor: float) -> str:
    bound = "at most" if name.endswith("_rate") else "at least"
    value = f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{name} {value}, {bound} {floor:g} is required"
