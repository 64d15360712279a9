"""The `judge` section of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recipekit.component import JudgeSpec, Name, NotIdentity, Slot
from recipekit.judging.policy import ControlPairPolicy, ReliabilityFloors
from recipekit.recipe.sections import PaidSection

__all__ = ["JudgeSection"]


class JudgeSection(PaidSection):
    """Decide for every candidate pair whether it is positive, negative, or to be ignored.

    Judges run in the order in which they are written.
    """

    judges: Annotated[dict[Name, Slot[JudgeSpec]], Field(min_length=1)]
    """What judges, by a name of your own.

    Each judge sees the pairs that its conditions select, such as `previous_verdicts`; a later
    verdict replaces an earlier one.
    """
    rejudge_source_labels: bool = False
    """Let judges overrule source positives; by default a source positive stays positive."""
    control_pairs: ControlPairPolicy = ControlPairPolicy()
    """Which pairs with known labels judges see unmarked, to measure the judges."""
    require: Annotated[ReliabilityFloors, NotIdentity] = ReliabilityFloors()
    """Reliability that the judges must reach for the run to continue.

    It is checked in every run; changing it does not judge again.
    """
