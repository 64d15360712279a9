"""The bi-encoder as a torch module: sentence-transformers' modules, one chain of them per side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Router
from torch import nn

from recipekit.arrays import Ints
from recipekit.records import Side

__all__ = ["BiEncoder", "SavedSettings"]

CPU_TOKENS = 8192
DEVICE_TOKENS = 65536


@dataclass(frozen=True)
class SavedSettings:
    """What a sentence-transformers folder holds beside its modules, carried over when it is saved
    again.
    """

    prompts: Mapping[str, str]
    default_prompt_name: str | None
    similarity_fn_name: str | None
    truncate_dim: int | None


class BiEncoder(nn.Module):
    """A text encoder with one tower for both sides, or one per side.

    A tower is a chain of sentence-transformers modules: a Transformer, then pooling and what
    follows. In `towers` the same modules may stand on both sides; `parts` holds each once, for
    parameters and state.
    """

    def __init__(
        self,
        towers: Mapping[Side, Sequence[Any]],
        *,
        prompts: Mapping[Side, str],
        max_length: int,
        precision: Literal["bf16", "fp32"],
        max_tokens_per_batch: int | None,
        settings: SavedSettings,
    ) -> None:
        super().__init__()
        self.towers = {side: list(tower) for side, tower in towers.items()}
        unique = {id(module): module for tower in self.towers.values() for module in tower}
        self.parts = nn.ModuleList(unique.values())
        self.prompts = dict(prompts)
        self.settings = settings
        self.max_length = max_length
        self.precision = precision
        self.tied = list(map(id, self.towers["query"])) == list(map(id, self.towers["passage"]))
        self.dimension = min(
            _dimension(self.towers["query"]),
            settings.truncate_dim or _dimension(self.towers["query"]),
        )
        ends = [isinstance(tower[-1], Normalize) for tower in self.towers.values()]
        self.normalized = all(ends) and settings.truncate_dim is None
        self._tokens_per_batch = max_tokens_per_batch
        self._dropout = True
        for tower in self.towers.values():
            tower[0].max_seq_length = max_length
        self._prompt_lengths = {side: self._prompt_length(side) for side in self.towers}
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def max_tokens_per_batch(self) -> int:
        """Padded tokens in one forward pass when encoding, by default what suits the device."""
        return self._tokens_per_batch or (
            CPU_TOKENS if self.device.type == "cpu" else DEVICE_TOKENS
        )

    # Training or not
    # ---------------------------------------------------------------------------------------------------

    def set_dropout(self, enabled: bool) -> None:
        """Whether `train()` switches the model's dropout on, as it does by default."""
        self._dropout = enabled
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode. Without dropout the parts stay in evaluation mode, in which gradients flow
        all the same.

        Models keep dropout in modules, in plain numbers and in their configuration; their mode is
        the switch for all of it.
        """
        super().train(mode)
        self.parts.train(mode and self._dropout)
        return self

    # Texts to features
    # -------------------------------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str], side: Side) -> tuple[list[Ints], int]:
        """Token ids of each text with its side's prompt and the special tokens, cut at
        `max_length`; how many were cut.
        """
        tokenizer = self.towers[side][0].tokenizer
        prompt = self.prompts[side]
        prompted = [prompt + text for text in texts] if prompt else list(texts)
        if not tokenizer.is_fast:
            return _tokenize_slowly(tokenizer, prompted, self.max_length)
        # The tokenizer behind the tokenizer: transformers' own call builds lists that nobody reads,
        # a third of its time.
        backend = tokenizer.backend_tokenizer
        backend.no_padding()
        backend.enable_truncation(self.max_length, direction=tokenizer.truncation_side)
        encodings = backend.encode_batch_fast(prompted)
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return ids, sum(1 for encoding in encodings if encoding.overflowing)

    def collate(self, ids: Sequence[Ints], side: Side) -> dict[str, torch.Tensor]:
        """Pad tokenized texts into one batch of features (n, longest), on the CPU, on the side
        where the tokenizer pads.
        """
        tokenizer = self.towers[side][0].tokenizer
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
        if "token_type_ids" in tokenizer.model_input_names:
            features["token_type_ids"] = torch.from_numpy(
                np.where(real, 0, tokenizer.pad_token_type_id)
            )
        return features

    def _prompt_length(self, side: Side) -> int:
        """Tokens of the prompt, its opening special token included, where the pooling leaves them
        out; else 0.
        """
        left_out = any(
            isinstance(module, Pooling) and not module.include_prompt
            for module in self.towers[side]
        )
        if not left_out or not self.prompts[side]:
            return 0
        (ids,), _ = self.tokenize([""], side)
        closing = len(ids) > 0 and int(ids[-1]) in self.towers[side][0].tokenizer.all_special_ids
        return len(ids) - closing

    # Features to vectors
    # -----------------------------------------------------------------------------------------------

    def forward(self, features: Mapping[str, torch.Tensor], side: Side) -> torch.Tensor:
        """Embeddings (n, dim), float32, of a collated batch, differentiable, unit rows if
        `normalized`.
        """
        transformer, *rest = self.towers[side]
        state: dict[str, Any] = dict(features)
        if self._prompt_lengths[side]:
            state["prompt_length"] = self._prompt_lengths[side]
        state = transformer(state)
        output = transformer.module_output_name
        # Under autocast only the transformer works in bf16: what follows costs nothing, and unit
        # rows are to be of length 1.
        with torch.autocast(state[output].device.type, enabled=False):
            state[output] = state[output].float()
            for module in rest:
                state = module(state)
        embedding: torch.Tensor = state["sentence_embedding"]
        return embedding[:, : self.dimension]

    # To disk
    # -----------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write a folder that `sentence_transformers.SentenceTransformer(folder)` loads and encodes
        with as this does.

        `encode_query` and `encode_document` put the prompts; towers of their own become a Router
        between them.
        """
        for tower in self.towers.values():
            if tower[0].tokenizer.is_fast:
                tower[
                    0
                ].tokenizer.backend_tokenizer.no_truncation()  # a setting of ours, not of the model
        query, passage = self.towers["query"], self.towers["passage"]
        model = SentenceTransformer(
            modules=query if self.tied else [Router.for_query_document(query, passage)],
            device=str(self.device),
            prompts={
                **self.settings.prompts,
                "query": self.prompts["query"],
                "document": self.prompts["passage"],
            },
            default_prompt_name=self.settings.default_prompt_name,
            similarity_fn_name=self.settings.similarity_fn_name,
            truncate_dim=self.settings.truncate_dim,
        )
        model.save(str(folder), create_model_card=False)


def _dimension(tower: Sequence[Any]) -> int:
    return next(
        int(module.get_embedding_dimension())
        for module in reversed(tower)
        if hasattr(module, "get_embedding_dimension")
    )


def _tokenize_slowly(
    tokenizer: Any, texts: Sequence[str], max_length: int
) -> tuple[list[Ints], int]:
    """For tokenizers written in Python, which do not say what they cut: once whole, and what is too
    long again.
    """
    if not texts:
        return [], 0
    whole = tokenizer(
        list(texts), truncation=False, return_attention_mask=False, return_token_type_ids=False
    )["input_ids"]
    long = [i for i, ids in enumerate(whole) if len(ids) > max_length]
    for i in long:
        whole[i] = tokenizer(texts[i], truncation=True, max_length=max_length)["input_ids"]
    return [np.asarray(ids, dtype=np.int32) for ids in whole], len(long)
