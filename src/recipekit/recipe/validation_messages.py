"""Pydantic's errors in plain words: what was expected, what was found, and what was probably meant.

No message repeats pydantic's `input`, which can hold a value from the environment. The value is
shown as it was written in the recipe.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from recipekit.component import Slot, field_docs
from recipekit.component.fields import NAME_PATTERN
from recipekit.lookalikes import plain
from recipekit.recipe.hints import misnamed_use, missing_name, suggested_value, without_brackets
from recipekit.recipe.library_names import key_for
from recipekit.recipe.positions import Document, KeyPath, at
from recipekit.recipe.slots import model_at
from recipekit.suggestions import did_you_mean, listed

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
_MAX_CHOICES: Final = 8
"""If there are more choices, only the one that was probably meant is shown."""
_NAME_RULE: Final = (
    "a name starts with a letter, and has only letters, digits, '-' and '_', at most 64 in all"
)


def shown(value: Any) -> str:
    """Describe a value of a recipe for a message."""
    match value:
        case None:
            return "null"
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


@dataclass(frozen=True)
class _Mistake:
    """One error of pydantic, at its path in the recipe."""

    path: KeyPath
    detail: ErrorDetails

    @property
    def kind(self) -> str:
        return self.detail["type"]

    @property
    def is_key(self) -> bool:
        """Whether the key is wrong, and not its value."""
        return self.detail["loc"][-1:] == ("[key]",)

    @property
    def expected(self) -> str | None:
        """What a type error expected; None for an error of another sort."""
        if self.is_key:
            return None
        match = _TYPE_ERROR.fullmatch(self.kind)
        return _EXPECTED.get(match[1]) if match else None


def explain(
    error: ValidationError,
    document: Document,
    model: type[BaseModel],
    path: KeyPath = (),
    extra: Iterable[str] = (),
) -> None:
    """Note everything that pydantic found wrong.

    Args:
        error: Pydantic's error.
        document: The recipe, which collects the findings.
        model: The model that was validated.
        path: The path of its keys in the recipe.
        extra: Keys that are allowed in addition to the model's own.
    """
    details = error.errors(include_url=False, include_input=False)
    mistakes = [_Mistake(_path_of(document, path, detail), detail) for detail in details]
    _Explanation(document, model, path, tuple(extra), mistakes).report()


class _Explanation:
    """The mistakes of one model, and what their messages depend on."""

    def __init__(
        self,
        document: Document,
        model: type[BaseModel],
        path: KeyPath,
        extra: tuple[str, ...],
        mistakes: list[_Mistake],
    ) -> None:
        self.document, self.model, self.path, self.extra = document, model, path, extra
        self.mistakes = mistakes
        self.expected: defaultdict[KeyPath, list[str]] = defaultdict(list)
        self.unknown: defaultdict[KeyPath, list[str]] = defaultdict(list)
        """The unknown keys, by the path of their map."""
        self.parents: set[KeyPath] = set()
        """The paths that have a mistake below them."""
        for mistake in mistakes:
            if mistake.expected:
                self.expected[mistake.path].append(mistake.expected)
            if mistake.kind == "extra_forbidden":
                self.unknown[mistake.path[:-1]].append(plain(str(mistake.path[-1])))
            self.parents.update(mistake.path[:depth] for depth in range(len(mistake.path)))

    def report(self) -> None:
        without_names: set[KeyPath] = set()
        for mistake in self.mistakes:
            found = missing_name(self.document, self.model, self.path, mistake.path)
            if found:
                without_names.add(found.path[:-1])
                self.document.find(found.path, found.advice, "RK105", at_key=True)
        for mistake in self.mistakes:
            above = {mistake.path[:depth] for depth in range(len(mistake.path) + 1)}
            if not above & without_names:
                self._report(mistake)

    def _report(self, mistake: _Mistake) -> None:
        path, kind = mistake.path, mistake.kind
        value = at(self.document.value, path)
        if mistake.expected:
            if path not in self.parents:  # else it is a choice of types, and the other was taken
                self._report_type(mistake, value)
        elif kind == "extra_forbidden":
            parent = model_at(self.model, self._below(path[:-1]))
            known = [*_keys(parent), *(self.extra if path[:-1] == self.path else ())]
            name = str(path[-1])
            hint = key_for(name, known) or did_you_mean(name, known)
            if not hint and known:
                hint = f" Known here: {listed(known)}."
            self.document.find(path, f"unknown key.{hint}", "RK103", at_key=True)
        elif kind == "missing":
            name = str(path[-1])
            misspelt = any(
                did_you_mean(key, [name]) or key_for(key, [name]).startswith(f" Write '{name}'")
                for key in self.unknown[path[:-1]]
            )
            if written := self._lookalike_of(path):
                hint = did_you_mean(written, [str(path[-1])])
                self.document.find(
                    (*path[:-1], written), f"unknown key.{hint}", "RK103", at_key=True
                )
            elif not misspelt:
                self.document.find(path, self._missing(path), "RK104", at_key=True)
        elif kind == "too_short" and len(value or ()) >= mistake.detail["ctx"]["min_length"]:
            return  # pydantic counts valid items only, and the others are reported themselves
        else:
            at_key = mistake.is_key or isinstance(value, dict)
            shown_value = path[-1] if mistake.is_key else value
            message = _message(mistake, shown_value, self._purpose(path))
            self.document.find(path, message, "RK105", at_key=at_key)

    def _report_type(self, mistake: _Mistake, value: Any) -> None:
        path = mistake.path
        hint = suggested_value(value, self.model, self._below(path), mistake.expected, mistake.kind)
        expected = " or ".join(dict.fromkeys(self.expected[path]))
        message = f"expected {expected}, found {shown(value)}{hint}"
        self.document.find(path, message, "RK105", at_key=isinstance(value, dict))

    def _missing(self, path: KeyPath) -> str:
        """The message for a missing key: what the key is for, or what was written instead."""
        parent = model_at(self.model, self._below(path[:-1]))
        if parent is Slot:
            if self.document.key(path[:-1]).is_override:
                siblings = at(self.document.value, path[:-2])
                others = [key for key in siblings or () if key != path[-2]]
                if hint := did_you_mean(str(path[-2]), others):
                    return f"missing, since there is no '{path[-2]}' here yet.{hint}"
            written = at(self.document.value, path[:-1])
            if advice := misnamed_use(self.model, self._below(path[:-1]), written):
                return f"missing: {advice}"
        purpose = self._purpose(path)
        return f"missing ({purpose})" if purpose else "missing"

    def _lookalike_of(self, path: KeyPath) -> str | None:
        """The key that was written for a missing one, with characters that look like its own."""
        siblings = at(self.document.value, path[:-1])
        keys = map(str, siblings) if isinstance(siblings, dict) else ()
        return next((key for key in keys if plain(key) == path[-1]), None)

    def _purpose(self, path: KeyPath) -> str:
        """What a key is for: the first sentence of its documentation, as part of a sentence."""
        below = self._below(path)
        parent = model_at(self.model, below[:-1]) if below else None
        text = field_docs(parent).get(str(path[-1]), "") if parent else ""
        sentence = re.split(r"(?<=[^.])[.:;](?:\s|$)", " ".join(text.split()))[0]
        if sentence[1:2].isupper():  # an abbreviation, such as USD
            return sentence
        return f"{sentence[:1].lower()}{sentence[1:]}"

    def _below(self, path: KeyPath) -> KeyPath:
        return path[len(self.path) :]


def _path_of(document: Document, path: KeyPath, detail: ErrorDetails) -> KeyPath:
    """The path of an error in the recipe; pydantic's also names union members and validators."""
    here = at(document.value, path)
    found = path
    for index, part in enumerate(detail["loc"]):
        is_key = isinstance(here, dict) and part in here
        is_index = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if is_key or is_index:
            found, here = (*found, part), here[part]
        elif detail["type"] == "missing" and index == len(detail["loc"]) - 1:
            found = (*found, part)
    return found


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _message(mistake: _Mistake, value: Any, purpose: str) -> str:
    """The message for an error that is neither of a type nor of a missing or unknown key.

    Args:
        mistake: The error.
        value: The value that is wrong, or the key.
        purpose: What the key is for.
    """
    kind, context = mistake.kind, mistake.detail.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if (mistake.is_key and kind.startswith("string_")) or context.get("pattern") == NAME_PATTERN:
        return _NAME_RULE
    if mistake.is_key and (match := _TYPE_ERROR.fullmatch(kind)) and match[1] in _EXPECTED:
        return f"this key must be {_EXPECTED[match[1]]}"
    if kind in ("literal_error", "enum"):
        return _choice(context["expected"], value)
    if kind in _LIMITS:
        sign, name = _LIMITS[kind]
        limit = context[name]
        limit = int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        return f"must be {sign} {limit}, found {shown(value)}"
    unit = "characters" if kind.startswith("string_") else "items"
    if kind in ("too_short", "string_too_short"):
        least = context.get("min_length")
        return "must not be empty" if least == 1 else f"must have at least {least} {unit}"
    if kind in ("too_long", "string_too_long"):
        return f"must have at most {context.get('max_length')} {unit}"
    if kind == "string_pattern_mismatch":
        return f"expected {purpose or context['pattern']}, found {shown(value)}"
    text = mistake.detail["msg"].removeprefix("Input ")
    return f"{text[:1].lower()}{text[1:]}, found {shown(value)}"


def _choice(expected: str, value: Any) -> str:
    """The message for a value that is not one of some choices, as pydantic lists them."""
    choices = re.findall(r"'([^']*)'", expected)
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    if hint and len(choices) > _MAX_CHOICES:
        return f"unknown value '{value}'.{hint}"
    is_choice = isinstance(value, list) and value[:1] and value[0] in choices
    one_item = without_brackets(value, "text") if is_choice else ""
    message = f"must be {expected}, found {shown(value)}{one_item}"
    return f"{message}.{hint}" if hint else message
