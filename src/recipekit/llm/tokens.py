"""Counting tokens without the network: by the model's own tokenizer where it is at hand, by
another's where it is not.

OpenAI's encodings come with litellm, in whose folder tiktoken finds them. What lies in a machine's
model cache by chance is not used: where a passage is cut decides what is asked, and that must not
change from one machine to the next.
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
from recipekit.llm.calls import Request

if TYPE_CHECKING:
    import tiktoken

__all__ = ["TokenCounter", "counter"]

ESTIMATE = "cl100k_base"  # comes with every litellm; within some 20 in 100 of other models' tokenizers on English text
BYTES = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"  # whose sha1 tiktoken names its cached file by
PER_MESSAGE, PER_REQUEST = (
    4,
    3,
)  # role and frame of a message, and of the answer (OpenAI's cookbook, "How to count tokens")
UNSEEN = 256  # tokens that a server's chat template may add out of our sight: a default system message, dates
LONGEST = 64  # characters that a token has at most, as a rule: beyond this many a token, text is cut before it is tokenized


@dataclass(frozen=True)
class TokenCounter:
    """Counts and cuts text by tokens."""

    name: str
    """Of the tokenizer."""
    exact: bool
    """Whether it is the model's own; another's gives an estimate, which is to be said where it is
    shown.
    """
    _ends: Callable[[str, int | None], tuple[int, str]]
    """Tokens of a text, and the text of the first so many."""

    def count(self, text: str) -> int:
        """How many tokens a text has."""
        return self._ends(text, None)[0]

    def cut(self, text: str, limit: int) -> tuple[str, bool]:
        """The longest beginning of a text found to have at most `limit` tokens, and whether
        anything was cut off.
        """
        if self.at_most(text) <= limit:
            return text, False
        start, tokens = text[: limit * LONGEST], limit
        while True:
            found, beginning = self._ends(start, tokens)
            if found <= limit:
                return start, len(start) < len(text)
            # A beginning alone can have a token more than within its text, where a word is cut in
            # two.
            start, tokens = beginning, tokens if start != beginning else tokens - 1

    def at_most(self, text: str) -> int:
        """At least as many tokens as the text has for any byte-level tokenizer, exact or not: its
        bytes in UTF-8.
        """
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def prompt(self, request: Request) -> int:
        """Tokens in of a request: its messages, what frames them, and the answer's schema."""
        return self._prompt(request, self.count)

    def prompt_at_most(self, request: Request) -> int:
        """At least as many tokens as the endpoint will count, whatever its tokenizer and chat
        template: what a budget reserves.
        """
        return self._prompt(request, self.at_most) + UNSEEN

    def _prompt(self, request: Request, count: Callable[[str], int]) -> int:
        schema = request.sampling.get("response_format")
        texts = sum(count(message["content"]) + PER_MESSAGE for message in request.messages)
        return (
            texts + PER_REQUEST + (count(canonical(schema)) if isinstance(schema, Mapping) else 0)
        )


def counter(model: str, tokenizer: Path | None = None) -> TokenCounter:
    """The counter for a model.

    Args:
        model: As litellm names it. OpenAI's models, and gpt-oss wherever it is served, are counted
            exactly.
        tokenizer: The model's `tokenizer.json`, or a folder that holds it, if there is one.

    Raises:
        ModelError: `tokenizer` is none, or is not there.
    """
    if tokenizer is not None:
        return _from_file(tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer)
    encoding = _encoding_name(model)
    if encoding is not None and _at_hand(encoding):
        return TokenCounter(encoding, True, _ends_of(encoding))
    if _at_hand(ESTIMATE):
        return TokenCounter(ESTIMATE, False, _ends_of(ESTIMATE))
    return TokenCounter("4 characters a token", False, _by_characters)


def _by_characters(text: str, tokens: int | None) -> tuple[int, str]:
    return -(-len(text) // 4), text if tokens is None else text[: 4 * tokens]


# tiktoken
# ------------------------------------------------------------------------------------------------------------


def _encoding_name(model: str) -> str | None:
    """The encoding of a model of OpenAI's; None for others'."""
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
    return (
        None
        if spec is None or spec.origin is None
        else Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"
    )


def _at_hand(encoding: str) -> bool:
    file = hashlib.sha1(
        BYTES.format(encoding.replace("harmony", "base")).encode(), usedforsecurity=False
    ).hexdigest()
    folder = _folder()
    return folder is not None and (folder / file).is_file()


@cache
def _encoding(name: str) -> tiktoken.Encoding:
    import tiktoken

    # As litellm does when it is imported: tiktoken has no other way to be told where its files are,
    # and would fetch them.
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(_folder())
    try:
        return tiktoken.get_encoding(name)
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _ends_of(name: str) -> Callable[[str, int | None], tuple[int, str]]:
    encoding = _encoding(name)

    def ends(text: str, tokens: int | None) -> tuple[int, str]:
        ids: Sequence[int] = encoding.encode_ordinary(text)
        if tokens is None or len(ids) <= tokens:
            return len(ids), text
        return len(ids), encoding.decode_bytes(ids[:tokens]).decode(
            "utf-8", "ignore"
        )  # without half a character at the end

    return ends


# tokenizer.json
# ------------------------------------------------------------------------------------------------------


def _from_file(file: Path) -> TokenCounter:
    from tokenizers import Tokenizer

    if not file.is_file():
        raise ModelError(
            f"{file}: no tokenizer is there; name a tokenizer.json or the folder that holds it",
            code="RK441",
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust library raises nothing narrower
        raise ModelError(f"{file}: is no tokenizer.json ({error})", code="RK441") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def ends(text: str, tokens: int | None) -> tuple[int, str]:
        whole = text.encode(
            "utf-8", "replace"
        ).decode()  # half a surrogate pair, which the library refuses, is a `?`
        offsets = tokenizer.encode(whole, add_special_tokens=False).offsets
        if tokens is None or len(offsets) <= tokens:
            return len(offsets), text
        return len(offsets), text[: offsets[tokens - 1][1]] if tokens else ""

    return TokenCounter(str(file), True, ends)
