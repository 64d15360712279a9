"""What failed at a Qdrant server, told alike for REST and gRPC."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import httpx

from recipekit.engines.failures import Failure, short
from recipekit.engines.retry import retry_after

__all__ = ["failure_of"]

_FULL: Final = re.compile(
    r"no space left|out of disk|disk (is )?full|disk space|read-only file system|quota",
    re.IGNORECASE,
)
_TIMED_OUT: Final = re.compile(r"timed? ?out|timeout", re.IGNORECASE)
_EXISTS: Final = re.compile(r"already exists", re.IGNORECASE)


def failure_of(error: Exception) -> Failure | None:
    """What an exception of qdrant-client, httpx or gRPC tells; None for one of somebody else."""
    import grpc
    from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, ResourceExhaustedResponse):
        return Failure("busy", f"429 {short(error.message)}", float(error.retry_after_s))
    if isinstance(
        error, QdrantException
    ):  # the client wants Retry-After as a whole number; dates are just as valid
        return Failure("busy", "429", retry_after({"retry-after": str(error).rpartition(": ")[2]}))
    if isinstance(error, UnexpectedResponse):
        return _of_status(
            error.status_code or 0, _words(error.content) or error.reason_phrase, error.headers
        )
    if isinstance(error, ResponseHandlingException):
        return _of_transport(error.source)
    if isinstance(error, httpx.TransportError | json.JSONDecodeError):
        return _of_transport(error)
    if isinstance(error, grpc.RpcError):
        return _of_grpc(error)
    return None


def _of_status(status: int, text: str, headers: Any) -> Failure:
    text = f"{status} {short(text)}"
    if status in (429, 503):
        return Failure("busy", text, retry_after(headers))
    if status in (408, 504):
        return Failure("timeout", text)
    if _EXISTS.search(text):
        return Failure("exists", text)
    if status >= 500:
        return Failure(_kind_of_fault(text), text)
    return Failure(
        {401: "unauthorized", 403: "forbidden", 404: "missing", 507: "full"}.get(status, "invalid"),
        text,
    )


def _kind_of_fault(text: str) -> str:
    """What a fault inside the server is, by its words: it has one status for all of them."""
    if _FULL.search(text):
        return "full"
    return "timeout" if _TIMED_OUT.search(text) else "failing"


def _of_transport(source: Exception) -> Failure:
    text = short(str(source)) or type(source).__name__
    if isinstance(source, httpx.ConnectError | httpx.ConnectTimeout):
        return Failure("unreachable", text)
    if isinstance(source, httpx.TimeoutException):
        return Failure("timeout", text)
    if (
        isinstance(source, httpx.RemoteProtocolError) and "illegal" in text
    ):  # not HTTP/1.1: the gRPC port, for one
        return Failure("incomprehensible", text)
    if isinstance(source, httpx.TransportError):
        return Failure("lost", text)
    if isinstance(source, ValueError):  # no JSON, or JSON of another shape
        return Failure("incomprehensible", text)
    return Failure("failing", text)


def _of_grpc(error: Any) -> Failure:
    code, text = error.code().name, short(error.details() or "")
    text = f"{code} {text}".strip()
    if _EXISTS.search(text):
        return Failure("exists", text)
    if code == "UNAVAILABLE":
        return Failure("unreachable" if "connect" in text.lower() else "lost", text)
    if code in ("INTERNAL", "UNKNOWN", "ABORTED"):
        return Failure(
            "lost" if "RST_STREAM" in text or "closed" in text else _kind_of_fault(text), text
        )
    kinds = {
        "DEADLINE_EXCEEDED": "timeout", "RESOURCE_EXHAUSTED": "busy", "CANCELLED": "lost", "UNAUTHENTICATED": "unauthorized",
        "PERMISSION_DENIED": "forbidden", "NOT_FOUND": "missing", "DATA_LOSS": "failing",
    }  # fmt: skip
    return Failure(kinds.get(code, "invalid"), text)


def _words(content: bytes) -> str:
    """The server's own sentence in the body of an answer."""
    try:
        said = json.loads(content)
        return str(said["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")
