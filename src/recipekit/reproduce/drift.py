"""How a recipe on this machine differs from its lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recipekit.errors import RunError
from recipekit.pipeline.changes import changes
from recipekit.pipeline.named_files import NamedFile
from recipekit.reproduce.lock import Lock

__all__ = ["ENVIRONMENT", "Drift", "check_locked", "drift", "in_words"]

ENVIRONMENT: Final = ("python", "device", "versions")
"""The parts of a lock that belong to a machine, not to the recipe and its data."""
MOST_FILES: Final = 10
"""Files that a message names."""


@dataclass(frozen=True)
class Drift:
    """One difference from a lock."""

    part: str
    """The part of the lock: `versions`, `files`, `revisions`, ..."""
    text: str
    """The difference in words: `torch 2.8 is locked, 2.9 is installed`."""

    def __str__(self) -> str:
        return self.text


def drift(locked: Lock, found: Lock, files: Mapping[str, NamedFile] | None = None) -> list[Drift]:
    """Return every difference between a lock and what is found, in the order of the file.

    Collected data is compared where both have it.

    Args:
        locked: The lock.
        found: What is found.
        files: How differences name the recipe's files, from `named_files`.
    """
    return [
        *_environment(locked, found),
        *_files(locked, found, files or {}),
        *_content(locked, found),
    ]


def _environment(locked: Lock, found: Lock) -> Iterator[Drift]:
    if locked.python != found.python:
        yield Drift("python", f"Python {locked.python} is locked, {found.python} is running")
    if locked.device != found.device:
        yield Drift("device", f"device {locked.device} is locked, {found.device} is used")
    for name, before, now in _changed(locked.versions, found.versions):
        was = f"{name} {before} is locked" if before else f"{name} is not in the lock"
        yield Drift("versions", f"{was}, {f'{now} is installed' if now else 'it is missing here'}")


def _files(locked: Lock, found: Lock, files: Mapping[str, NamedFile]) -> Iterator[Drift]:
    for name, before, now in _changed(locked.files, found.files):
        shown = files.get(name, name)
        if before is None or now is None:
            yield Drift("files", f"{shown}: {_presence(before)}")
        else:
            short = f"sha256 {before[:12]} is locked, {now[:12]} is here"
            yield Drift("files", f"{shown}: the content changed ({short})")


def _content(locked: Lock, found: Lock) -> Iterator[Drift]:
    for part in ("revisions", "indices"):
        for name, before, now in _changed(getattr(locked, part), getattr(found, part)):
            if before is None or now is None:
                yield Drift(part, f"{name}: {_presence(before)}")
            else:
                yield from (Drift(part, text) for text in changes(before, now, name))
    if locked.data and found.data:
        yield from _data(locked.data, found.data)
    for name, before, now in _changed(locked.results, found.results):
        if before is not None and now is not None:
            text = f"results of {name}: version {before} is locked, {now} is here"
            yield Drift("results", text)
    for text in changes(dict(locked.settings), dict(found.settings)):
        yield Drift("settings", text)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield name, before.get(name), now.get(name)


def _presence(before: Any) -> str:
    return "is not in the lock" if before is None else "is in the lock, but not in the recipe"


def _data(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Drift]:
    for name, was, found in _changed(before, now):
        if was is None or found is None:
            yield Drift("data", f"collected {name}: {_presence(was)}")
        elif was["rows"] != found["rows"]:
            text = f"collected {name}: {was['rows']:,} are locked, {found['rows']:,} are here"
            yield Drift("data", text)
        else:
            text = f"collected {name}: {was['rows']:,} as locked, but with other content"
            yield Drift("data", text)


def in_words(found: Sequence[Drift]) -> list[str]:
    """Return differences as lines for a message, with no more than some files.

    A recipe that reads a standard library has hundreds, which all differ in another version.
    """
    files = [each for each in found if each.part == "files"]
    hidden = set(map(id, files[MOST_FILES:]))
    lines = [str(each) for each in found if id(each) not in hidden]
    if hidden:
        lines.append(f"and {len(hidden):,} more files")
    return lines


def check_locked(found: Sequence[Drift], lock: str) -> None:
    """Refuse a run that differs from its lock.

    Raises:
        RunError: There are differences; the message lists each.
    """
    if found:
        count = "1 difference" if len(found) == 1 else f"{len(found)} differences"
        lines = "".join(f"\n  {line}" for line in in_words(found))
        raise RunError(
            f"{lock}: the run has {count} from the lock; to accept the current state, write the "
            f"lock again with `recipekit lock`{lines}",
            code="RK615",
        )
