"""The YAML of recipes: the core schema of YAML 1.2.

`no`, `on` and `yes` are text, `1e-5` is a number, `0o17` is 15, `017` is 17, and dates and times
are text. Reading and writing use the same rules, so that a written recipe is read unchanged.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import yaml

__all__ = ["dump", "plain_scalar"]

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


class _Dumper(yaml.SafeDumper):
    """Quotes text that `plain_scalar` would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)  # lists are indented below their key


# PyYAML follows YAML 1.1, which leaves the text "1e-5" unquoted and quotes "no".
_Dumper.yaml_implicit_resolvers = {}
for _tag, _pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
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
