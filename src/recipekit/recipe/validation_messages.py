"""Pydantic's errors in plain words: what was expected, what stands there, and what was probably
meant.

No message repeats pydantic's `input`, which may hold a value from the environment: what stands
there is shown as the recipe has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from recipekit.component import Slot, field_docs
from recipekit.component.fields import NAME_PATTERN
from recipekit.recipe.hints import instead, nameless, use_by_another_word
from recipekit.recipe.positions import Document, KeyPath, at
from recipekit.recipe.slots import model_at
from recipekit.suggestions import did_you_mean

__all__ = ["explain", "shown"]

_EXPECTED: Final[Mapping[str, str]] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "iterable": "a list",
    "dict": "a map of keys",
    "mapping": "a map of keys",
    "model": "a map of keys",
    "dataclass": "a map of keys",
    "path": "a path",
    "none": "null",
}
"""What a type error expected, by the part of its name before `_type`, `_parsing` and the like."""

_TYPE_ERROR = re.compile(
    r"(.+?)_(?:type|parsing|parsing_size|from_float|required|attributes_type|exact_type)"
)
_LIMITS: Final = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}
_MANY: Final = 8
"""Choices; of more, only the one that was meant is shown."""


def shown(value: Any) -> str:
    """What stands in a recipe, for a message."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text '{value}'" if len(value) <= 60 else f"the text '{value[:57]}...'"
        case dict():
            return "a map of keys"
        case _:
            return "a list"


def explain(
    error: ValidationError,
    document: Document,
    model: type[BaseModel],
    path: KeyPath = (),
    extra: Iterable[str] = (),
) -> None:
    """Note everything that pydantic found wrong.

    Args:
        error: What pydantic says.
        document: The recipe, for what stands there and where.
        model: The model that was validated.
        path: Where its keys stand in the recipe.
        extra: Keys that may stand beside the model's own.
    """
    details = error.errors(include_url=False, include_input=False)
    located = [_located(document, path, detail) for detail in details]
    expected: dict[KeyPath, list[str]] = {}
    for detail, where in zip(details, located, strict=True):
        if words := _expected(detail):
            expected.setdefault(where, []).append(words)
    unknown = {
        where
        for detail, where in zip(details, located, strict=True)
        if detail["type"] == "extra_forbidden"
    }
    unnamed = {
        found.path: found.advice
        for where in located
        if (found := nameless(document, model, path, where))
    }
    for key, advice in unnamed.items():
        document.find(key, advice, "RK105", at_key=True)
    for detail, where in zip(details, located, strict=True):
        if any(where[: len(key) - 1] == key[:-1] for key in unnamed):
            continue
        if where in expected and _expected(detail):
            if any(where == other[: len(where)] != other for other in located):
                continue  # of a choice between two forms this is the other one: what is wrong in the one that was taken is said
            value = at(document.value, where)
            words = " or ".join(dict.fromkeys(expected[where]))
            advice = instead(value, model, where[len(path) :], _expected(detail), detail["type"])
            document.find(
                where,
                f"expected {words}, found {shown(value)}{advice}",
                "RK105",
                at_key=isinstance(value, dict),
            )
        elif detail["type"] == "extra_forbidden":
            parent = model_at(model, where[len(path) : -1])
            known = [*_keys(parent), *(extra if len(where) == len(path) + 1 else ())]
            document.find(
                where, f"unknown key.{_did_you_mean(str(where[-1]), known)}", "RK103", at_key=True
            )
        elif (
            detail["type"] == "too_short"
            and len(at(document.value, where) or ()) >= detail["ctx"]["min_length"]
        ):
            continue  # pydantic counts valid items only; what is wrong with the others is said already
        elif detail["type"] == "missing":
            if not any(
                did_you_mean(str(other[-1]), [str(where[-1])])
                for other in unknown
                if other[:-1] == where[:-1]
            ):
                document.find(where, _missing(document, model, path, where), "RK104", at_key=True)
        else:
            is_key = detail["loc"][-1:] == ("[key]",)
            at_key = is_key or isinstance(at(document.value, where), dict)
            value = where[-1] if is_key else at(document.value, where)
            document.find(
                where,
                _words(detail, value, is_key, _purpose(model, where[len(path) :])),
                "RK105",
                at_key=at_key,
            )


def _located(document: Document, path: KeyPath, detail: ErrorDetails) -> KeyPath:
    """Where an error is.

    Pydantic's own path also names union members and validators, which no recipe knows.
    """
    here = at(document.value, path)
    where = path
    for index, part in enumerate(detail["loc"]):
        if part in (
            here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        ):
            where, here = (*where, part), here[part]
        elif detail["type"] == "missing" and index == len(detail["loc"]) - 1:
            where = (*where, part)
    return where


def _expected(detail: ErrorDetails) -> str | None:
    """What a type error expected; None for an error of another sort."""
    if detail["loc"][-1:] == ("[key]",):
        return None  # the key is what is wrong, and not the value that stands there
    match = _TYPE_ERROR.fullmatch(detail["type"])
    return _EXPECTED.get(match[1]) if match else None


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _did_you_mean(word: str, words: list[str]) -> str:
    return did_you_mean(word, words) or (f" Known here: {', '.join(words)}." if words else "")


def _missing(document: Document, model: type[BaseModel], path: KeyPath, where: KeyPath) -> str:
    """A key that has to be there, with what it is for."""
    parent = model_at(model, where[len(path) : -1])
    if parent is Slot and document.key(where[:-1]).is_override:
        siblings = at(document.value, where[:-2])
        others = (
            [name for name in siblings if name != where[-2]] if isinstance(siblings, dict) else []
        )
        if meant := did_you_mean(str(where[-2]), others):
            return f"missing, since there is no '{where[-2]}' here yet.{meant}"
    if parent is Slot:
        advice = use_by_another_word(model, where[len(path) : -1], at(document.value, where[:-1]))
        if advice:
            return f"missing: {advice}"
    purpose = _purpose(model, where[len(path) :])
    return f"missing ({purpose})" if purpose else "missing"


def _purpose(model: type[BaseModel], path: KeyPath) -> str:
    """What a key is for: the first sentence of its description, as part of another one."""
    parent = model_at(model, path[:-1]) if path else None
    text = field_docs(parent).get(str(path[-1]), "") if parent else ""
    purpose = re.split(r"(?<=[^.])[.:;](?:\s|$)", " ".join(text.split()))[0]
    start = purpose[:1] if purpose[1:2].isupper() else purpose[:1].lower()  # USD stays what it is
    return f"{start}{purpose[1:]}"


def _words(detail: ErrorDetails, value: Any, is_key: bool, purpose: str) -> str:
    """Any other error, of a key or of the value of a key that is for some purpose."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if (is_key and kind.startswith("string_")) or context.get("pattern") == NAME_PATTERN:
        return (
            "a name begins with a letter and goes on with letters, digits, '-' and '_', 64 at most"
        )
    if is_key and (match := _TYPE_ERROR.fullmatch(kind)) and match[1] in _EXPECTED:
        return f"this key is to be {_EXPECTED[match[1]]}"
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", context["expected"])
        meant = did_you_mean(value, choices) if isinstance(value, str) else ""
        if meant and len(choices) > _MANY:
            return f"unknown value '{value}'.{meant}"
        return f"must be {context['expected']}, found {shown(value)}.{meant}".removesuffix(
            "." if not meant else ""
        )
    if kind in _LIMITS:
        sign, name = _LIMITS[kind]
        limit = context[name]
        limit = int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        return f"must be {sign} {limit}, found {shown(value)}"
    if kind in ("too_short", "string_too_short"):
        least = context.get("min_length")
        return (
            "must not be empty"
            if least == 1
            else f"must have at least {least} {'items' if kind == 'too_short' else 'characters'}"
        )
    if kind in ("too_long", "string_too_long"):
        return f"must have at most {context.get('max_length')} {'items' if kind == 'too_long' else 'characters'}"
    if kind == "string_pattern_mismatch":
        return f"expected {purpose or context['pattern']}, found {shown(value)}"
    message = detail["msg"].removeprefix("Input ")
    return f"{message[:1].lower()}{message[1:]}, found {shown(value)}"
