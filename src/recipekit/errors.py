"""Every error that recipekit raises on purpose, in one tree.

```
RecipekitError            RK000
├── RecipeError           RK1xx  a recipe that is wrong: all of its problems at once
├── ComponentError        RK2xx  a component that is missing, broken, or claimed twice
├── DataError             RK3xx  input data that cannot be used
├── ModelError            RK4xx  an encoder that cannot be reached or is not what was pinned
├── StoreError            RK5xx  the cache or a run folder cannot be written or read
└── RunError              RK6xx  a run that failed, was killed, diverged, or was asked for the impossible
```

A user's mistake ends in one of these, and the command line prints its text alone. Anything else
that escapes is our bug.
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
    "RecipeError",
    "RecipekitError",
    "RunError",
    "StoreError",
    "error_location",
]

NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
"""What the operating system says of a full disk, or of a full share of one."""


class RecipekitError(Exception):
    """Root of the tree. `code` is stable across releases and searchable in the docs."""

    code = "RK000"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return self.message

    def with_message(self, message: str) -> RecipekitError:
        """The same error in other words: with its place before it, or without a credential in it."""
        return type(self)(message, code=self.code)


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with a recipe, and where.

    `where` is `file:line:col` (1-based), or `--set` with the override as it was typed; `path` is
    the dotted key path, empty where a whole file is meant.
    """

    where: str
    path: str
    message: str
    code: str = "RK100"

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


class RecipeError(RecipekitError):
    """A recipe that cannot be used, with every problem found in it, in the order of the file."""

    code = "RK100"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(map(str, self.problems)),
            code=self.problems[0].code if self.problems else None,
        )

    def with_message(self, message: str) -> RecipekitError:
        """One error without its problems one by one."""
        return RecipekitError(message, code=self.code)


class ComponentError(RecipekitError):
    """A component that is not installed, cannot be imported, or is claimed by two distributions."""

    code = "RK200"


class DataError(RecipekitError):
    """Input data that cannot be used: a missing file, an unknown id, text that is no text."""

    code = "RK300"


class ModelError(RecipekitError):
    """A model that cannot be reached, or whose weights are not the pinned ones."""

    code = "RK400"


class StoreError(RecipekitError):
    """The cache or a run folder cannot be read or written."""

    code = "RK500"


class RunError(RecipekitError):
    """A run that failed: a stage that was killed, a loss that diverged, ranks that did not start."""

    code = "RK600"


@contextmanager
def error_location(place: Callable[[], str]) -> Iterator[None]:
    """Put a place, which is only then found out, before the message of an error of ours that is
    raised within.
    """
    try:
        yield
    except RecipekitError as error:
        raise error.with_message(f"{place()}: {error.message}") from error
