"""Where a language model is served, and the credentials for it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

__all__ = ["Endpoint"]

SHORTEST_SECRET = 6
"""Characters. Masking shorter values would garble messages and hide nothing."""


@dataclass(frozen=True)
class Endpoint:
    """A server of language models. Its `repr` contains no credentials."""

    api_base: str | None = field(default=None, repr=False)
    """None: the provider's own address, as litellm knows it."""
    api_key: str | None = field(default=None, repr=False)
    """None: the environment variable that litellm reads for the provider."""
    timeout: float = 60.0
    """Seconds that one call may take, from sending the request to the last byte."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every call."""

    def location(self, model: str) -> str:
        """The address without credentials, or the provider's name, for messages."""
        if self.api_base is not None:
            return _without_credentials(self.api_base)
        provider = model.partition("/")[0] if "/" in model else "openai"
        # litellm reads the first of these variables that is set.
        names = [f"{provider.upper()}_API_BASE"]
        if provider == "openai":
            names.insert(0, "OPENAI_BASE_URL")
        for name in names:
            if address := os.environ.get(name):
                return f"{_without_credentials(address)} ({name})"
        return f"{provider}'s own address"

    def key(self, model: str) -> str | None:
        """The key to send with a request; None leaves it to litellm.

        The `OPENAI_API_KEY` of the environment is never sent to a server other than OpenAI's.
        """
        # litellm takes a bare `gpt-5-nano` for a model of OpenAI's.
        provider = model.rpartition("/")[0].partition("/")[0]
        openai = provider in ("", "openai", "text-completion-openai")
        if self.api_key is None and self.api_base is not None and openai:
            host = urlsplit(self.api_base).hostname or ""
            return None if host == "openai.com" or host.endswith(".openai.com") else "none"
        return self.api_key

    def mask_secrets(self, text: str) -> str:
        """Replace the endpoint's credentials and those of the environment by `***`."""
        secrets = [self.api_key or "", *self.headers.values()]
        # The credential without its scheme, such as `Bearer`.
        secrets += [value.rpartition(" ")[2] for value in self.headers.values()]
        if self.api_base is not None:
            parts = urlsplit(self.api_base)
            secrets += [parts.password or "", unquote(parts.password or ""), parts.query]
        secrets += [
            value
            for name, value in os.environ.items()
            if re.search(r"(KEY|TOKEN|SECRET|PASSWORD)$", name)
        ]
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text


def _without_credentials(address: str) -> str:
    parts = urlsplit(address)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
