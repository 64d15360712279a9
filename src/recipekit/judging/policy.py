"""Recipe keys about the reliability of judges: control pairs and floors."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recipekit.component import LocalPath
from recipekit.recipe.sections import Fraction, Section

__all__ = ["ControlPairPolicy", "ReliabilityFloors"]


class ControlPairPolicy(Section):
    """Control pairs: pairs with a known label that judges see unmarked, to measure the judges."""

    share: Fraction = 0.1
    """Share of the source labels among the candidates, positives and judged negatives, that become
    control pairs. The verdict on a control pair is compared with its label. It replaces the label
    only where the judge would see the pair anyway (a source positive: with
    `rejudge_source_labels`, which makes all of them control pairs). Margin filters and label files
    are not measured. Conditions such as `previous_verdicts` use the verdicts on control pairs."""
    human_labels: LocalPath | None = None
    """Human labels to compare with, in a file that the `labels` judge reads (`recipekit judge
    sample` writes one to fill in).
    """
    min_positive_grade: float = 1.0
    """Lowest grade that makes a human label without a verdict positive."""


class ReliabilityFloors(Section):
    """Minimum reliability of the judges on pairs with known labels; below it, a run fails.

    With human labels (`control_pairs.human_labels`), the final verdicts are measured, otherwise the
    last verdict of the measured judges on source labels. A figure needs at least ten pairs of each
    label that it depends on, which is checked before any judge is paid.
    """

    kappa: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Cohen's kappa. People agree with strong models at 0.3 to 0.4 on mined pairs."""
    agreement: Fraction | None = None
    """Share of the pairs on which judge and label agree."""
    false_positive_rate: Fraction | None = None
    """Highest share of known negatives that may be judged positive."""
    false_negative_rate: Fraction | None = None
    """Highest share of known positives that may be judged negative."""
    decided_share: Fraction | None = None
    """Lowest share of known pairs that must be judged positive or negative. A judge that ignores
    every pair makes no errors.
    """
