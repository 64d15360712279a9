"""Imports litellm so that it reads no `.env`, fetches nothing and prints nothing."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import warnings
from functools import cache
from importlib import import_module
from types import ModuleType

__all__ = ["litellm"]

SETTINGS = {
    "LITELLM_MODE": "PRODUCTION",  # any other mode loads the project's .env into this process
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # prices from the installed package, not the network
}


@cache
def litellm() -> ModuleType:
    """Import litellm with safe settings. The first call takes seconds."""
    os.environ.update(SETTINGS)
    module = _import_permanently("litellm")
    module.suppress_debug_info = True  # type: ignore[attr-defined]
    module.telemetry = False  # type: ignore[attr-defined]
    module.num_retries = None  # type: ignore[attr-defined]
    # Its log messages on failed calls may contain credentials; failures reach us as exceptions.
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # It creates a provider's coroutine in a thread; cancelling the call leaves it unawaited.
    warnings.filterwarnings(
        "ignore", r"coroutine '\w+\.acompletion' was never awaited", RuntimeWarning
    )
    # Raised by litellm's own type definitions when it first imports a provider's module.
    warnings.filterwarnings(
        "ignore", "Items? .* on TypedDict class .* using the `ReadOnly` qualifier", UserWarning
    )
    # The OpenAI client's, on a response with unusual values, which are read nevertheless.
    warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
    return module


def _import_permanently(name: str) -> ModuleType:
    """Import a module whose objects the garbage collector never visits.

    litellm's live as long as the process. Visiting them takes a quarter of the CPU time of the
    import, and a tenth of that of the first thousand calls.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # what is frozen at the end counts as leaked
        if enabled:
            gc.enable()
