"""Checks of the `judge` section: conditions that no pair can meet, floors that nothing measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recipekit.component import JudgeSpec
from recipekit.recipe.draft import Draft
from recipekit.recipe.positions import KeyPath
from recipekit.suggestions import did_you_mean, listed

__all__ = ["check"]

JUDGES = ("judge", "judges")


def check(draft: Draft) -> None:
    """Check the conditions of the judges, and that required reliability can be measured."""
    judges = draft.mapping(*JUDGES)
    if JUDGES in draft.unclear or not judges:
        return
    names = list(judges)
    for position, (name, slot) in enumerate(judges.items()):
        if isinstance(slot, dict):
            if position == 0:
                _check_first(draft, name, slot)
            other = slot.get("disagreeing_with")
            if isinstance(other, str):
                path = (*JUDGES, name, "disagreeing_with")
                _check_disagreeing_with(draft, path, other, names[:position], names)
    _check_measurable(draft)


def _check_first(draft: Draft, name: str, slot: dict[str, Any]) -> None:
    """Check that the first judge has no conditions on earlier judges."""
    reason = "the first judge has no judge before it"
    wanted = slot.get("previous_verdicts")
    verdicts = set()
    if isinstance(wanted, list) and all(isinstance(verdict, str) for verdict in wanted):
        verdicts = set(wanted)
    # Source positives are judged only with rejudge_source_labels.
    never = {"ignore", "positive"}
    if draft.at("judge", "rejudge_source_labels") is True:
        never = {"ignore"}
    if "ignore" in verdicts and verdicts <= never:
        listed = " or ".join(map(repr, sorted(verdicts)))
        message = f"{reason}, so no pair is {listed} yet: it would judge nothing"
        draft.report((*JUDGES, name, "previous_verdicts"), message, "RK107")
    if slot.get("below_confidence") is not None:
        message = f"{reason}, so no pair has a confidence yet: it would judge nothing"
        draft.report((*JUDGES, name, "below_confidence"), message, "RK107")


def _check_disagreeing_with(
    draft: Draft, path: KeyPath, other: str, before: Sequence[str], names: Sequence[str]
) -> None:
    """Check that a judge names an earlier one, which a third one in between can contradict."""
    if other == path[-2]:
        message = "a judge cannot disagree with itself: name an earlier one"
        draft.report(path, message, "RK106")
    elif other not in names:
        earlier = f" Earlier judges: {listed(before)}." if before else ""
        hint = did_you_mean(other, names) or earlier
        draft.report(path, f"there is no judge '{other}'.{hint}", "RK106")
    elif other not in before:
        message = f"judge '{other}' runs after this one: name an earlier one"
        draft.report(path, message, "RK106")
    elif other == before[-1]:
        message = (
            f"no judge runs between '{other}' and this one, so none disagrees with it: name an "
            "earlier one, or use `previous_verdicts`"
        )
        draft.report(path, message, "RK107")


def _check_measurable(draft: Draft) -> None:
    """Check that required reliability is measured, by judges that can be, on known labels."""
    judges = draft.components(*JUDGES).values()
    policy = draft.mapping("judge", "control_pairs")
    required = draft.mapping("judge", "require")
    floors = [name for name, value in required.items() if value is not None]
    if None in judges:
        return
    measured = any(issubclass(judge, JudgeSpec) and judge.measured for judge in judges if judge)
    if not measured and policy.get("human_labels") is not None:
        message = (
            "none of the judges reads texts, so none is measured: remove this, or judge with `llm` "
            "or `cross_encoder`"
        )
        draft.report(("judge", "control_pairs", "human_labels"), message, "RK107")
    if not floors:
        return
    path = ("judge", "require", floors[0])
    if not measured:
        message = (
            "none of the judges can be measured: margin filters and label files do not see control "
            "pairs. Remove it, or judge with `llm` or `cross_encoder`"
        )
        draft.report(path, message, "RK107")
    elif (
        policy.get("share") == 0
        and policy.get("human_labels") is None
        and draft.at("judge", "rejudge_source_labels") is not True
    ):
        message = (
            "there are no labels to compare with: judge.control_pairs.share is 0, and "
            "judge.control_pairs.human_labels names no file"
        )
        draft.report(path, message, "RK107")
