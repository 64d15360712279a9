"""Checks of the `evaluate` section."""

from __future__ import annotations

from recipekit.recipe.draft import Draft
from recipekit.recipe.sections import TRAINED
from recipekit.stages.evaluate.section import EvaluateSection
from recipekit.suggestions import did_you_mean

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
    _check_sources(draft)
    if ("encoders",) not in draft.unclear and isinstance(draft.at("evaluate"), dict):
        _check_encoder(draft)


def _check_sources(draft: Draft) -> None:
    """Check that evaluators name sources that exist, and that every source is measured."""
    evaluate = draft.mapping("evaluate")
    sources, evaluators = evaluate.get("sources") or {}, evaluate.get("evaluators")
    if not isinstance(sources, dict) or not isinstance(evaluators, dict):
        return
    used = set()
    for name, evaluator in evaluators.items():
        source = evaluator.get("source") if isinstance(evaluator, dict) else None
        if not isinstance(source, str):
            continue
        used.add(source)
        if source not in sources:
            known = ", ".join(map(str, sources)) or "none"
            message = (
                f"evaluate.sources has no '{source}' (there are: {known})."
                f"{did_you_mean(source, list(sources))}"
            )
            draft.report(("evaluate", "evaluators", name, "source"), message, "RK106")
    for name in sources:
        if name not in used:
            message = f"no evaluator measures it: add one with `source: {name}`"
            draft.report(("evaluate", "sources", name), message, "RK107", at_key=True)


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
