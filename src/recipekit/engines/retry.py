"""Which requests to an engine are repeated, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from recipekit.retries import LONGEST_RETRY_AFTER, backoff

if TYPE_CHECKING:
    import tenacity

__all__ = ["Failure", "PartialFailure", "retrying", "shortened"]

TRANSIENT: Final = frozenset({"unreachable", "lost", "timeout", "busy", "failing", "partial"})
"""Kinds of failure that may be gone at the next attempt."""
LONGEST_TEXT: Final = 300


@dataclass(frozen=True)
class Failure:
    """Why a request, or a part of one, failed."""

    kind: str
    """A key of the engine's table of remedies."""
    text: str
    """The message of the server or the operating system."""
    retry_after: float | None = None
    """Seconds that the server asks to wait."""

    @property
    def transient(self) -> bool:
        """Whether another attempt may succeed."""
        return self.kind in TRANSIENT

    def __str__(self) -> str:
        return self.text


class PartialFailure(Exception):
    """The server processed a request but failed at a part of it."""

    def __init__(self, failure: Failure, item: str = "") -> None:
        super().__init__(failure.text)
        self.failure = failure
        self.item = item
        """The part, for the error: "passage 'x'"."""


def retrying(
    failure_of: Callable[[BaseException], Failure | None],
    max_retries: int,
    before_sleep: Callable[[tenacity.RetryCallState], None],
) -> tenacity.Retrying:
    """A caller that repeats a function while its failure may be temporary.

    It waits for `recipekit.retries.backoff`, plus the server's `Retry-After`.

    Args:
        failure_of: Classifies an exception; None for one that is not the server's.
        max_retries: Attempts after the first one.
        before_sleep: Called before each wait.
    """
    import tenacity

    random = Random()

    def requested_wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        failure = failure_of(error) if error else None
        return failure.retry_after or 0.0 if failure else 0.0

    def is_transient(error: BaseException) -> bool:
        failure = failure_of(error)
        return failure is not None and failure.transient

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        wait=lambda state: backoff(state.attempt_number, random) + requested_wait(state),
        stop=lambda state: (
            state.attempt_number > max_retries or requested_wait(state) > LONGEST_RETRY_AFTER
        ),
        before_sleep=before_sleep,
        reraise=True,
    )


def shortened(text: str) -> str:
    """A server's message on one line of at most 300 characters."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."
