"""The YAML of every file that recipekit reads and writes: the core schema of YAML 1.2.

`no`, `on` and `yes` are text, `1e-5` is a number, `0o17` is 15, `017` is 17, and dates and times
are text. What `dump` writes has one meaning for readers of YAML 1.1 and of YAML 1.2, so that other
tools read recipes and cards as recipekit does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

__all__ = ["dump", "parse", "plain_scalar"]

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_LONGEST_INT: Final = 40
"""Digits; no field of a recipe needs more, and Python's own limit has an unhelpful message."""


def plain_scalar(text: str) -> Any:
    """Return the value of an unquoted scalar: None, a bool, an int, a float, or text.

    Raises:
        ValueError: It is a number that is not finite, or has too many digits.
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        if len(text) > _LONGEST_INT:
            raise ValueError("the number is too large")
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if _FLOAT.fullmatch(text):
        number = (
            float(text) if text[-1] in "0123456789." else math.inf
        )  # .inf and .nan end in letters
        if not math.isfinite(number):
            raise ValueError("not a finite number")
        return number
    return text


def parse(text: str) -> Any:
    """Return the value of a YAML text: maps with text keys, lists and scalars.

    Recipes are read by `recipekit.recipe.read`, which follows the same rules and also knows the
    position of every key.

    Raises:
        ValueError: It is not YAML, has an alias, or has a key that is not a scalar.
    """
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    events = (
        event
        for event in yaml.parse(text, Loader=loader)
        if not isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent)
    )
    try:
        first = next(events)
        return None if isinstance(first, yaml.StreamEndEvent) else _value(first, events)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not YAML: {error}") from error


def _value(event: Any, events: Iterator[Any]) -> Any:
    """Return the value that starts with an event."""
    if isinstance(event, yaml.ScalarEvent):
        return event.value if event.style else plain_scalar(event.value)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_value(event, events))
        return items
    if not isinstance(event, yaml.MappingStartEvent):
        raise ValueError("an alias, which is not supported")
    mapping = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        if not isinstance(key, yaml.ScalarEvent):
            raise ValueError("a key that is not text")
        mapping[key.value] = _value(next(events), events)
    return mapping


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or YAML 1.2 reads as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)  # lists are indented below their key


# PyYAML quotes what YAML 1.1 reads as another type, such as "no" and "2026-11-28", but not
# "y" and "n". YAML 1.2 reads "1e-5" and "0o17" as numbers.
_ONE_LETTER = re.compile(r"[yYnN]")
for _tag, _pattern in (
    ("bool", _ONE_LETTER),
    ("null", _NULL),
    ("bool", _BOOL),
    ("int", _INT),
    ("float", _FLOAT),
):
    _Dumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern.pattern})$"), None
    )


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    lines = text.split("\n")
    readable = all(line.isprintable() and line == line.rstrip() for line in lines)
    if len(lines) > 1 and readable and lines[0] and not lines[0][0].isspace():
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    )


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    flow = not any(isinstance(item, list | dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)


def dump(value: Any) -> str:
    """Write JSON-like values as YAML: maps in blocks, lists of scalars in one line, unfolded."""
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=2**31,
    )
