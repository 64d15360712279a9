"""Reads the YAML of a recipe with the source location of every key and value.

These are mistakes, each with its own message: duplicate keys, keys without a value, keys that are
not text, tabs in the indentation, merge-conflict markers, anchors, aliases and tags (so that no
alias can expand without bounds), several documents, deep nesting, bytes that are not UTF-8, and
files that are too large.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from recipekit.lookalikes import (
    broken_plain_text,
    first_invisible,
    first_misleading,
    without_invisible,
)
from recipekit.recipe.positions import Document, Finding, KeyPath, SourceLocation, refuse
from recipekit.yaml_format import plain_scalar

__all__ = ["MAX_BYTES", "MAX_DEPTH", "read_file", "read_text"]

MAX_BYTES: Final = 2**20
MAX_DEPTH: Final = 50
_CONFLICT = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?=\s|$)", re.MULTILINE)
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_UNWRITABLE_ESCAPE: Final = (
    "an escape for a character that text cannot contain (NUL, or half of a surrogate pair)"
)
_NO_ANCHORS: Final = "anchors and aliases are not supported, write the value out"
_TAB = re.compile(r"^ *\t\s*(?=\S)", re.MULTILINE)


def read_file(path: Path, name: str) -> Document:
    """Read a recipe file; messages call it `name`.

    Raises:
        RecipeError: It cannot be read, or is not YAML.
    """

    def unreadable(message: str, line: int | None = None, column: int = 1) -> Exception:
        place = (
            SourceLocation.in_file(name, line, column) if line else SourceLocation((0, 0, 0), name)
        )
        return refuse([Finding(place, (), message, "RK101")])

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except IsADirectoryError as error:
        raise unreadable("is a folder, not a recipe file") from error
    except OSError as error:
        raise unreadable(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise unreadable(
            "is larger than 1 MiB: not a recipe (put data into files that a source names)"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        byte = f"byte 0x{data[error.start]:02x} (offset {error.start})"
        message = f"{byte} is not UTF-8: save the file as UTF-8"
        raise unreadable(message, line, column) from error
    return read_text(text, name)


def read_text(text: str, name: str) -> Document:
    """Read a recipe's text; mistakes that allow validation to go on are in `findings`.

    Raises:
        RecipeError: It is not YAML.
    """
    fatal = [
        Finding(
            SourceLocation.in_file(name, _line_of(text, match.start()), 1),
            (),
            "a merge-conflict marker: resolve the conflict first",
            "RK102",
        )
        for match in _CONFLICT.finditer(text)
        if match[1][0] in "<>"
    ]
    if fatal:
        raise refuse(fatal)
    if yaml.__with_libyaml__ and not _TAB.search(text):
        document = Document(name, text)
        try:
            _Builder(document).build(yaml.parse(text, Loader=yaml.CSafeLoader))
        except yaml.YAMLError:
            pass  # the parser in Python, which is much slower, says more about the mistake
        else:
            return document
    document = Document(name, text)
    try:
        _Builder(document).build(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        line, column, message = _explain(error, text)
        message += _misleading(text, line)
        tab = next((tab for tab in _tabs(text) if tab[0] <= line + 1), None)
        if tab:
            line, column, message = tab
        raise refuse(
            [
                *document.findings,
                Finding(SourceLocation.in_file(name, line, column), (), message, "RK102"),
            ]
        ) from error
    return document


def _line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _tabs(text: str) -> list[tuple[int, int, str]]:
    """Return the lines that are indented with a tab, as (line, column, message)."""
    message = "tab in the indentation: YAML allows spaces only"
    return [
        (_line_of(text, match.start()), match[0].index("\t") + 1, message)
        for match in _TAB.finditer(text)
    ]


class _Builder:
    """Builds values from YAML events, with the location of each."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def build(self, events: Iterator[Any]) -> None:
        self.events = events
        next(events)  # the stream's start
        event = next(events)
        if isinstance(event, yaml.StreamEndEvent):
            self.document.find((), "the file is empty: a recipe starts with 'recipe: 1'", "RK102")
            raise refuse(self.document.findings)
        self.document.value = self._node(next(events), ())
        next(events)  # the document's end
        event = next(events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._find(event, (), "a second document starts here: a recipe is one document")

    def _place(self, event: Any) -> SourceLocation:
        return SourceLocation.in_file(
            self.document.name, event.start_mark.line + 1, event.start_mark.column + 1
        )

    def _find(self, event: Any, path: KeyPath, message: str, index: int = 0) -> None:
        """Note a mistake, at the `index`-th character of an event."""
        mark = event.start_mark
        place = SourceLocation.in_file(self.document.name, mark.line + 1, mark.column + 1 + index)
        self.document.add(Finding(place, path, message, "RK102"))

    def _node(self, event: Any, path: KeyPath) -> Any:
        self.document.values[path] = self._place(event)
        if len(path) > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {MAX_DEPTH} deep", problem_mark=event.start_mark
            )
        if isinstance(event, yaml.AliasEvent):
            self._find(event, path, f"alias (*{event.anchor}): {_NO_ANCHORS}")
            return None
        if event.anchor is not None:
            self._find(event, path, f"anchor (&{event.anchor}): {_NO_ANCHORS}")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._find(
                event,
                path,
                f"tag ({tag}): tags are not supported; quote a text that starts with '!'",
            )
        if isinstance(event, yaml.MappingStartEvent):
            return self._map(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        return self._scalar(event, path)

    def _scalar(self, event: Any, path: KeyPath) -> Any:
        if event.style:
            if _UNWRITABLE.search(event.value):
                self._find(event, path, _UNWRITABLE_ESCAPE)
            return event.value
        if event.value == "" and event.tag is None and event.anchor is None:
            # An empty value has no location of its own.
            self.document.find(
                path,
                "empty: give it a value, or remove the key",
                "RK102",
                at_key=True,
            )
            return None
        if found := broken_plain_text(event.value):
            self._find(event, path, f"{found}: {found.remedy}, or quote the text", found.index)
            return plain_scalar(without_invisible(event.value))
        try:
            return plain_scalar(event.value)
        except ValueError as error:
            self._find(event, path, f"{error!s}: '{event.value[:40]}'")
            return None

    def _list(self, path: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _map(self, path: KeyPath) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key is None or key in items:
                if key is not None:
                    line = self.document.keys[(*path, key)].order[1]
                    self._find(event, (*path, key), f"duplicate key: already on line {line}")
                self._skip()
                continue
            self.document.keys[(*path, key)] = self._place(event)
            items[key] = self._node(next(self.events), (*path, key))
        return items

    def _key(self, event: Any, path: KeyPath) -> str | None:
        """Return a key's text; None if it is not text. Whole numbers, such as grades, are texts."""
        if not isinstance(event, yaml.ScalarEvent):
            self._find(event, path, "a key must be text")
            self._skip(event)
            return None
        if event.anchor is not None or event.tag is not None:
            self._find(event, path, "anchors and tags on keys are not supported")
        if not event.style and not _is_text(event.value):
            self._find(
                event,
                path,
                f"key {event.value or '(empty)'} is not text: quote it, or choose another name",
            )
            return None
        if not event.style and (found := first_invisible(event.value)):
            key = without_invisible(event.value)
            message = f"{found}: {found.remedy}, or quote the key"
            self._find(event, (*path, key), message, found.index)
            return key
        return str(event.value)

    def _skip(self, event: Any = None) -> None:
        """Skip the next node, or the rest of the one that started with `event`."""
        depth = 0
        while True:
            event = event or next(self.events)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
                event, yaml.CollectionEndEvent
            )
            if depth == 0:
                return
            event = None


def _is_text(scalar: str) -> bool:
    try:
        meaning = plain_scalar(scalar)
    except ValueError:
        return False
    return isinstance(meaning, str) or (type(meaning) is int and scalar == str(meaning))


def _explain(error: yaml.YAMLError, text: str) -> tuple[int, int, str]:
    """Explain a YAML error, as (line, column, message)."""
    if isinstance(error, yaml.reader.ReaderError):
        position: int = error.position  # the stubs have another type
        return (
            _line_of(text, position),
            position - text.rfind("\n", 0, position),
            f"character U+{ord(text[position]):04X} is not allowed in a recipe",
        )
    assert isinstance(error, yaml.MarkedYAMLError)
    problem, mark = error.problem or "not YAML", error.problem_mark or error.context_mark
    if "quoted scalar" in (error.context or "") and "end of stream" in problem:
        return *_position(error.context_mark), "this quote is never closed"
    if (error.context or "").startswith("while parsing a flow"):
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        hint = ' (inside { } and [ ], quote "${env:NAME}")' if "${" in line else ""
        return (
            *_position(mark),
            f"a ',' or the closing bracket of line {_position(error.context_mark)[0]} "
            f"is missing before this{hint}",
        )
    if "could not find expected ':'" in problem:  # the parser notices this lines later
        return *_position(error.context_mark or mark), "a key must be followed by ':' and a space"
    if (
        "expected <block end>" in problem
        and mark
        and text.splitlines()[mark.line][: mark.column].strip()
    ):
        closing = re.search(r"but found '([}\]])'", problem)
        return *_position(mark), (
            f"this '{closing[1]}' closes nothing" if closing else _AFTER_QUOTE
        )
    for part, message in _EXPLANATIONS.items():
        if part in problem:
            return *_position(mark), message
    return *_position(mark), problem


_AFTER_QUOTE: Final = (
    "unexpected text after the closing quote; inside '...', write a quote twice: 'it''s'"
)
_EXPLANATIONS: Final = {
    "'\\t' that cannot start": "tab where YAML allows spaces only",
    "that cannot start any token": "text cannot start with this character: quote it",
    "mapping values are not allowed": "unexpected ':': quote the text, or check the indentation",
    "expected alphabetic or numeric character": "text cannot start with '*' or '&': quote it",
    "found unknown escape character": (
        "in double quotes, \\ starts an escape: use single quotes, or / in paths"
    ),
    "expected <block end>": "this is not aligned with the lines above: check the indentation",
    "sequence entries are not allowed": (
        "a list item ('-') is not allowed here: check the indentation"
    ),
}


def _misleading(text: str, line: int) -> str:
    """Name a character of a line, or of the one above, that is not what YAML needs."""
    lines = text.splitlines()
    for number in (line, line - 1):
        if 0 < number <= len(lines) and (found := first_misleading(lines[number - 1])):
            place = f"column {found.index + 1}" if number == line else f"line {number}"
            return f"; in {place}, {found}"
    return ""


def _position(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
