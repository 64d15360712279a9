"""A Qdrant server: reaching it, asking again where that can help, and failures that say what to do."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

from recipekit.engines.failures import Failure
from recipekit.engines.qdrant_failures import failure_of
from recipekit.engines.retry import RetryPolicy, Transient, persist
from recipekit.errors import ComponentError

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = ["QdrantAddress", "QdrantServer"]

T = TypeVar("T")

OLDEST: Final = (1, 16)
"""The first server that keeps metadata with a collection: our mark stands there."""

REMEDIES: Final[dict[str, tuple[str, str]]] = {
    "unreachable": (
        "RK260",
        "cannot be reached ({text}): start it, or correct `url` (and `grpc_port`, with `protocol: grpc`)",
    ),
    "lost": (
        "RK260",
        "broke the connection ({text}): see to it that it runs, then run again; what is loaded stays loaded",
    ),
    "timeout": (
        "RK261",
        "did not answer in time ({text}): raise `timeout`, or lower `batch_size` and `concurrency`",
    ),
    "busy": (
        "RK262",
        "turns requests away ({text}): lower `concurrency`, raise `attempts`, or run again later",
    ),
    "unauthorized": (
        "RK263",
        "refuses the credentials ({text}): give a valid key as api_key: ${{env:NAME}}",
    ),
    "forbidden": (
        "RK263",
        "does not allow this ({text}): give a key that may create and write collections, or use one that exists",
    ),
    "missing": (
        "RK264",
        "does not have it ({text}): it was deleted, or never made; correct `collection`, or run again to make it anew",
    ),
    "exists": ("RK264", "has it already ({text}): another run makes it; run again"),
    "full": (
        "RK265",
        "cannot write ({text}): free or add space on the server's disk, then run again; what is loaded stays loaded",
    ),
    "failing": ("RK266", "fails ({text}): look into the server's log, then run again"),
    "invalid": ("RK267", "cannot do what it was asked ({text})"),
    "incomprehensible": (
        "RK268",
        "gives an answer that qdrant-client {client} does not understand ({text}): use a client of its version",
    ),
}
"""By the kind of a failure, its code and its sentence, to be told of a server (and a collection).
"""


@dataclass(frozen=True)
class QdrantAddress:
    """Where a server is, and how it is asked."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    protocol: Literal["rest", "grpc"] = "rest"
    grpc_port: int = 6334
    timeout: float = 60.0
    """Seconds until a request is given up."""
    attempts: int = 8

    @property
    def shown(self) -> str:
        """The url without a user's name and password."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class QdrantServer:
    """One server. Every request goes through `ask`."""

    def __init__(
        self, address: QdrantAddress, *, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self.address = address
        self._warn = warn
        self._random = random.Random()
        self._client: QdrantClient | None = None

    @property
    def client(self) -> QdrantClient:
        """The client, made at first use, which connects to nothing yet."""
        if self._client is None:
            from qdrant_client import QdrantClient

            # The key goes as a header: given as `api_key`, the client warns of http by itself,
            # wherever it is used.
            self._client = QdrantClient(
                url=self.address.url,
                headers={"api-key": self.address.api_key} if self.address.api_key else None,
                prefer_grpc=self.address.protocol == "grpc",
                grpc_port=self.address.grpc_port,
                grpc_options={"grpc.max_reconnect_backoff_ms": 1000, "grpc.enable_http_proxy": 0},
                timeout=max(1, round(self.address.timeout)),
                check_compatibility=False,
            )
        return self._client

    def ask(self, call: Callable[[QdrantClient], T], collection: str = "") -> T:
        """What a call gives, asked again with growing waits where the failure may pass.

        Raises:
            ComponentError: It failed for good; the error names server, collection and remedy.
        """
        told, patience = False, RetryPolicy(attempts=self.address.attempts)

        def waiting(why: Transient, seconds: float, attempt: int) -> None:
            nonlocal told
            if not told and attempt >= 3:  # a hiccup is not worth a line
                self._warn(f"{self.named(collection)}: {why.reason}; asking again for a while")
            told = told or attempt >= 3

        try:
            return persist(
                lambda: call(self.client),
                _transient,
                patience=patience,
                random=self._random,
                waiting=waiting,
            )
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            raise self.error(failure, collection) from error

    def named(self, collection: str = "") -> str:
        """How errors call it."""
        return f"Qdrant at {self.address.shown}" + (
            f", collection '{collection}'" if collection else ""
        )

    def error(self, failure: Failure, collection: str = "") -> ComponentError:
        """The error that tells of a failure."""
        code, sentence = REMEDIES[failure.kind]
        return ComponentError(
            f"{self.named(collection)} {sentence.format(text=failure.text, client=version('qdrant-client'))}",
            code=code,
        )

    def check_version(self) -> None:
        """See whether client and server belong together.

        Raises:
            ComponentError: They cannot work together, or the server cannot be reached.
        """
        try:
            server = self.ask(lambda client: client.info()).version
        except ComponentError as error:
            if error.code not in ("RK264", "RK267", "RK268"):
                raise
            cause = failure_of(error.__cause__) if isinstance(error.__cause__, Exception) else None
            said = f" ({cause.text})" if cause else ""
            raise ComponentError(
                f"{self.named()} does not answer as Qdrant does{said}: correct `url`, which wants its REST port",
                code="RK268",
            ) from error
        ours = version("qdrant-client")
        theirs, mine = _numbers(server), _numbers(ours)
        if theirs < OLDEST:
            raise ComponentError(
                f"{self.named()} is version {server}; recipekit needs {'.'.join(map(str, OLDEST))} or later",
                code="RK268",
            )
        if theirs[0] != mine[0]:
            fix = f"install qdrant-client {theirs[0]}.{theirs[1]}, or a server of version {mine[0]}"
            raise ComponentError(
                f"{self.named()} is version {server}, and qdrant-client {ours} does not speak to it: {fix}",
                code="RK268",
            )
        if abs(theirs[1] - mine[1]) > 1:
            self._warn(
                f"{self.named()} is version {server}, and qdrant-client {ours} is made for servers at most one minor version away: "
                f"if anything fails, install qdrant-client {theirs[0]}.{theirs[1]}"
            )
        if (
            self.address.api_key
            and self.address.url.startswith("http:")
            and not _is_local(self.address.url)
        ):
            self._warn(f"{self.named()}: the API key travels unencrypted; use https")

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _transient(error: Exception) -> Transient | None:
    failure = failure_of(error)
    return failure.transient if failure else None


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
