"""Checks across the sections of a recipe: names that refer to others, and missing sections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recipekit import stages
from recipekit.component import (
    is_any_encoder_name,
    is_cross_encoder_name,
    is_encoder_name,
)
from recipekit.recipe.draft import Draft
from recipekit.recipe.positions import KeyPath
from recipekit.recipe.sections import TRAINED
from recipekit.recipe.slots import models
from recipekit.stages.encoder_kinds import why_of_another_kind
from recipekit.stages.stage import Stage
from recipekit.suggestions import did_you_mean, listed

__all__ = ["check"]


def check(draft: Draft) -> None:
    """Report what does not fit together in a recipe, by these checks and those of its stages."""
    if ("encoders",) not in draft.unclear:
        _check_encoder_names(draft)
    _check_needs(draft)
    _check_limits(draft)
    for stage in stages.PIPELINE:
        if stage.check is not None and stage.name in draft.value:
            stage.check(draft)


def _check_encoder_names(draft: Draft) -> None:
    """Check that every field that names an encoder names one that exists by then."""
    known = list(draft.mapping("encoders"))
    if TRAINED in known:
        message = f"'{TRAINED}' is reserved: it names the trained encoder in later sections"
        draft.report(("encoders", TRAINED), message, "RK106", at_key=True)
    for path, name, scores_pairs in _encoder_references(draft):
        if name == TRAINED and not scores_pairs:
            message = _why_not_trained_yet(draft, path)
        elif name in known:
            message = ""
            if scores_pairs is not None:
                message = why_of_another_kind(draft, name, scores_pairs=scores_pairs)
        elif _is_dispensable(draft, path):
            continue
        elif known:
            hint = did_you_mean(name, known) or f" The recipe has {listed(known)}."
            message = f"there is no encoder '{name}'.{hint}"
        elif path in draft.document.values:
            message = f"there is no encoder '{name}': the recipe has no encoders"
        else:
            message = f"needs an encoder called '{name}': the recipe has no encoders"
            draft.report(path[:1], message, "RK106", at_key=True)
            continue
        if message:
            draft.report(path, message, "RK106")


def _is_dispensable(draft: Draft, path: KeyPath) -> bool:
    """Return whether a name is the encoder of a section that does without it."""
    found = (stage for stage in stages.PIPELINE if path == (stage.name, "encoder"))
    return any(stage.lacks_encoder and stage.lacks_encoder(draft) for stage in found)


def _why_not_trained_yet(draft: Draft, path: KeyPath) -> str:
    """Return why a section cannot refer to the trained encoder; empty if it can."""
    names = [stage.name for stage in stages.PIPELINE]
    trainer = stages.training_stage().name
    if trainer not in draft.value:
        return f"there is no '{TRAINED}' encoder: the recipe has no {trainer} section"
    later = names[names.index(trainer) + 1 :]
    if path[0] in later:
        return ""
    return f"the '{TRAINED}' encoder exists only after {trainer}, in {' and '.join(later)}"


def _encoder_references(draft: Draft) -> Iterator[tuple[KeyPath, str, bool | None]]:
    """Yield every name of an encoder, written or by default, with its path.

    The last part says whether the field needs an encoder that scores pairs; None takes any.
    """
    for path, model, section in models(draft.model, draft.value):
        yield from _names_in(model, section, path)
    for path, component in draft.bound.items():
        if component.type is not None:
            for inner, model, written in models(component.type, component.fields, path):
                yield from _names_in(model, written, inner)


def _names_in(
    model: type[BaseModel], written: Any, path: KeyPath
) -> Iterator[tuple[KeyPath, str, bool | None]]:
    for name, field in model.model_fields.items():
        if not is_encoder_name(field):
            continue
        value = _value(written, name, field)
        kind = None if is_any_encoder_name(field) else is_cross_encoder_name(field)
        if isinstance(value, list | tuple):
            for number, item in enumerate(value):
                if isinstance(item, str):
                    yield (*path, name, number), item, kind
        elif isinstance(value, str):
            yield (*path, name), value, kind


def _value(written: Any, name: str, field: FieldInfo) -> Any:
    default = None if field.is_required() else field.get_default(call_default_factory=False)
    return written.get(name, default) if isinstance(written, dict) else default


def _check_needs(draft: Draft) -> None:
    """Check that components and stages have the sections that they cannot work without."""
    for path, component in draft.bound.items():
        for file in component.type.needs if component.type else ():
            writer = stages.writer_of(file).name
            if writer not in draft.document.value:
                message = f"needs a {writer} section, and the recipe has none"
                draft.report(path, message, "RK107", at_key=True)
    for stage in stages.PIPELINE:
        for missing in _missing(stage, draft):
            message = f"needs a {missing} section, and the recipe has none"
            draft.report((stage.name,), message, "RK107", at_key=True)


def _missing(stage: Stage, draft: Draft) -> Iterator[str]:
    if stage.name in draft.value:
        yield from (name for name in stage.needs if name not in draft.document.value)


def _check_limits(draft: Draft) -> None:
    """Check that no stage has a larger spending limit than the recipe."""
    for stage in stages.PIPELINE:
        if not stage.spends:
            continue
        for name, own in draft.mapping(stage.name, "spending").items():
            whole = draft.at("spending", name)
            if _is_number(own) and _is_number(whole) and own > whole:
                message = (
                    f"{own:,g} is more than the whole recipe may spend (spending.{name}: "
                    f"{whole:,g}): lower it, or raise that limit"
                )
                draft.report((stage.name, "spending", name), message, "RK107")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
