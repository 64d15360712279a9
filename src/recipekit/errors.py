"""Every error that recipekit raises on purpose, in one tree.

```
RecipekitError            RK000
├── RecipeError           RK1xx  the recipe is wrong: all of its problems at once
├── ComponentError        RK2xx  a component is missing or broken, or its server cannot be used
├── DataError             RK3xx  input data cannot be used
├── ModelError            RK4xx  a model cannot be loaded, or is not the pinned one
├── StoreError            RK5xx  the cache or a run folder cannot be read or written
└── RunError              RK6xx  a run failed, was killed or diverged
```

A user's mistake raises one of these, and the command line prints only its message. Any other
exception that escapes is a bug. `recipekit.error_codes` explains every code.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

__all__ = [
    "NO_SPACE",
    "ComponentError",
    "DataError",
    "ModelError",
    "Problem",
    "RanksOutOfMemory",
    "RecipeError",
    "RecipekitError",
    "RunError",
    "StoreError",
    "causes",
    "error_location",
]

NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
"""The `errno` values of a full disk or an exhausted quota."""


class RecipekitError(Exception):
    """The root of the tree.

    `code` is stable across releases and explained in docs/errors.md.
    """

    code = "RK000"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return self.message

    def with_message(self, message: str) -> RecipekitError:
        """Return a copy with another message, such as one with a location added."""
        return type(self)(message, code=self.code)


@dataclass(frozen=True, order=True)
class Problem:
    """One problem of a recipe, with its location.

    `where` is `file:line:col` (1-based), or `--set` followed by the override; `path` is the dotted
    key path, empty for a problem of the whole file.
    """

    where: str
    path: str
    message: str
    code: str = "RK100"

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


class RecipeError(RecipekitError):
    """The recipe is wrong; `problems` holds every problem, in the order of the file."""

    code = "RK100"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(map(str, self.problems)),
            code=self.problems[0].code if self.problems else None,
        )

    def with_message(self, message: str) -> RecipekitError:
        """Return a plain error with the new message, without the list of problems."""
        return RecipekitError(message, code=self.code)


class ComponentError(RecipekitError):
    """A component is missing or broken, or a server or hub that it uses cannot be used."""

    code = "RK200"


class DataError(RecipekitError):
    """Input data cannot be used: a missing file, a malformed row, an unknown id."""

    code = "RK300"


class ModelError(RecipekitError):
    """A model cannot be loaded, is not supported, or its weights differ from the pinned ones."""

    code = "RK400"


class StoreError(RecipekitError):
    """The cache, a run folder or an output file cannot be read or written."""

    code = "RK500"


class RunError(RecipekitError):
    """A run failed: a stage was killed, training diverged, an LLM endpoint cannot be used."""

    code = "RK600"


class RanksOutOfMemory(RunError):
    """A forward pass on one of several ranks does not fit into memory, and smaller ones may.

    The others wait within a step that this rank cannot finish, so all of them have to start again.
    `remedy` is what avoids it, in the imperative.
    """

    code = "RK634"

    def __init__(self, message: str, *, remedy: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}" if self.remedy else self.message

    def with_message(self, message: str) -> RecipekitError:
        """Return a copy with another message and the same remedy."""
        return RanksOutOfMemory(message, remedy=self.remedy, code=self.code)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and then those that caused it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


@contextmanager
def error_location(location: Callable[[], str]) -> Iterator[None]:
    """Prefix the message of a `RecipekitError` raised inside with a location.

    Args:
        location: Returns the location; it is called only when an error is raised.
    """
    try:
        yield
    except RecipekitError as error:
        raise error.with_message(f"{location()}: {error.message}") from error
