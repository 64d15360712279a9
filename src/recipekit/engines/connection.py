"""A connection to a server: its client, its retries, and errors that name a remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from recipekit.engines.remedies import Remedy
from recipekit.engines.retry import Failure, PartialFailure, retrying
from recipekit.errors import ComponentError

if TYPE_CHECKING:
    import tenacity

__all__ = ["Connection"]

WARN_AFTER_ATTEMPTS = 3
"""A request that succeeds earlier is not worth a line on the terminal."""


class _Client(Protocol):
    def close(self) -> None: ...


ClientT = TypeVar("ClientT", bound=_Client)
T = TypeVar("T")


@dataclass(frozen=True)
class Connection(Generic[ClientT]):
    """A client of one server. Threads may share it."""

    client: ClientT
    package: str
    """The distribution of the client library."""
    server: str
    """How messages name the server, without credentials."""
    noun: str
    """What the server calls an index."""
    failure_of: Callable[[Exception], Failure | None]
    """Classifies the client's exceptions; None for an exception that is not the client's."""
    remedies: Mapping[str, Remedy]
    """One remedy for each kind of failure."""
    max_retries: int
    warn: Callable[[str], None] = lambda message: None
    _warned: set[str] = field(default_factory=set, repr=False)

    def call(self, request: Callable[[ClientT], T], name: str = "") -> T:
        """Send a request, and send it again as long as its failure may be temporary.

        Args:
            request: Calls the client.
            name: The index or collection that the request is about, for messages.

        Raises:
            ComponentError: The request failed for good. The message names the server and a remedy.
        """
        try:
            return self._call(request, name)
        except Exception as error:
            raise self._translated(error, name) from error

    def try_call(
        self, request: Callable[[ClientT], T], name: str = "", *, accept: str = "missing"
    ) -> T | None:
        """Like `call`, but return None if the request fails with the accepted kind of failure."""
        try:
            return self._call(request, name)
        except Exception as error:
            failure = self._classify(error)
            if failure is not None and failure.kind == accept:
                return None
            raise self._translated(error, name) from error

    def named(self, name: str = "") -> str:
        """The server, and an index or collection on it, as messages name them."""
        return f"{self.server}, {self.noun} '{name}'" if name else self.server

    def error(self, failure: Failure, name: str = "", item: str = "") -> ComponentError:
        """The error for a failure, with its remedy.

        Args:
            failure: What happened.
            name: The index or collection.
            item: The part of the request that failed, such as "passage 'x'".
        """
        code, message = self.remedies[failure.kind]
        subject = f"{self.named(name)}, {item}:" if item else self.named(name)
        message = message.format(text=failure.text, client=version(self.package))
        return ComponentError(f"{subject} {message}", code=code)

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()

    def _call(self, request: Callable[[ClientT], T], name: str) -> T:
        def warn_once(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            reason = str(error and self._classify(error))
            if state.attempt_number == WARN_AFTER_ATTEMPTS and reason not in self._warned:
                self._warned.add(reason)
                self.warn(f"{self.named(name)}: {reason}; retrying")

        return retrying(self._classify, self.max_retries, warn_once)(request, self.client)

    def _classify(self, error: BaseException) -> Failure | None:
        if isinstance(error, PartialFailure):
            return error.failure
        return self.failure_of(error) if isinstance(error, Exception) else None

    def _translated(self, error: Exception, name: str) -> Exception:
        failure = self._classify(error)
        if failure is None:
            return error
        return self.error(failure, name, error.item if isinstance(error, PartialFailure) else "")
