"""Whether an endpoint can be asked at all, seen without a call that anyone could bill."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from recipekit.errors import RunError
from recipekit.llm.client import OWN_SERVERS
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.environment import litellm
from recipekit.llm.setbacks import no_provider

__all__ = ["check_reach"]

KEYED = ("openai", "anthropic", "gemini", "mistral", "groq", "deepseek", "xai")
"""Providers that take nothing but a key, and whose variables litellm can name: of others it reads
more than it tells.
"""
SECONDS = 10.0
"""How long a server may take to accept a connection."""


def check_reach(model: str, endpoint: Endpoint) -> None:
    """See that a model has a provider, that there is a key where one is certainly needed, and that
    somebody listens at `api_base`.

    Whether the key is valid and the model served is told by the first call alone.

    Raises:
        RunError: No call could succeed.
    """
    if endpoint.api_base is not None:
        _connect(endpoint, model)
        if model.partition("/")[0] in OWN_SERVERS:
            return  # they serve models of any name; litellm, whose import takes seconds, would tell no more
    module = litellm()
    try:
        _, provider, found, _ = module.get_llm_provider(model=model, api_base=endpoint.api_base)
    except module.BadRequestError:
        raise no_provider(model) from None
    if (
        endpoint.api_base is None
        and provider in KEYED
        and not (endpoint.api_key or found or endpoint.headers)
    ):
        _see_key(model)


def _see_key(model: str) -> None:
    told = litellm().validate_environment(model)
    missing: list[str] = told["missing_keys"]
    if told["keys_in_environment"] or not missing or any(os.environ.get(name) for name in missing):
        return
    raise RunError(
        f"model {model}: no key for it: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set. "
        f"Set {missing[-1]}, or give the judge `api_key: ${{env:NAME}}`",
        code="RK651",
    )


def _connect(endpoint: Endpoint, model: str) -> None:
    parts = urlsplit(endpoint.api_base or "")
    if parts.username is not None:
        raise RunError(
            f"model {model}: `api_base` holds a user, beside whom no key can be sent. Give `headers: {{Authorization: ...}}` instead",
            code="RK651",
        )
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    proxies = getproxies()
    if (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(host):
        return  # the proxy reaches it, this machine perhaps not
    place = f"{model} at {endpoint.place(model)}"
    try:
        with closing(socket.create_connection((host, port), timeout=SECONDS)):
            return
    except socket.gaierror as error:
        raise RunError(
            f"{place}: no such host ({error.strerror}). Check `api_base`, and that this machine reaches the network",
            code="RK653",
        ) from None
    except OSError as error:
        said = "no answer" if isinstance(error, TimeoutError) else (error.strerror or str(error))
        raise RunError(
            f"{place}: cannot be reached ({said}). Start the server, or correct `api_base`",
            code="RK650",
        ) from None
