"""Counts tokens without the network: by the model's own tokenizer if available, else by another.

OpenAI's encodings come with litellm. Tokenizers in a machine's model cache are not used: where a
passage is cut decides what is requested, and that must not differ between machines.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from recipekit.artifacts.key import canonical
from recipekit.errors import ModelError
from recipekit.llm.completion import Request

if TYPE_CHECKING:
    import tiktoken

__all__ = ["TokenCounter", "token_counter"]

ESTIMATE = "cl100k_base"
"""Within about 20 % of other models' tokenizers on English text."""
ENCODING_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
"""tiktoken names a cached encoding by the SHA-1 of its URL."""
TOKENS_PER_MESSAGE, TOKENS_PER_REQUEST = 4, 3
"""Role and frame of a message, and of the reply (OpenAI's cookbook, "How to count tokens")."""
UNSEEN_TOKENS = 256
"""What a server's chat template may add: a default system message, dates."""
CHARACTERS_PER_TOKEN = 64
"""Longer texts are shortened to this many characters per allowed token before tokenizing."""

Prefix = Callable[[str, int | None], tuple[int, str]]
"""(text, limit) to the text's number of tokens and the text of the first `limit` tokens."""


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens, and cuts text to a number of tokens."""

    name: str
    """The tokenizer's name."""
    exact: bool
    """Whether it is the model's own tokenizer, rather than an estimate."""
    _prefix: Prefix

    def count(self, text: str) -> int:
        """The number of tokens of a text."""
        return self._prefix(text, None)[0]

    def cut(self, text: str, limit: int) -> tuple[str, bool]:
        """The longest prefix found with at most `limit` tokens, and whether it is shorter."""
        if self.bound(text) <= limit:
            return text, False
        start, tokens = text[: limit * CHARACTERS_PER_TOKEN], limit
        while True:
            count, prefix = self._prefix(start, tokens)
            if count <= limit:
                return start, len(start) < len(text)
            # A prefix that ends within a word can have more tokens alone than within its text.
            tokens = tokens if start != prefix else tokens - 1
            start = prefix

    def bound(self, text: str) -> int:
        """An upper bound on the tokens of any byte-level tokenizer: the bytes in UTF-8."""
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def prompt(self, request: Request) -> int:
        """Input tokens of a request: messages, their frame, and the reply's schema."""
        return self._prompt(request, self.count)

    def prompt_bound(self, request: Request) -> int:
        """An upper bound on a request's input tokens, for any tokenizer and chat template."""
        return self._prompt(request, self.bound) + UNSEEN_TOKENS

    def _prompt(self, request: Request, count: Callable[[str], int]) -> int:
        schema = request.parameters.get("response_format")
        texts = sum(count(message["content"]) + TOKENS_PER_MESSAGE for message in request.messages)
        schema_tokens = count(canonical(schema)) if isinstance(schema, Mapping) else 0
        return texts + TOKENS_PER_REQUEST + schema_tokens


def token_counter(model: str, tokenizer: Path | None = None) -> TokenCounter:
    """The counter for a model.

    Args:
        model: As litellm names it. OpenAI's models and gpt-oss are counted exactly.
        tokenizer: The model's `tokenizer.json`, or the folder that contains it.

    Raises:
        ModelError: `tokenizer` does not exist or is not a tokenizer.
    """
    if tokenizer is not None:
        return _from_file(tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer)
    encoding = _encoding_name(model)
    if encoding is not None and _is_installed(encoding):
        return TokenCounter(encoding, True, _tiktoken_prefix(encoding))
    if _is_installed(ESTIMATE):
        return TokenCounter(ESTIMATE, False, _tiktoken_prefix(ESTIMATE))
    return TokenCounter("4 characters per token", False, _characters_prefix)


def _characters_prefix(text: str, limit: int | None) -> tuple[int, str]:
    return -(-len(text) // 4), text if limit is None else text[: 4 * limit]


# tiktoken
# --------------------------------------------------------------------------------------------------


def _encoding_name(model: str) -> str | None:
    """The encoding of one of OpenAI's models, None for others."""
    from tiktoken.model import encoding_name_for_model

    *providers, name = model.split("/")
    if providers and not name.startswith("gpt-oss") and not {"openai", "azure"} & set(providers):
        return None
    try:
        return encoding_name_for_model(name)
    except KeyError:
        return None


def _folder() -> Path | None:
    """Where litellm keeps the encodings that come with it."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"


def _is_installed(encoding: str) -> bool:
    url = ENCODING_URL.format(encoding.replace("harmony", "base"))
    file = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    folder = _folder()
    return folder is not None and (folder / file).is_file()


@cache
def _encoding(name: str) -> tiktoken.Encoding:
    import tiktoken

    # The only way to tell tiktoken where its files are; it would download them otherwise.
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(_folder())
    try:
        return tiktoken.get_encoding(name)
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _tiktoken_prefix(name: str) -> Prefix:
    encoding = _encoding(name)

    def prefix(text: str, limit: int | None) -> tuple[int, str]:
        ids: Sequence[int] = encoding.encode_ordinary(text)
        if limit is None or len(ids) <= limit:
            return len(ids), text
        # "ignore" drops an incomplete character at the end.
        return len(ids), encoding.decode_bytes(ids[:limit]).decode("utf-8", "ignore")

    return prefix


# tokenizer.json
# --------------------------------------------------------------------------------------------------


def _from_file(file: Path) -> TokenCounter:
    from tokenizers import Tokenizer

    if not file.is_file():
        raise ModelError(
            f"{file}: not found; name a tokenizer.json or the folder that contains it", code="RK441"
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust library raises nothing narrower
        raise ModelError(f"{file}: is not a tokenizer.json ({error})", code="RK441") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def prefix(text: str, limit: int | None) -> tuple[int, str]:
        # The library rejects lone surrogates; they become `?`.
        valid = text.encode("utf-8", "replace").decode()
        offsets = tokenizer.encode(valid, add_special_tokens=False).offsets
        if limit is None or len(offsets) <= limit:
            return len(offsets), text
        return len(offsets), text[: offsets[limit - 1][1]] if limit else ""

    return TokenCounter(str(file), True, prefix)
