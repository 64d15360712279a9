"""Where a language model is served, and by which right."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

__all__ = ["Endpoint"]

SHORTEST_SECRET = 6
"""Characters: blanking out less would spoil messages and hide nothing."""


@dataclass(frozen=True)
class Endpoint:
    """A server of language models.

    Neither its representation nor any message made here holds a credential.
    """

    api_base: str | None = field(default=None, repr=False)
    """None: the provider's own address, as litellm knows it."""
    api_key: str | None = field(default=None, repr=False)
    """None: from the variable that litellm reads for the provider."""
    timeout: float = 60.0
    """Seconds that one call may take, from sending to the last byte."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every call."""

    def place(self, model: str) -> str:
        """Where it is, for a message: the address without credentials, or the provider's name."""
        if self.api_base is None:
            return f"{model.partition('/')[0]}'s own address"
        parts = urlsplit(self.api_base)
        host = parts.hostname or ""
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"

    def key(self, model: str) -> str | None:
        """The key to send: what is given, and never the account's OpenAI key to a server that is
        not OpenAI's.
        """
        provider = model.rpartition("/")[0].partition("/")[
            0
        ]  # of a bare `gpt-5-nano`, litellm knows that it is OpenAI's
        if (
            self.api_key is None
            and self.api_base is not None
            and provider in ("", "openai", "text-completion-openai")
        ):
            host = urlsplit(self.api_base).hostname or ""
            return None if host == "openai.com" or host.endswith(".openai.com") else "none"
        return self.api_key

    def clean(self, text: str) -> str:
        """The text without any credential that this endpoint is given, or that litellm may have
        read from the environment.
        """
        secrets = [self.api_key or "", *self.headers.values()]
        secrets += [
            value.rpartition(" ")[2] for value in self.headers.values()
        ]  # without its scheme, `Bearer`
        if self.api_base is not None:
            parts = urlsplit(self.api_base)
            secrets += [parts.password or "", unquote(parts.password or ""), parts.query]
        secrets += [
            value
            for name, value in os.environ.items()
            if re.search(r"(KEY|TOKEN|SECRET|PASSWORD)$", name)
        ]
        for secret in sorted(
            filter(lambda one: len(one) >= SHORTEST_SECRET, secrets), key=len, reverse=True
        ):
            text = text.replace(secret, "***")
        return text
