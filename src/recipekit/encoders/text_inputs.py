"""Texts to token ids to features, for each kind of module that a tower can start with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from recipekit.arrays import Ints
from recipekit.component import Vocabulary
from recipekit.encoding.max_length import UNLIMITED
from recipekit.encoding.padding import takes_positions

__all__ = ["StaticInputs", "TextInputs", "TransformerInputs", "text_inputs"]


class TextInputs(Protocol):
    """How a tower's first module takes its texts."""

    def identity(self) -> str:
        """Return a hash of what the tokenizer does with a text, apart from its length."""

    def tokenize(self, texts: Sequence[str], max_length: int) -> tuple[list[Ints], int]:
        """Return the token ids of each text, cut at `max_length`, and how many texts were cut."""

    def collate(self, ids: Sequence[Ints]) -> dict[str, torch.Tensor]:
        """Join tokenized texts into one batch of features, on the CPU."""

    def prompt_length(self, prompt: str, max_length: int) -> int:
        """Count a prompt's tokens, with the opening special token."""

    def vocabulary(self, size: int, prompt_length: int) -> Vocabulary:
        """Return how texts are masked.

        Args:
            size: Tokens that have an embedding.
            prompt_length: Tokens of the prompt at the start of each text.
        """

    def save_length(self, max_length: int) -> None:
        """Prepare the first module to be saved, with the length at which it cuts texts."""


def text_inputs(first_module: Any) -> TextInputs:
    """Return how a tower's first module takes its texts."""
    if isinstance(first_module, StaticEmbedding):
        return StaticInputs(first_module)
    return TransformerInputs(first_module)


class TransformerInputs:
    """Texts of a Transformer: padded token ids with an attention mask."""

    def __init__(self, module: Any) -> None:
        self.module, self.tokenizer = module, module.tokenizer
        self._takes_positions = takes_positions(module.model)

    def identity(self) -> str:
        """Hash the tokenizer's content, apart from truncation and padding."""
        tokenizer = self.tokenizer
        content: dict[str, Any] = {"truncation_side": tokenizer.truncation_side}
        if tokenizer.is_fast:
            content |= json.loads(tokenizer.backend_tokenizer.to_str())
            content |= {"truncation": None, "padding": None}  # `tokenize` sets both
        else:
            content |= {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
            content |= {"special_tokens": tokenizer.all_special_tokens}
        return _hash(content)

    def tokenize(self, texts: Sequence[str], max_length: int) -> tuple[list[Ints], int]:
        """Tokenize texts with the special tokens."""
        tokenizer = self.tokenizer
        if not tokenizer.is_fast:
            return _tokenize_slowly(tokenizer, texts, max_length)
        # The Rust tokenizer directly: transformers' own call also builds lists that are not used
        # here, which takes a third of its time.
        backend = tokenizer.backend_tokenizer
        backend.no_padding()
        backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
        encodings = backend.encode_batch_fast(list(texts))
        # A decoder's tokenizer gives no token for an empty text, which no model can embed.
        nothing = [tokenizer.pad_token_id]
        ids = [np.array(encoding.ids or nothing, dtype=np.int32) for encoding in encodings]
        return ids, sum(1 for encoding in encodings if encoding.overflowing)

    def collate(self, ids: Sequence[Ints]) -> dict[str, torch.Tensor]:
        """Pad to (n, longest), on the side where the tokenizer pads."""
        tokenizer = self.tokenizer
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        width = int(lengths.max(initial=0))
        columns = np.arange(width)
        real = (
            columns >= width - lengths[:, None]
            if tokenizer.padding_side == "left"
            else columns < lengths[:, None]
        )
        input_ids = np.full((len(ids), width), tokenizer.pad_token_id, dtype=np.int64)
        input_ids[real] = np.concatenate(ids) if len(ids) else ()
        features = {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(real.astype(np.int64)),
        }
        if tokenizer.padding_side == "left" and self._takes_positions:
            positions = (real.cumsum(axis=1) - 1).clip(min=0)
            features["position_ids"] = torch.from_numpy(positions)
        if "token_type_ids" in tokenizer.model_input_names:
            features["token_type_ids"] = torch.from_numpy(
                np.where(real, 0, tokenizer.pad_token_type_id)
            )
        return features

    def prompt_length(self, prompt: str, max_length: int) -> int:
        """Count the tokens of the prompt alone, without a closing special token."""
        (ids,), _ = self.tokenize([prompt], max_length)
        closing = len(ids) > 0 and int(ids[-1]) in self.tokenizer.all_special_ids
        return len(ids) - closing

    def vocabulary(self, size: int, prompt_length: int) -> Vocabulary:
        """Return how texts are masked."""
        tokenizer = self.tokenizer
        special = np.array(sorted(tokenizer.all_special_ids), dtype=np.int32)
        known = np.arange(min(size, len(tokenizer)), dtype=np.int32)
        replacements = np.setdiff1d(known, special)
        return Vocabulary(tokenizer.mask_token_id, special, replacements, prompt_length)

    def save_length(self, max_length: int) -> None:
        """Set the module's length; the tokenizer itself cuts nothing."""
        self.module.max_seq_length = max_length
        if self.tokenizer.is_fast:
            self.tokenizer.backend_tokenizer.no_truncation()


class StaticInputs:
    """Texts of a StaticEmbedding: the token ids of all texts in one row, without special tokens."""

    def __init__(self, module: Any) -> None:
        self.tokenizer = module.tokenizer

    def identity(self) -> str:
        """Hash the tokenizer's content, apart from truncation."""
        content = json.loads(self.tokenizer.to_str())
        return _hash({**content, "truncation": None, "special_tokens": False})

    def tokenize(self, texts: Sequence[str], max_length: int) -> tuple[list[Ints], int]:
        """Tokenize texts; one without a known token has no ids, and the embedding zero."""
        self.save_length(max_length)
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return ids, sum(1 for encoding in encodings if encoding.overflowing)

    def collate(self, ids: Sequence[Ints]) -> dict[str, torch.Tensor]:
        """Join the ids, (n_tokens,), with the position where each text starts, (n,)."""
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        joined = np.concatenate(ids) if len(ids) else np.empty(0)
        return {
            "input_ids": torch.from_numpy(joined.astype(np.int64)),
            "offsets": torch.from_numpy(np.cumsum(lengths) - lengths),
        }

    def prompt_length(self, prompt: str, max_length: int) -> int:
        """Count the prompt's tokens."""
        return len(self.tokenize([prompt], max_length)[0][0])

    def vocabulary(self, size: int, prompt_length: int) -> Vocabulary:
        """Refuse: the mean of token vectors has no context to predict a token from."""
        raise TypeError("a StaticEmbedding predicts no tokens")

    def save_length(self, max_length: int) -> None:
        """Let the tokenizer cut texts, since the module itself has no length."""
        if max_length >= UNLIMITED:
            self.tokenizer.no_truncation()
        else:
            self.tokenizer.enable_truncation(max_length)


def _tokenize_slowly(
    tokenizer: Any, texts: Sequence[str], max_length: int
) -> tuple[list[Ints], int]:
    """Tokenize with a tokenizer written in Python, which does not report what it cuts.

    All texts are tokenized whole; those that are too long are tokenized again with truncation.
    """
    if not texts:
        return [], 0
    all_ids = tokenizer(
        list(texts), truncation=False, return_attention_mask=False, return_token_type_ids=False
    )["input_ids"]
    too_long = [i for i, ids in enumerate(all_ids) if len(ids) > max_length]
    for i in too_long:
        all_ids[i] = tokenizer(texts[i], truncation=True, max_length=max_length)["input_ids"]
    nothing = [tokenizer.pad_token_id]
    return [np.asarray(ids or nothing, dtype=np.int32) for ids in all_ids], len(too_long)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
