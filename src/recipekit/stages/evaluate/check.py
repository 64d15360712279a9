"""Checks of the `evaluate` section."""

from __future__ import annotations

from recipekit.component import EncoderSpec, EvaluatorSpec
from recipekit.recipe.draft import Draft
from recipekit.recipe.sections import TRAINED
from recipekit.stages.evaluate.section import UNTRAINED, EvaluateSection
from recipekit.suggestions import did_you_mean

__all__ = ["check", "lacks_encoder"]


def lacks_encoder(draft: Draft) -> bool:
    """Return whether only baselines are measured, so that no encoder is needed.

    That is so where nothing is trained, `encoder` is left at its default, and the recipe has no
    encoder that embeds texts or leaves the untrained one out.
    """
    evaluate = draft.mapping("evaluate")
    default = EvaluateSection.model_fields["encoder"].default
    if "train" in draft.value or evaluate.get("encoder", default) != default:
        return False
    if evaluate.get("untrained") is False:
        return True
    kinds = draft.components("encoders").values()
    return all(kind is not None and not _embeds_texts(kind) for kind in kinds)


def _embeds_texts(kind: type[object]) -> bool:
    return not issubclass(kind, EncoderSpec) or (kind.embeds_texts and not kind.scores_pairs)


def check(draft: Draft) -> None:
    """Check that something is measured, and that the measured encoder is the trained one."""
    _check_systems(draft)
    _check_sources(draft)
    _check_first_stages(draft)
    if ("encoders",) not in draft.unclear and isinstance(draft.at("evaluate"), dict):
        _check_encoder(draft)
        _check_evaluators(draft)


def _check_systems(draft: Draft) -> None:
    """Check that there is a system to measure, and an encoder for evaluators that need one."""
    if ("encoders",) in draft.unclear or not lacks_encoder(draft):
        return
    untrained = draft.mapping("evaluate").get("untrained")
    why = "'untrained: false'" if untrained is False else "no encoder"
    if draft.mapping("evaluate").get("baselines") == {}:
        message = f"nothing is measured: no train section, {why} and no baselines"
        draft.report(("evaluate",), message, "RK107", at_key=True)
        return
    for path, evaluator in draft.bound.items():
        spec, built = evaluator.type, evaluator.spec
        if spec is not None and issubclass(spec, EvaluatorSpec) and spec.reads_texts:
            message = f"measures encoders, and there is none: no train section and {why}"
            draft.report(path, message, "RK107", at_key=True)
        elif isinstance(built, EvaluatorSpec) and (key := built.measures_vectors()):
            message = f"measures vectors, and there are none: no train section and {why}"
            draft.report((*path, key), message, "RK107", at_key=True)


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


def _check_first_stages(draft: Draft) -> None:
    """Check that evaluators rerank systems that exist."""
    evaluators = draft.at("evaluate", "evaluators")
    default = EvaluateSection.model_fields["baselines"].default
    baselines = draft.mapping("evaluate").get("baselines", default)
    if not isinstance(evaluators, dict) or not isinstance(baselines, dict):
        return
    known = [*baselines, UNTRAINED, TRAINED]
    for name, evaluator in evaluators.items():
        rerank = evaluator.get("rerank") if isinstance(evaluator, dict) else None
        systems = rerank.get("systems") if isinstance(rerank, dict) else None
        for number, system in enumerate(systems if isinstance(systems, list) else []):
            if isinstance(system, str) and system not in known:
                message = (
                    f"there is no system '{system}' (there are: {', '.join(map(str, known))})."
                    f"{did_you_mean(system, known)}"
                )
                path = ("evaluate", "evaluators", name, "rerank", "systems", number)
                draft.report(path, message, "RK106")


def _check_encoder(draft: Draft) -> None:
    default = EvaluateSection.model_fields["encoder"].default
    measured = draft.mapping("evaluate").get("encoder", default)
    path = ("evaluate", "encoder")
    if measured == TRAINED:
        message = f"'{TRAINED}' is measured anyway: name the encoder to compare it with"
        draft.report(path, message, "RK106")
        return
    kind = draft.components("encoders").get(measured) if isinstance(measured, str) else None
    is_precomputed = kind is not None and issubclass(kind, EncoderSpec) and not kind.embeds_texts
    if is_precomputed and not lacks_encoder(draft):
        message = (
            f"encoder '{measured}' embeds no text: measure it as a baseline, "
            f"`{{use: exact, encoder: {measured}}}`"
        )
        draft.report(path, message, "RK107")
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


def _check_evaluators(draft: Draft) -> None:
    """Check that evaluators can measure the encoder, as far as its files are here."""
    default = EvaluateSection.model_fields["encoder"].default
    name = draft.mapping("evaluate").get("encoder", default)
    encoder = draft.valid(("encoders", name)) if isinstance(name, str) else None
    if not isinstance(encoder, EncoderSpec):
        return
    for path, evaluator in draft.bound.items():
        if isinstance(evaluator.spec, EvaluatorSpec) and (
            refusal := evaluator.spec.refuses_encoder(encoder)
        ):
            draft.report((*path, refusal[0]), refusal[1], "RK107")
