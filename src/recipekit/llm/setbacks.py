"""What a failed call means: for this request, for the next attempt, for the money, or for the whole
run.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Literal

from recipekit.engines import retry_after
from recipekit.errors import RunError
from recipekit.llm.calls import Failure
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.environment import litellm
from recipekit.llm.pace import seconds_of

__all__ = ["Setback", "no_provider", "understood", "wrong_credentials"]

NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "credit balance is too low")
NO_CREDIT_400 = re.compile(r"""(?:^|"message":\s*")your credit balance is too low""")
"""As Anthropic says it; as the message's beginning alone, since a 400 may quote a request, and with
it a hostile passage.
"""
COMES_BACK = ("resource_exhausted", "retrydelay", "retry in")
"""Of a quota that fills up again: what Gemini says of the current minute, also where it speaks of
plan and billing.
"""
ASKED = re.compile(
    r"""(?:retrydelay['"]?\s*:\s*['"]|\b(?:re)?try (?:again )?in )((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)"""
)
"""A delay within an error's words.

`"retryDelay": "45s"`, `Please retry in 45.57s.`, `Please try again in 6m0s.`
"""
LARGE = "request too large"
"""Of a 429 that comes again however long one waits.

OpenAI's for one request with more tokens than the account has a minute.
"""
NO_JSON = re.compile(r"""["']code["']:\s*["']json_validate_failed["']""")
"""Of a 400 that is about the answer, and not the request: Groq's code, where the model wrote no
JSON, or not by the schema. What a 400 quotes of a request or an answer has its quotes escaped."""
UNREACHED = ("ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionRefusedError")


class Setback(Exception):
    """A failure that another attempt may not meet."""

    def __init__(
        self,
        reason: str,
        kind: Literal["limited", "unreached", "unknown_host", "failed", "lost"],
        *,
        asked: float | None = None,
        maybe_paid: bool = False,
        timed_out: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        """`limited`: 429.

        `unreached`: never sent; `failed`: an error status; `lost`: sent, and no whole answer came.
        """
        self.asked = asked
        """Seconds that the endpoint asked to wait."""
        self.maybe_paid = maybe_paid
        """Whether the endpoint may have made an answer, and may bill it."""
        self.timed_out = timed_out
        self.headers = headers or {}


def understood(error: Exception, endpoint: Endpoint, model: str) -> Failure | Setback | RunError:
    """What litellm's exception says: no answer for good, a reason to try again, or the end of the
    run.
    """
    status = getattr(error, "status_code", None)
    headers: Mapping[str, str] = dict(getattr(error, "litellm_response_headers", None) or {})
    text = endpoint.clean(_message(error))[
        :300
    ]  # cut last: half of a credential would not be known for one
    reason = f"{status} {text}" if headers and status else text
    if fatal := _fatal(error, status, text, endpoint, model):
        return fatal
    if (
        isinstance(error, litellm().ContextWindowExceededError)
        or _too_large(error)
        or (status == 429 and LARGE in _said(error))
    ):
        return Failure("too_long", reason, status=status)
    if status == 400 and NO_JSON.search(_said(error)):
        return Failure("unparsed", reason, status=status)
    if isinstance(error, litellm().ContentPolicyViolationError) or status == 403:
        # 403 also says that the credentials do not suffice, but then it says so of every request:
        # see `Attempts`.
        return Failure("content_filter", reason, status=status)
    if any(
        isinstance(cause, UnicodeEncodeError) and cause.encoding == "utf-8"
        for cause in _causes(error)
    ):  # half a surrogate pair
        return Failure("bad_request", reason)
    if unsent := _unsent(error, endpoint, model):
        return unsent
    if status == 429:
        told = retry_after(headers)
        return Setback(
            reason, "limited", asked=_asked(error) if told is None else told, headers=headers
        )
    timed_out = isinstance(error, litellm().Timeout)
    if (
        not headers and status != 400
    ):  # no status came: the connection broke, or what came is no reply
        return Setback(text, "lost", maybe_paid=True, timed_out=timed_out)
    if status in (409, 425) or status is None or status >= 500 or timed_out:
        # A gateway's time-out says nothing of the model behind it, which may have answered by then.
        late = timed_out or status in (504, 524)
        return Setback(
            reason,
            "failed",
            asked=retry_after(headers),
            maybe_paid=late,
            timed_out=late,
            headers=headers,
        )
    return Failure("bad_request", reason, status=status)


def no_provider(model: str) -> RunError:
    """The error for a model's name of which litellm cannot tell who serves it."""
    return RunError(
        f"model {model!r}: names no provider. Write it as litellm does, `openai/gpt-5-nano`; a server of your own that speaks "
        "the OpenAI protocol is `openai/NAME` with `api_base: http://HOST:PORT/v1`",
        code="RK652",
    )


def wrong_credentials(place: str, reason: str) -> RunError:
    """The error for an endpoint that lets nobody in with the key that it is given."""
    return RunError(
        f"{place}: refused the credentials ({reason}). Give the judge `api_key: ${{env:NAME}}`, "
        "or set the variable that litellm reads for this provider (OPENAI_API_KEY, ANTHROPIC_API_KEY, ...)",
        code="RK651",
    )


def _fatal(
    error: Exception, status: int | None, text: str, endpoint: Endpoint, model: str
) -> RunError | None:
    """What will be the same for every request."""
    place = f"{model} at {endpoint.place(model)}"
    if status == 401:
        return wrong_credentials(place, f"{status} {text}")
    if "missing credentials" in text.lower() and not getattr(
        error, "litellm_response_headers", None
    ):  # the client's own word
        return RunError(
            f"{place}: there is no key for it. Set the variable that litellm reads for this provider (OPENAI_API_KEY, "
            "AZURE_API_KEY, ...), or give the judge `api_key: ${env:NAME}`",
            code="RK651",
        )
    if status == 404:
        return RunError(
            f"{place}: knows no such model or address ({text}). Check `model`, and that `api_base` ends as the server wants it "
            "(`/v1` for most)",
            code="RK652",
        )
    if status == 402 or _no_credit(error, status):
        return RunError(
            f"{place}: the account has no credit left ({text}). Top it up, and run the same command again",
            code="RK654",
        )
    if isinstance(error, litellm().BadRequestError) and "LLM Provider NOT provided" in str(error):
        return no_provider(model)
    if advice := _unsendable(error):
        return RunError(
            f"{place}: no request can be made for it here ({text}). {advice}", code="RK656"
        )
    return None


def _too_large(error: Exception) -> bool:
    """Whether the endpoint said 413, of which litellm makes a 400 for Anthropic."""
    return any(getattr(cause, "status_code", None) == 413 for cause in _causes(error))


def _unsendable(error: Exception) -> str | None:
    """What to do where litellm fails before it sends anything; only of causes that no reply can
    have.
    """
    for cause in _causes(error):
        if isinstance(cause, ImportError):
            return "litellm needs a package for this provider that is not installed"
        if isinstance(cause, UnicodeEncodeError) and cause.encoding in ("ascii", "latin-1"):
            return "A key or a header holds a character that cannot be sent in one"
    return None


def _no_credit(error: Exception, status: int | None) -> bool:
    if status == 400:
        return NO_CREDIT_400.search(_message(error).lower()) is not None
    said = _said(error)
    return (
        status == 429
        and any(words in said for words in NO_CREDIT)
        and not any(words in said for words in COMES_BACK)
    )


def _asked(error: Exception) -> float | None:
    """Seconds to wait that the endpoint asks for in words alone, the longest where it names
    several.
    """
    return max((seconds_of(match) or 0.0 for match in ASKED.findall(_said(error))), default=None)


def _said(error: Exception) -> str:
    """All of the endpoint's words, in lower case."""
    return f"{error} {getattr(error, 'body', None) or ''}".lower()


def _unsent(error: Exception, endpoint: Endpoint, model: str) -> Setback | None:
    """A connection that never stood."""
    chain = list(_causes(error))
    for cause in chain:
        if (
            type(cause) is UnicodeError or getattr(cause, "encoding", None) == "idna"
        ):  # of the host's name
            return Setback(f"{endpoint.place(model)}: no such host ({cause})", "unknown_host")
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            return Setback(
                f"{endpoint.place(model)}: no such host ({cause.strerror})", "unknown_host"
            )
    if any(type(cause).__name__ in UNREACHED for cause in chain):
        return Setback(
            f"{endpoint.place(model)}: cannot be reached ({endpoint.clean(str(chain[-1]) or type(chain[-1]).__name__)})",
            "unreached",
        )
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _message(error: Exception) -> str:
    """The endpoint's own words, without litellm's wrapping; of what is no reply, its beginning."""
    for cause in _causes(error):
        if isinstance(cause, json.JSONDecodeError | UnicodeDecodeError):
            page = (
                cause.doc
                if isinstance(cause, json.JSONDecodeError)
                else cause.object.decode("utf-8", "replace")
            )
            return f"answered with what is no JSON: {' '.join(page.split())[:80]!r}"
    text = str(getattr(error, "message", "") or error).strip()
    _, wrapped, own = text.partition("Exception - ")
    lines = (own if wrapped else text).splitlines()
    return lines[0] if lines else type(error).__name__
