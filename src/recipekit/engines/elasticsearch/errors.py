"""Failures of an Elasticsearch server: how to recognize each kind, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import elasticsearch

from recipekit.engines.remedies import SHARED_REMEDIES, Remedy
from recipekit.engines.retry import Failure, shortened
from recipekit.retries import retry_after

__all__ = ["REMEDIES", "clause_limit", "failure_of", "failure_of_shards", "failure_of_status"]

REMEDIES: Final = {
    **SHARED_REMEDIES,
    "unreachable": Remedy("RK260", "cannot be reached ({text}): start it, or correct `url`"),
    "untrusted": Remedy(
        "RK260",
        "has an untrusted certificate ({text}): set `ca_certs` to the certificate of its authority",
    ),
    "timeout": Remedy(
        "RK261", "did not answer in time ({text}): raise `timeout`, or lower `concurrency`"
    ),
    "partial": Remedy(
        "RK262",
        "searched only part of the index ({text}): check the health of its shards, then run again",
    ),
    "unauthorized": Remedy(
        "RK263",
        "rejects the credentials ({text}): set `api_key`, `username` and `password`, or "
        "`bearer_token`",
    ),
    "forbidden": Remedy("RK263", "denies permission ({text}): use credentials that have it"),
    "missing": Remedy(
        "RK264",
        "does not exist ({text}): correct `index`, or run again, which creates recipekit's own "
        "index again",
    ),
    "expired": Remedy("RK264", "dropped the point in time of this read ({text}): run again"),
    "read_only": Remedy(
        "RK265",
        "is read-only ({text}): remove the block, then run again; what is loaded is kept",
    ),
    "analyzer": Remedy(
        "RK267",
        "cannot use this `analyzer` ({text}): name one that the server has, or install its plugin",
    ),
    "clauses": Remedy("RK267", "rejects the query as too long ({text})"),
    "window": Remedy("RK267", "cannot return so many hits per query ({text}): lower `depth`"),
    "too_large": Remedy(
        "RK267",
        "rejects a request of this size ({text}): raise http.max_content_length on the server",
    ),
    "incompatible": Remedy(
        "RK268",
        "does not understand elasticsearch-py {client} ({text}): a client serves its own major "
        "version and the next one",
    ),
    "other_product": Remedy("RK268", "is not Elasticsearch ({text}): correct `url`"),
}
"""By kind of failure: its code and message."""

OF_STATUS: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "missing",
    408: "timeout",
    413: "too_large",
    429: "busy",
    503: "busy",
}
OF_REASON: Final = {
    "full": r"flood-stage watermark|read-only-allow-delete|no space left",
    "read_only": r"FORBIDDEN/\d+/index (read-only|write)",
    "exists": r"resource_already_exists",
    "expired": r"search_context_missing",
    "analyzer": r"analyzer \[.*\] has not been configured",
    "incompatible": r"media_type_header_exception",
    "window": r"index\.max_result_window",
    "clauses": r"maxClauseCount is set to \d+|too_many_(nested_)?clauses",
}
"""By kind of failure, what the server's reason says. A status alone is ambiguous."""
REFUSED: Final = re.compile(r"Failed to establish|Name or service|resol|refused|unreachable", re.I)


def failure_of(error: Exception) -> Failure | None:
    """Classify an exception of the client; None for any other exception."""
    match error:
        case elasticsearch.UnsupportedProductError():
            return Failure("other_product", shortened(error.message))
        case elasticsearch.ApiError():
            failure = failure_of_status(error.meta.status, error.body, error.meta.headers)
            is_elasticsearch = error.meta.headers.get("x-elastic-product") == "Elasticsearch"
            if failure.kind in ("missing", "invalid") and not is_elasticsearch:
                return Failure("other_product", f"{failure.text}, no X-Elastic-Product header")
            return failure
        case elasticsearch.SSLError():
            return Failure("untrusted", shortened(error.message))
        case elasticsearch.ConnectionTimeout():
            return Failure("timeout", shortened(error.message))
        case elasticsearch.ConnectionError():
            kind = "unreachable" if REFUSED.search(error.message) else "lost"
            return Failure(kind, _without_addresses(error.message))
        case elasticsearch.SerializationError():
            return Failure("incompatible", shortened(error.message))
    return None


def failure_of_status(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Failure:
    """Classify the status and the body of a reply, or of one item in it."""
    reason = "; ".join(dict.fromkeys(_reasons(body)))
    text = shortened(f"{status} {reason}".strip())
    for kind, pattern in OF_REASON.items():
        if re.search(pattern, reason, re.IGNORECASE):
            return Failure(kind, text)
    kind = OF_STATUS.get(status, "failing" if status >= 500 else "invalid")
    return Failure(kind, text, retry_after(headers or {}))


def failure_of_shards(reply: Mapping[str, Any]) -> Failure | None:
    """Classify the reply to a search; None if it covers the whole index."""
    if "error" in reply:
        return failure_of_status(int(reply["status"]), reply["error"])
    if reply.get("timed_out"):
        return Failure("partial", "a search timed out on the server")
    shards = reply.get("_shards", {})
    if shards.get("failed"):
        reason = "; ".join(dict.fromkeys(_reasons(shards.get("failures", []))))
        text = f"{shards['failed']} of {shards.get('total')} shards failed: {reason}"
        return Failure("partial", shortened(text))
    return None


def clause_limit(failure: Failure) -> int:
    """The most words that the server accepts in one query, from a failure of kind `clauses`."""
    limit = re.search(r"maxClauseCount is set to (\d+)", failure.text)
    return int(limit[1]) if limit else 1024


def _reasons(body: Any) -> Iterator[str]:
    """The messages in an error's JSON, outermost first."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, list):
        for item in body:
            yield from _reasons(item)
    elif isinstance(body, Mapping):
        if isinstance(body.get("type"), str) and "reason" in body:
            is_text = isinstance(body["reason"], str)
            yield f"{body['type']}: {body['reason']}" if is_text else body["type"]
        yield from _reasons(body.get("error"))
        for name in ("caused_by", "failed_shards", "failures", "reason"):
            if isinstance(body.get(name), Mapping | list):
                yield from _reasons(body[name])


def _without_addresses(message: str) -> str:
    """A connection's message without the addresses of objects that urllib3 writes into it."""
    return shortened(re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>:? ?|\w+\((?=['\"<])", "", message))
