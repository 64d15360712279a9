"""What an error of the Hugging Face Hub means, in one line without the token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recipekit.encoding.model_files import hub_http_error
from recipekit.errors import StoreError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

__all__ = ["failed"]

LOG_IN = "log in with `hf auth login`, or set the variable HF_TOKEN"


def failed(repository_id: str, address: str, what: str, error: Exception) -> StoreError:
    """Return the error for a repository that cannot be used.

    Args:
        repository_id: `OWNER/NAME`.
        address: The repository as messages name it.
        what: What could not be done: `cannot be read`.
        error: The client's error.
    """
    reason = _without_token(_reason(repository_id, error))
    return StoreError(f"{address}: {what}: {reason}", code="RK534")


def _reason(repository_id: str, error: Exception) -> str:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        return _reason(repository_id, error.__cause__)  # of one file's upload
    if isinstance(error, HfHubHTTPError):
        return _refusal(repository_id, error)
    if isinstance(error, OfflineModeIsEnabled):
        return "the variable HF_HUB_OFFLINE is set"
    if isinstance(error, (ConnectionError, TimeoutError, hub_http_error())):
        return f"the Hub cannot be reached ({type(error).__name__})"
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _refusal(repository_id: str, error: HfHubHTTPError) -> str:
    """Return what an answer of the Hub means."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    log_in = "" if get_token() else f": {LOG_IN}"
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return (
            f"access to it is restricted; request access on the page of {repository_id} on the Hub"
            f"{log_in}"
        )
    if isinstance(error, RevisionNotFoundError):
        return "it has no such revision"
    if isinstance(error, RepositoryNotFoundError):
        reader = "" if log_in else " and the token cannot read it"
        return f"there is no such repository, or it is private{reader}{log_in}"
    if status == 401:
        return f"the Hub does not accept the token; {LOG_IN}"
    if status == 403:
        owner = repository_id.partition("/")[0]
        return f"the token has no write access to '{owner}'"
    if status in (409, 412):
        return "it was changed at the same time; try again"
    lines = str(error).strip().splitlines() or [f"HTTP {status}"]
    return lines[-1]  # the Hub's own words come last


def _without_token(text: str) -> str:
    """Return a text without the token, which an HTTP client's message can quote."""
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "***") if token else text
