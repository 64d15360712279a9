"""litellm, imported so that it reads no `.env`, fetches nothing, and writes nothing to the
terminal.
"""

from __future__ import annotations

import logging
import os
import warnings
from functools import cache
from importlib import import_module
from types import ModuleType

__all__ = ["litellm"]

QUIET = {
    "LITELLM_MODE": "PRODUCTION",  # anything else loads the project's .env into this process
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # prices from the installed package, not from the network
}


@cache
def litellm() -> ModuleType:
    """Import litellm, set for certain, and return it.

    It takes seconds: call it where the first request is made.
    """
    os.environ.update(QUIET)
    module = import_module("litellm")
    module.suppress_debug_info = True  # type: ignore[attr-defined]
    module.telemetry = False  # type: ignore[attr-defined]
    module.num_retries = None  # type: ignore[attr-defined]
    # What it logs of a failed call may hold the credentials; every failure reaches us as an
    # exception anyway.
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # It makes a provider's coroutine in a thread; a call that is cancelled meanwhile leaves it
    # unawaited, which harms nothing.
    warnings.filterwarnings(
        "ignore", r"coroutine '\w+\.acompletion' was never awaited", RuntimeWarning
    )
    # Of types of its own, which it makes when a provider's module is first needed; nobody here
    # could do anything about them.
    warnings.filterwarnings(
        "ignore", "Items? .* on TypedDict class .* using the `ReadOnly` qualifier", UserWarning
    )
    return module
