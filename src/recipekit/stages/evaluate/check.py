"""Checks of the `evaluate` section."""

from __future__ import annotations

from recipekit.recipe.draft import Draft
from recipekit.recipe.sections import TRAINED
from recipekit.stages.evaluate.section import EvaluateSection

__all__ = ["check"]


def check(draft: Draft) -> None:
    """Check that something is measured, and that the measured encoder is the trained one."""
    evaluate = draft.mapping("evaluate")
    if (
        evaluate.get("untrained") is False
        and evaluate.get("baselines") == {}
        and "train" not in draft.value
    ):
        message = "nothing is measured: no train section, 'untrained: false' and no baselines"
        draft.report(("evaluate",), message, "RK107", at_key=True)
    if ("encoders",) not in draft.unclear and isinstance(draft.at("evaluate"), dict):
        _check_encoder(draft)


def _check_encoder(draft: Draft) -> None:
    default = EvaluateSection.model_fields["encoder"].default
    measured = draft.mapping("evaluate").get("encoder", default)
    path = ("evaluate", "encoder")
    if measured == TRAINED:
        message = f"'{TRAINED}' is measured anyway: name the encoder to compare it with"
        draft.report(path, message, "RK106")
        return
    train = draft.at("train")
    if not isinstance(train, dict):
        return
    trained = train.get("encoder", default)
    known = draft.mapping("encoders")
    named = isinstance(measured, str) and isinstance(trained, str)
    if named and measured in known and trained in known and measured != trained:
        message = (
            f"'{measured}' would be listed as the untrained version of the trained '{trained}': "
            f"name '{trained}'"
        )
        draft.report(path, message, "RK107")
