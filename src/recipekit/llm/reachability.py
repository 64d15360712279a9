"""Checks that an endpoint can be called, without a call that could be billed."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from recipekit.errors import RunError
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.failures import unknown_host, unknown_provider
from recipekit.llm.litellm_import import litellm

__all__ = ["check_connection", "check_reach"]

KEY_PROVIDERS = ("openai", "anthropic", "gemini", "mistral", "groq", "deepseek", "xai")
"""Providers that accept nothing but a key, whose variables litellm can name."""
OWN_SERVER_PROVIDERS = ("openai", "hosted_vllm")
"""Providers, as litellm names them, that serve models of any name."""
CONNECT_SECONDS = 5.0


def check_reach(model: str, endpoint: Endpoint) -> None:
    """Check that model, key and address can be used.

    The model must have a provider, its key must be set, and `api_base` must accept connections.
    Whether the key is valid and the model is served is known only after the first call.

    Raises:
        RunError: No call could succeed.
    """
    if endpoint.api_base is not None:
        _connect(endpoint, model)
        if model.partition("/")[0] in OWN_SERVER_PROVIDERS:
            return  # litellm, whose import takes seconds, has nothing to add
    module = litellm()
    try:
        _, provider, key, _ = module.get_llm_provider(model=model, api_base=endpoint.api_base)
    except module.BadRequestError:
        raise unknown_provider(model) from None
    has_credentials = endpoint.api_key or key or endpoint.headers
    if endpoint.api_base is None and provider in KEY_PROVIDERS and not has_credentials:
        _check_key_variables(model)


def check_connection(model: str, endpoint: Endpoint) -> None:
    """Check that `api_base`, if there is one, accepts connections.

    Raises:
        RunError: It does not.
    """
    if endpoint.api_base is not None:
        _connect(endpoint, model)


def _check_key_variables(model: str) -> None:
    result = litellm().validate_environment(model)
    missing: list[str] = result["missing_keys"]
    if result["keys_in_environment"] or not missing or any(map(os.environ.get, missing)):
        return
    verb = "is" if len(missing) == 1 else "are"
    raise RunError(
        f"model {model}: no key for it: {' and '.join(missing)} {verb} not set. "
        f"Set {missing[-1]}, or give the judge `api_key: ${{env:NAME}}`",
        code="RK651",
    )


def _connect(endpoint: Endpoint, model: str) -> None:
    parts = urlsplit(endpoint.api_base or "")
    if parts.username is not None:
        raise RunError(
            f"model {model}: `api_base` contains a user name, and then no key can be sent. "
            "Give `headers: {Authorization: ...}` instead",
            code="RK651",
        )
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    proxies = getproxies()
    if (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(host):
        return  # the proxy may reach a host that this machine does not
    location = f"{model} at {endpoint.location(model)}"
    try:
        with closing(socket.create_connection((host, port), timeout=CONNECT_SECONDS)):
            return
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: the name is not valid
        reason = getattr(error, "strerror", None) or error
        raise unknown_host(f"{location}: no such host ({reason})") from None
    except OSError as error:
        timed_out = isinstance(error, TimeoutError)
        detail = "no answer" if timed_out else (error.strerror or str(error))
        raise RunError(
            f"{location}: cannot be reached ({detail}). Start the server, or correct `api_base`",
            code="RK650",
        ) from None
