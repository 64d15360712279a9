"""The bi-encoder as a torch module: one chain of sentence-transformers modules per side."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Router
from torch import nn

from recipekit.arrays import Ints
from recipekit.encoding.padding import takes_positions
from recipekit.records import Side, Similarity

__all__ = ["BiEncoder", "SavedSettings"]

CPU_TOKENS = 8192
DEVICE_TOKENS = 65536


@dataclass(frozen=True)
class SavedSettings:
    """Settings of a sentence-transformers folder that are written back when it is saved."""

    prompts: Mapping[str, str]
    default_prompt_name: str | None
    similarity_fn_name: str | None
    truncate_dim: int | None


class BiEncoder(nn.Module):
    """A text encoder with one tower for both sides, or one per side.

    A tower is a chain of sentence-transformers modules: a Transformer, a Pooling and optional
    further modules. Both sides of `towers` may hold the same modules; `parts` holds each of them
    once, so that parameters and state are registered once.
    """

    def __init__(
        self,
        towers: Mapping[Side, Sequence[Any]],
        *,
        prompts: Mapping[Side, str],
        max_length: int,
        precision: Literal["bf16", "fp32"],
        max_tokens_per_batch: int | None,
        similarity: Similarity,
        settings: SavedSettings,
    ) -> None:
        super().__init__()
        self.towers = {side: list(tower) for side, tower in towers.items()}
        self._register()
        self.prompts = dict(prompts)
        self.settings = settings
        self.max_length = max_length
        self.precision = precision
        self.dimension = min(
            _dimension(self.towers["query"]),
            settings.truncate_dim or _dimension(self.towers["query"]),
        )
        self.similarity = similarity
        self._tokens_per_batch = max_tokens_per_batch
        self._dropout = True
        for tower in self.towers.values():
            tower[0].max_seq_length = max_length
        self._takes_positions = {
            side: takes_positions(tower[0].model) for side, tower in self.towers.items()
        }
        self._prompt_lengths = {side: self._prompt_length(side) for side in self.towers}
        self.eval()

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    @property
    def max_tokens_per_batch(self) -> int:
        """Padded tokens in one forward pass when encoding; the default depends on the device."""
        return self._tokens_per_batch or (
            CPU_TOKENS if self.device.type == "cpu" else DEVICE_TOKENS
        )

    # Towers
    # ---------------------------------------------------------------------------------------------

    def set_tied(self, tied: bool) -> None:
        """Give each side its own copy of the weights, or use the query side's for both."""
        if tied == self.tied:
            return
        query = self.towers["query"]
        self.towers["passage"] = query if tied else copy.deepcopy(query)
        self._register()

    def _register(self) -> None:
        """Register the modules of both towers, each once."""
        unique = {id(module): module for tower in self.towers.values() for module in tower}
        self.parts = nn.ModuleList(unique.values())
        self.tied = list(map(id, self.towers["query"])) == list(map(id, self.towers["passage"]))

    # Training or not
    # ---------------------------------------------------------------------------------------------

    def set_dropout(self, enabled: bool) -> None:
        """Choose whether `train()` switches the model's dropout on, as it does by default."""
        self._dropout = enabled
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode.

        Without dropout the parts stay in evaluation mode, in which gradients still flow. Models
        keep dropout in modules, in plain numbers and in their configuration; only the mode
        switches all of it.
        """
        super().train(mode)
        self.parts.train(mode and self._dropout)
        return self

    # Texts to features
    # ---------------------------------------------------------------------------------------------

    def tokenizer_identity(self, side: Side) -> Any:
        """Return what identifies the tokens of a text: tokenizer, prompt and `max_length`."""
        return {
            "tokenizer": _tokenizer_hash(self.towers[side][0].tokenizer),
            "prompt": self.prompts[side],
            "max_length": self.max_length,
        }

    def tokenize(self, texts: Sequence[str], side: Side) -> tuple[list[Ints], int]:
        """Tokenize texts with their side's prompt and the special tokens, cut at `max_length`.

        Returns:
            The token ids of each text, and how many texts were cut.
        """
        tokenizer = self.towers[side][0].tokenizer
        prompt = self.prompts[side]
        prompted = [prompt + text for text in texts] if prompt else list(texts)
        if not tokenizer.is_fast:
            return _tokenize_slowly(tokenizer, prompted, self.max_length)
        # The Rust tokenizer directly: transformers' own call also builds lists that are not used
        # here, which takes a third of its time.
        backend = tokenizer.backend_tokenizer
        backend.no_padding()
        backend.enable_truncation(self.max_length, direction=tokenizer.truncation_side)
        encodings = backend.encode_batch_fast(prompted)
        # A decoder's tokenizer gives no token for an empty text, which no model can embed.
        nothing = [tokenizer.pad_token_id]
        ids = [np.array(encoding.ids or nothing, dtype=np.int32) for encoding in encodings]
        return ids, sum(1 for encoding in encodings if encoding.overflowing)

    def collate(self, ids: Sequence[Ints], side: Side) -> dict[str, torch.Tensor]:
        """Pad tokenized texts into one batch of features (n, longest), on the CPU.

        Padding goes to the side where the tokenizer pads.
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
        if tokenizer.padding_side == "left" and self._takes_positions[side]:
            positions = (real.cumsum(axis=1) - 1).clip(min=0)
            features["position_ids"] = torch.from_numpy(positions)
        if "token_type_ids" in tokenizer.model_input_names:
            features["token_type_ids"] = torch.from_numpy(
                np.where(real, 0, tokenizer.pad_token_type_id)
            )
        return features

    def _prompt_length(self, side: Side) -> int:
        """Count the prompt's tokens, with the opening special token, if the pooling excludes them.

        Returns 0 if the pooling includes the prompt.
        """
        excluded = any(
            isinstance(module, Pooling) and not module.include_prompt
            for module in self.towers[side]
        )
        if not excluded or not self.prompts[side]:
            return 0
        (ids,), _ = self.tokenize([""], side)
        closing = len(ids) > 0 and int(ids[-1]) in self.towers[side][0].tokenizer.all_special_ids
        return len(ids) - closing

    # Features to vectors
    # ---------------------------------------------------------------------------------------------

    def forward(self, features: Mapping[str, torch.Tensor], side: Side) -> torch.Tensor:
        """Embed a collated batch: float32 (n, dim), differentiable, unit rows for `cosine`."""
        transformer, *rest = self.towers[side]
        state: dict[str, Any] = dict(features)
        if self._prompt_lengths[side]:
            state["prompt_length"] = self._prompt_lengths[side]
        state = transformer(state)
        output = transformer.module_output_name
        # Under autocast only the transformer computes in bf16: the later modules are cheap, and
        # unit rows must have length 1.
        with torch.autocast(state[output].device.type, enabled=False):
            state[output] = state[output].float()
            for module in rest:
                state = module(state)
        embedding: torch.Tensor = state["sentence_embedding"]
        if embedding.shape[1] == self.dimension:
            return embedding
        cut = embedding[:, : self.dimension]
        return nn.functional.normalize(cut, dim=1) if self.similarity == "cosine" else cut

    # To disk
    # ---------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write a folder that `SentenceTransformer(folder)` loads and encodes with identically.

        `encode_query` and `encode_document` prepend the prompts. Untied towers become a Router. If
        the model truncates its vectors, those of sentence-transformers are not scaled to length 1;
        `SentenceTransformer.similarity` is the same.
        """
        for tower in self.towers.values():
            tokenizer = tower[0].tokenizer
            if tokenizer.is_fast:
                # Truncation is a setting of `tokenize`, not of the model.
                tokenizer.backend_tokenizer.no_truncation()
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


def _tokenizer_hash(tokenizer: Any) -> str:
    """Hash what a tokenizer does with a text, apart from truncation and padding."""
    content: dict[str, Any] = {"truncation_side": tokenizer.truncation_side}
    if tokenizer.is_fast:
        content |= json.loads(tokenizer.backend_tokenizer.to_str())
        content |= {"truncation": None, "padding": None}  # `tokenize` sets both
    else:
        content |= {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
        content |= {"special_tokens": tokenizer.all_special_tokens}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
