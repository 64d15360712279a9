"""The recipe keys that say where a Qdrant server is and how to talk to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field

from recipekit.component import NotIdentity, Secret, Url

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from recipekit.engines.connection import Connection

__all__ = ["QdrantAccess"]

SHORT_TIMEOUT = 10.0
"""Seconds to wait for a reply where someone waits for `plan` or `cache ls`."""


class QdrantAccess(BaseModel):
    """Where a Qdrant server is, with which key, and how long to retry.

    None of these keys changes a result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: Url = "http://localhost:6333"
    """The URL of the server's REST interface; `protocol: grpc` needs it, too."""
    api_key: Secret | None = None
    """The server's API key: `${env:NAME}`."""
    protocol: Annotated[Literal["rest", "grpc"], NotIdentity] = "rest"
    """How vectors and hits are transferred. gRPC is faster, but its port is less often
    reachable."""
    grpc_port: Annotated[int, NotIdentity, Field(ge=1, le=65535)] = 6334
    """The port for gRPC."""
    timeout: Annotated[float, NotIdentity, Field(ge=1)] = 60.0
    """Seconds after which a request is abandoned and retried."""
    max_retries: Annotated[int, NotIdentity, Field(ge=0)] = 7
    """Retries of a request whose failure may be temporary; seven take at most a minute, longer if
    the server asks for it.
    """
    concurrency: Annotated[int, NotIdentity, Field(ge=1, le=256)] = 4
    """Parallel requests."""

    @property
    def address(self) -> str:
        """The URL without a user's name and password."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def distributions(self) -> tuple[str, ...]:
        """The client, which decides what the server is asked."""
        return ("qdrant-client",)

    def connect(
        self, warn: Callable[[str], None] = lambda message: None
    ) -> Connection[QdrantClient]:
        """Make a client. It opens no connection yet."""
        from recipekit.engines.qdrant.client import connect

        return connect(self, warn)

    def connect_briefly(self) -> Connection[QdrantClient]:
        """A client with one retry and a short timeout, for `plan` and `cache ls`."""
        brief = {"max_retries": 1, "timeout": min(self.timeout, SHORT_TIMEOUT)}
        return self.model_copy(update=brief).connect()

    def reach(self) -> None:
        """Check that the server answers and that client and server are compatible.

        Raises:
            ComponentError: The server cannot be reached, denies access, or has another version.
        """
        from recipekit.engines.qdrant.client import check_version

        with closing(self.connect_briefly()) as connection:
            check_version(connection, self)
