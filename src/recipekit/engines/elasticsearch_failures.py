"""What failed at an Elasticsearch server: whole requests, and single items of a `_bulk` or an
`_msearch`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from recipekit.engines.failures import Failure, short
from recipekit.engines.retry import retry_after

__all__ = ["ItemFailed", "failure_of", "failure_of_status"]

OF_STATUS: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "missing",
    408: "timeout",
    413: "too_large",
    429: "busy",
    503: "busy",
}
_FULL: Final = re.compile(
    r"flood-stage watermark|read-only-allow-delete|no space left", re.IGNORECASE
)
_READ_ONLY: Final = re.compile(
    r"FORBIDDEN/\d+/index read-only|FORBIDDEN/\d+/index write", re.IGNORECASE
)
_CLAUSES: Final = re.compile(r"maxClauseCount is set to (\d+)|too_many_(?:nested_)?clauses")


class ItemFailed(Exception):
    """The server took a request whole, but failed at a part of it."""

    def __init__(self, failure: Failure, what: str = "") -> None:
        super().__init__(failure.text)
        self.failure = failure
        self.what = what
        """The part, for the error: `passage 'x'`."""


def failure_of(error: Exception) -> Failure | None:
    """What an exception of the client tells; None for one of somebody else."""
    import elasticsearch as client

    if isinstance(error, ItemFailed):
        return error.failure
    if isinstance(error, client.UnsupportedProductError):
        return Failure("other_product", short(error.message))
    if isinstance(error, client.ApiError):
        return failure_of_status(error.meta.status, error.body, error.meta.headers)
    if isinstance(error, client.SSLError):
        return Failure("untrusted", short(error.message))
    if isinstance(error, client.ConnectionTimeout):
        return Failure("timeout", short(error.message))
    if isinstance(error, client.ConnectionError):
        refused = re.search(
            r"Failed to establish|Name or service|Name resolution|resolve|refused|unreachable",
            error.message,
            re.IGNORECASE,
        )
        return Failure("unreachable" if refused else "lost", _plain(error.message))
    if isinstance(error, client.SerializationError):
        return Failure("incomprehensible", short(error.message))
    return None


def failure_of_status(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Failure:
    """What an HTTP status and an error's JSON tell, of a whole reply or of one item in it."""
    reasons = list(dict.fromkeys(_reasons(body)))
    said = "; ".join(reasons)
    text = short(f"{status} {said}" if said else str(status))
    if clauses := _CLAUSES.search(said):
        return Failure("clauses", text, clauses=int(clauses[1] or 1024))
    if _FULL.search(said):
        return Failure("full", text)
    if _READ_ONLY.search(said):
        return Failure("read_only", text)
    if status in (400, 406) and "media_type_header_exception" in said:
        return Failure("incomprehensible", text)
    if (
        status == 404
        and reasons
        and "index_not_found" not in said
        and "search_context_missing" in said
    ):
        return Failure("expired", text)
    if status in (502, 504) or status >= 500:
        return Failure(OF_STATUS.get(status, "failing"), text, retry_after(headers or {}))
    return Failure(OF_STATUS.get(status, "invalid"), text, retry_after(headers or {}))


def _reasons(body: Any) -> Iterator[str]:
    """The sentences in an error, outermost first."""
    if isinstance(body, str):
        yield body
    if isinstance(body, list):
        for item in body:
            yield from _reasons(item)
    if isinstance(body, Mapping):
        if isinstance(body.get("type"), str) and "reason" in body:
            yield (
                f"{body['type']}: {body['reason']}"
                if isinstance(body["reason"], str)
                else body["type"]
            )
        for name in ("error", "caused_by", "failed_shards", "failures", "reason"):
            if isinstance(body.get(name), Mapping | list) or name == "error":
                yield from _reasons(body.get(name))


def _plain(message: str) -> str:
    """A connection's failure without the objects' addresses that urllib3 writes into it."""
    return short(re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>:? ?|\w+\((?=['\"<])", "", message))
