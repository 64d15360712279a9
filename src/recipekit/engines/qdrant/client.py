"""Making a Qdrant client, and checking what it talks to."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

from qdrant_client import QdrantClient

from recipekit.engines.connection import Connection
from recipekit.engines.qdrant.access import QdrantAccess
from recipekit.engines.qdrant.errors import REMEDIES, failure_of
from recipekit.errors import ComponentError

__all__ = ["check_version", "connect"]

OLDEST: Final = (1, 16)
"""The first server that stores metadata with a collection, which holds the ownership tag."""
GRPC_OPTIONS: Final = {"grpc.max_reconnect_backoff_ms": 1000, "grpc.enable_http_proxy": 0}


def connect(
    access: QdrantAccess, warn: Callable[[str], None] = lambda message: None
) -> Connection[QdrantClient]:
    """Make a client. It opens no connection yet."""
    client = QdrantClient(
        url=access.url,
        # As `api_key`, the client would print its own warning about http at every use.
        headers={"api-key": access.api_key} if access.api_key else None,
        prefer_grpc=access.protocol == "grpc",
        grpc_port=access.grpc_port,
        grpc_options=dict(GRPC_OPTIONS),
        timeout=max(1, round(access.timeout)),
        check_compatibility=False,
    )
    return Connection(
        client,
        package="qdrant-client",
        server=f"Qdrant at {access.address}",
        noun="collection",
        failure_of=failure_of,
        remedies=REMEDIES,
        max_retries=access.max_retries,
        warn=warn,
    )


def check_version(connection: Connection[QdrantClient], access: QdrantAccess) -> None:
    """Check that client and server are compatible.

    Raises:
        ComponentError: They are not, or the server cannot be reached.
    """
    server_version = _server_version(connection)
    installed = version("qdrant-client")
    server, client = _major_minor(server_version), _major_minor(installed)
    subject = f"{connection.server} is version {server_version}"
    install = f"install qdrant-client {server[0]}.{server[1]}"
    if server < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ComponentError(f"{subject}; recipekit needs {oldest} or later", code="RK268")
    if server[0] != client[0]:
        raise ComponentError(
            f"{subject}, which qdrant-client {installed} does not support: {install}, "
            f"or a server of version {client[0]}",
            code="RK268",
        )
    if abs(server[1] - client[1]) > 1:
        connection.warn(
            f"{subject}, but qdrant-client {installed} supports servers at most one minor version "
            f"away: if a request fails, {install}"
        )
    url = urlsplit(access.url)
    is_local = url.hostname in ("localhost", "127.0.0.1", "::1")
    if access.api_key and url.scheme == "http" and not is_local:
        connection.warn(f"{connection.server}: the API key is sent unencrypted; use https")


def _server_version(connection: Connection[QdrantClient]) -> str:
    try:
        return str(connection.call(lambda client: client.info()).version)
    except ComponentError as error:
        cause = error.__cause__
        failure = failure_of(cause) if isinstance(cause, Exception) else None
        if failure is None or failure.kind not in ("missing", "invalid", "incompatible"):
            raise
        raise ComponentError(
            f"{connection.server} is not Qdrant's REST interface ({failure.text}): correct `url`",
            code="RK268",
        ) from error


def _major_minor(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)
