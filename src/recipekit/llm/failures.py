"""What an exception of litellm means: for the request, for the next attempt, or for the run."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from typing import Literal

from recipekit.errors import RunError, causes
from recipekit.llm.completion import RequestFailed
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.litellm_import import litellm
from recipekit.llm.rate_limiter import parse_duration
from recipekit.retries import retry_after

__all__ = ["RetryableError", "classify", "no_complete_reply", "unknown_host", "unknown_provider"]

NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "credit balance is too low")
NO_CREDIT_400 = re.compile(r"""(?:^|"message":\s*")your credit balance is too low""")
"""Anthropic's message. Only its beginning counts, since a 400 may quote a hostile passage."""
QUOTA_REFILLS = ("resource_exhausted", "retrydelay", "retry in")
"""Gemini mentions plan and billing also where only the current minute's quota is used up."""
RETRY_IN = re.compile(
    r"""(?:retrydelay['"]?\s*:\s*['"]|\b(?:re)?try (?:again )?in )"""
    r"""((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)"""
)
"""A delay in an error's text: `"retryDelay": "45s"`, `Please try again in 6m0s.`"""
REQUEST_TOO_LARGE = "request too large"
"""OpenAI's 429 for one request with more tokens than the account has per minute."""
INVALID_JSON_REPLY = re.compile(r"""["']code["']:\s*["']json_validate_failed["']""")
"""Groq's 400 about the reply, not the request. A quoted request would have escaped quotes."""
NOT_CONNECTED = ("ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionRefusedError")
NOT_JSON = (json.JSONDecodeError, UnicodeDecodeError)
MESSAGE_LENGTH = 300


class RetryableError(Exception):
    """A failed attempt; another one may succeed.

    `kind` is `rate_limited` (a 429), `unknown_host` (the host's name does not resolve),
    `unreadable` (the endpoint answers something other than a completion) or `failed` (anything
    else).
    """

    def __init__(
        self,
        kind: Literal["rate_limited", "unknown_host", "unreadable", "failed"],
        reason: str,
        *,
        retry_after: float | None = None,
        maybe_billed: bool = False,
        timed_out: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.retry_after = retry_after
        """Seconds that the endpoint asks to wait."""
        self.maybe_billed = maybe_billed
        """Whether the endpoint may have produced a reply, and may bill it."""
        self.timed_out = timed_out
        self.headers = headers or {}


def classify(
    error: Exception, endpoint: Endpoint, model: str
) -> RequestFailed | RetryableError | RunError:
    """What an exception of litellm means.

    Returns:
        `RequestFailed` if this request cannot succeed, `RetryableError` if another attempt may
        succeed, `RunError` if no request can succeed.
    """
    status = getattr(error, "status_code", None)
    headers: Mapping[str, str] = dict(getattr(error, "litellm_response_headers", None) or {})
    # Cut after masking, since half of a credential would not be recognized.
    text = endpoint.mask_secrets(_message(error))[:MESSAGE_LENGTH]
    reason = f"{status} {text}" if headers and status else text
    if fatal := _fatal(error, status, text, endpoint, model):
        return fatal
    if failed := _request_failure(error, status, reason):
        return failed
    if not_sent := _not_sent(error, endpoint, model):
        return not_sent
    if status == 429:
        wait = retry_after(headers)
        wait = _delay_in_text(error) if wait is None else wait
        return RetryableError("rate_limited", reason, retry_after=wait, headers=headers)
    timed_out = isinstance(error, litellm().Timeout)
    if timed_out and not headers:
        return no_complete_reply(endpoint)
    if not headers and status != 400:
        # No status arrived: the connection broke, or the body is not a completion.
        not_json = any(isinstance(cause, NOT_JSON) for cause in causes(error))
        return RetryableError("unreadable" if not_json else "failed", text, maybe_billed=True)
    if status in (409, 425) or status is None or status >= 500 or timed_out:
        # After a gateway's time-out, the model behind it may have answered nevertheless.
        late = timed_out or status in (504, 524)
        return RetryableError(
            "failed",
            reason,
            retry_after=retry_after(headers),
            maybe_billed=late,
            timed_out=late,
            headers=headers,
        )
    return RequestFailed("bad_request", reason, status=status)


def no_complete_reply(endpoint: Endpoint) -> RetryableError:
    """The error for a call that reached its time-out."""
    reason = f"no complete reply within {endpoint.timeout:g} s"
    return RetryableError("failed", reason, maybe_billed=True, timed_out=True)


def unknown_host(reason: str) -> RunError:
    """The error for a host whose name does not resolve."""
    return RunError(
        f"{reason}. Check `api_base`, and that this machine reaches the network", code="RK653"
    )


def unknown_provider(model: str) -> RunError:
    """The error for a model name in which litellm finds no provider."""
    return RunError(
        f"model {model!r}: has no provider. Write it as litellm does, `openai/gpt-5-nano`; a "
        "server of your own that speaks the OpenAI protocol is `openai/NAME` with "
        "`api_base: http://HOST:PORT/v1`",
        code="RK652",
    )


def _fatal(
    error: Exception, status: int | None, text: str, endpoint: Endpoint, model: str
) -> RunError | None:
    """What is the same for every request."""
    location = f"{model} at {endpoint.location(model)}"
    answered = bool(getattr(error, "litellm_response_headers", None))
    if status == 401:
        return RunError(
            f"{location}: refused the credentials ({status} {text}). Give the judge "
            "`api_key: ${env:NAME}`, or set the variable that litellm reads for this provider "
            "(OPENAI_API_KEY, ANTHROPIC_API_KEY, ...)",
            code="RK651",
        )
    if "missing credentials" in text.lower() and not answered:
        return RunError(
            f"{location}: there is no key for it. Set the variable that litellm reads for this "
            "provider (OPENAI_API_KEY, AZURE_API_KEY, ...), or give the judge "
            "`api_key: ${env:NAME}`",
            code="RK651",
        )
    if status == 404:
        return RunError(
            f"{location}: does not know this model or address ({text}). Check `model`, and that "
            "`api_base` ends as the server expects (`/v1` for most)",
            code="RK652",
        )
    if status == 402 or _has_no_credit(error, status):
        return RunError(
            f"{location}: the account has no credit left ({text}). Top it up, and run the same "
            "command again",
            code="RK654",
        )
    if isinstance(error, litellm().BadRequestError) and "LLM Provider NOT provided" in str(error):
        return unknown_provider(model)
    if advice := _why_not_sendable(error):
        return RunError(f"{location}: no request can be made ({text}). {advice}", code="RK656")
    return None


def _has_no_credit(error: Exception, status: int | None) -> bool:
    if status == 400:
        return NO_CREDIT_400.search(_message(error).lower()) is not None
    text = _full_text(error)
    no_credit = any(phrase in text for phrase in NO_CREDIT)
    return status == 429 and no_credit and not any(phrase in text for phrase in QUOTA_REFILLS)


def _why_not_sendable(error: Exception) -> str | None:
    """What to do if litellm fails before it sends anything; only causes that no reply can have."""
    for cause in causes(error):
        if isinstance(cause, ImportError):
            return "litellm needs a package for this provider that is not installed"
        if isinstance(cause, UnicodeEncodeError) and cause.encoding in ("ascii", "latin-1"):
            return "The key or a header contains a character that cannot be sent in a header"
    return None


def _request_failure(error: Exception, status: int | None, reason: str) -> RequestFailed | None:
    """What only this request meets."""
    # litellm turns Anthropic's 413 into a 400.
    too_many_bytes = any(getattr(cause, "status_code", None) == 413 for cause in causes(error))
    too_many_tokens = status == 429 and REQUEST_TOO_LARGE in _full_text(error)
    context_exceeded = isinstance(error, litellm().ContextWindowExceededError)
    if context_exceeded or too_many_bytes or too_many_tokens:
        return RequestFailed("too_long", reason, status=status)
    if status == 400 and INVALID_JSON_REPLY.search(_full_text(error)):
        return RequestFailed("empty", reason, status=status)
    if isinstance(error, litellm().ContentPolicyViolationError) or status == 403:
        # Some gateways moderate with a 403. If it is about the credentials, all requests meet it.
        return RequestFailed("content_filter", reason, status=status)
    for cause in causes(error):
        if isinstance(cause, UnicodeEncodeError) and cause.encoding == "utf-8":
            return RequestFailed("bad_request", reason)  # a lone surrogate cannot be sent
    return None


def _not_sent(error: Exception, endpoint: Endpoint, model: str) -> RetryableError | None:
    """A connection that could not be opened."""
    location = endpoint.location(model)
    chain = list(causes(error))
    for cause in chain:
        # A host name that cannot be encoded raises UnicodeError or an idna error.
        if type(cause) is UnicodeError or getattr(cause, "encoding", None) == "idna":
            return RetryableError("unknown_host", f"{location}: no such host ({cause})")
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            return RetryableError("unknown_host", f"{location}: no such host ({cause.strerror})")
    if any(type(cause).__name__ in NOT_CONNECTED for cause in chain):
        detail = endpoint.mask_secrets(str(chain[-1]) or type(chain[-1]).__name__)
        return RetryableError("failed", f"{location}: cannot be reached ({detail})")
    return None


def _delay_in_text(error: Exception) -> float | None:
    """Seconds that the error's text asks to wait, the longest if there are several."""
    delays = [parse_duration(text) or 0.0 for text in RETRY_IN.findall(_full_text(error))]
    return max(delays, default=None)


def _full_text(error: Exception) -> str:
    return f"{error} {getattr(error, 'body', None) or ''}".lower()


def _message(error: Exception) -> str:
    """The endpoint's message without litellm's wrapping, or the beginning of a non-JSON body."""
    for cause in causes(error):
        if isinstance(cause, json.JSONDecodeError):
            return _not_json(cause.doc)
        if isinstance(cause, UnicodeDecodeError):
            return _not_json(cause.object.decode("utf-8", "replace"))
    text = str(getattr(error, "message", "") or error).strip()
    _, wrapper, own = text.partition("Exception - ")
    lines = (own if wrapper else text).splitlines()
    return lines[0] if lines else type(error).__name__


def _not_json(body: str) -> str:
    return f"the reply is not JSON: {' '.join(body.split())[:80]!r}"
