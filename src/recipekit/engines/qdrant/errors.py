"""Failures of a Qdrant server: how to recognize each kind, by REST and gRPC, and what to do."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import grpc
import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from recipekit.engines.remedies import SHARED_REMEDIES, Remedy
from recipekit.engines.retry import Failure, shortened
from recipekit.retries import retry_after

__all__ = ["REMEDIES", "failure_of"]

REMEDIES: Final = {
    **SHARED_REMEDIES,
    "unreachable": Remedy(
        "RK260",
        "cannot be reached ({text}): start it, or correct `url` (and `grpc_port` with "
        "`protocol: grpc`)",
    ),
    "timeout": Remedy(
        "RK261",
        "did not answer in time ({text}): raise `timeout`, or lower `batch_size` and `concurrency`",
    ),
    "unauthorized": Remedy(
        "RK263", "rejects the credentials ({text}): set a valid key as api_key: ${{env:NAME}}"
    ),
    "forbidden": Remedy(
        "RK263",
        "denies permission ({text}): use a key that may create and write collections, or name an "
        "existing `collection`",
    ),
    "missing": Remedy(
        "RK264",
        "does not exist ({text}): correct `collection`, or run again, which creates recipekit's "
        "own collection again",
    ),
    "incompatible": Remedy(
        "RK268",
        "sent a reply that qdrant-client {client} does not understand ({text}): install the "
        "client of its version",
    ),
}
"""By kind of failure: its code and message."""

OF_STATUS: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "missing",
    408: "timeout",
    429: "busy",
    503: "busy",
    504: "timeout",
    507: "full",
}
OF_CODE: Final = {
    "UNAVAILABLE": "lost",
    "INTERNAL": "failing",
    "UNKNOWN": "failing",
    "ABORTED": "failing",
    "DATA_LOSS": "failing",
    "DEADLINE_EXCEEDED": "timeout",
    "RESOURCE_EXHAUSTED": "busy",
    "CANCELLED": "lost",
    "UNAUTHENTICATED": "unauthorized",
    "PERMISSION_DENIED": "forbidden",
    "NOT_FOUND": "missing",
}
OF_FAULT: Final = {
    "exists": r"already exists",
    "full": r"no space left|out of disk|disk (is )?full|disk space|read-only file system|quota",
    "timeout": r"timed? ?out|timeout",
}
"""Qdrant reports every internal fault with the same status: these messages tell them apart."""


def failure_of(error: Exception) -> Failure | None:
    """Classify an exception of qdrant-client, httpx or gRPC; None for any other exception."""
    match error:
        case ResourceExhaustedResponse():
            text = f"429 {shortened(error.message)}"
            return Failure("busy", text, float(error.retry_after_s))
        case QdrantException():  # a Retry-After that is a date, which the client does not accept
            date = str(error).rpartition(": ")[2]
            return Failure("busy", "429", retry_after({"retry-after": date}))
        case UnexpectedResponse():
            message = _message(error.content) or error.reason_phrase
            return _of_status(error.status_code or 0, message, error.headers)
        case ResponseHandlingException():
            return _of_transport(error.source)
        case httpx.TransportError() | json.JSONDecodeError():
            return _of_transport(error)
        case grpc.RpcError():
            return _of_grpc(error)
    return None


def _of_status(status: int, message: str, headers: Any) -> Failure:
    text = f"{status} {shortened(message)}"
    kind = OF_STATUS.get(status, "failing" if status >= 500 else "invalid")
    if kind in ("failing", "invalid"):
        kind = _kind_of_fault(text, kind)
    return Failure(kind, text, retry_after(headers))


def _of_transport(error: Exception) -> Failure:
    text = shortened(str(error)) or type(error).__name__
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return Failure("unreachable", text)
        case httpx.TimeoutException():
            return Failure("timeout", text)
        case httpx.RemoteProtocolError() if "illegal" in text:  # not HTTP/1.1: the gRPC port
            return Failure("incompatible", text)
        case httpx.TransportError():
            return Failure("lost", text)
        case ValueError():  # not JSON, or JSON of another shape
            return Failure("incompatible", text)
    return Failure("failing", text)


def _of_grpc(error: Any) -> Failure:
    code, details = error.code().name, shortened(error.details() or "")
    text = f"{code} {details}".strip()
    kind = OF_CODE.get(code, "invalid")
    if code == "UNAVAILABLE" and "connect" in details.lower():
        kind = "unreachable"
    elif kind == "failing" and ("RST_STREAM" in details or "closed" in details):
        kind = "lost"
    elif kind in ("failing", "invalid") or "already exists" in details:
        kind = _kind_of_fault(details, kind)
    return Failure(kind, text)


def _kind_of_fault(text: str, otherwise: str) -> str:
    for kind, pattern in OF_FAULT.items():
        if re.search(pattern, text, re.IGNORECASE):
            return kind
    return otherwise


def _message(content: bytes) -> str:
    """The server's message in the body of a reply."""
    try:
        body = json.loads(content)
        return str(body["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")
