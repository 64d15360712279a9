"""The bi-encoder as a torch module: one chain of sentence-transformers modules per side."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Router
from torch import nn

from recipekit.arrays import Ints
from recipekit.component import Encoder, MaskedTokens, Vocabulary
from recipekit.encoders.language_model_head import (
    add_head,
    check_predicts_tokens,
    token_embeddings,
)
from recipekit.encoders.text_inputs import text_inputs
from recipekit.errors import RunError
from recipekit.records import Side, Similarity

__all__ = ["BiEncoder", "SavedSettings", "width_of"]

CPU_TOKENS = 8192
DEVICE_TOKENS = 65536


@dataclass(frozen=True)
class SavedSettings:
    """Settings of a sentence-transformers folder that are written back when it is saved."""

    prompts: Mapping[str, str]
    default_prompt_name: str | None
    similarity_fn_name: str | None
    truncate_dim: int | None


class BiEncoder(nn.Module, Encoder):
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
        folder: Path | None = None,
        embeds_passages: bool = True,
        has_untrained_dense: bool = False,
    ) -> None:
        """Join the modules.

        Args:
            towers: The modules of each side.
            prompts: The text that is prepended to each side's texts.
            max_length: Tokens after which a text is cut.
            precision: Arithmetic when encoding.
            max_tokens_per_batch: Padded tokens in one forward pass; None chooses by device.
            similarity: How vectors are compared.
            settings: Settings of the model's files.
            folder: The files of the first module, with the checkpoint's language-model head.
            embeds_passages: Whether it embeds passages; without, they have stored vectors.
            has_untrained_dense: Whether a layer has random weights, so that it must be trained.
        """
        super().__init__()
        self.towers = {side: list(tower) for side, tower in towers.items()}
        of_query = {id(module): module for module in self.towers["query"]}
        self._shared = [of_query.get(id(module)) for module in self.towers["passage"]]
        """The query side's module for each of the passages', where both are given the same one."""
        self._register()
        self.prompts = dict(prompts)
        self.settings = settings
        self.max_length = max_length
        self.precision = precision
        self.dimension = min(
            width_of(self.towers["query"]),
            settings.truncate_dim or width_of(self.towers["query"]),
        )
        self.similarity = similarity
        self.folder = folder
        self.embeds_passages = embeds_passages
        self.has_untrained_dense = has_untrained_dense
        self.language_model_head: nn.Module | None = None
        """Predicts masked tokens, while a phase trains it."""
        self._tokens_per_batch = max_tokens_per_batch
        self._dropout = True
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
        """Give each side its own copy of the modules that both share, or let them share again."""
        if tied == self.tied:
            return
        shared, passage = self._shared, self.towers["passage"]
        self.towers["passage"] = [
            own if query is None else query if tied else copy.deepcopy(query)
            for own, query in zip(passage, shared, strict=True)
        ]
        self._register()

    def weights_of(self, side: Side) -> dict[str, torch.Tensor]:
        """Return the weights that encode a side, by module number and name."""
        return {
            f"{number}.{name}": tensor
            for number, module in enumerate(self.towers[side])
            for name, tensor in module.state_dict().items()
        }

    def _register(self) -> None:
        """Register the modules of both towers, each once."""
        passage = list(zip(self.towers["passage"], self._shared, strict=True))
        own = [module for module, query in passage if query is None]
        # Copies come last, so that separating the towers changes no parameter's name.
        unique = {
            id(module): module for module in [*self.towers["query"], *own, *self.towers["passage"]]
        }
        self.parts = nn.ModuleList(unique.values())
        self._inputs = {side: text_inputs(tower[0]) for side, tower in self.towers.items()}
        shared = [query for module, query in passage if query is not None and query is module]
        self.tied = any(True for module in shared for _ in module.parameters())

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
        if self.language_model_head is not None:
            self.language_model_head.train(mode and self._dropout)
        return self

    # Texts to features
    # ---------------------------------------------------------------------------------------------

    def tokenizer_identity(self, side: Side) -> Any:
        """Return what identifies the tokens of a text: tokenizer, prompt and `max_length`."""
        return {
            "tokenizer": self._inputs[side].identity(),
            "prompt": self.prompts[side],
            "max_length": self.max_length,
        }

    def tokenize(self, texts: Sequence[str], side: Side) -> tuple[list[Ints], int]:
        """Tokenize texts with their side's prompt and the special tokens, cut at `max_length`.

        Returns:
            The token ids of each text, and how many texts were cut.
        """
        prompt = self.prompts[side]
        prompted = [prompt + text for text in texts] if prompt else list(texts)
        return self._inputs[side].tokenize(prompted, self.max_length)

    def collate(self, ids: Sequence[Ints], side: Side) -> dict[str, torch.Tensor]:
        """Join tokenized texts into one batch of features, on the CPU."""
        return self._inputs[side].collate(ids)

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
        return self._inputs[side].prompt_length(self.prompts[side], self.max_length)

    @property
    def named_prompts(self) -> Mapping[str, str]:
        """The prompts of the model's files, by name."""
        return self.settings.prompts

    @contextmanager
    def prompted(self, side: Side, prompt: str) -> Iterator[None]:
        """Prepend a prompt to a side's texts, instead of its own, while the context is open."""
        own = self.prompts[side], self._prompt_lengths[side]
        try:
            self.prompts[side] = prompt
            self._prompt_lengths[side] = self._prompt_length(side)
            yield
        finally:
            self.prompts[side], self._prompt_lengths[side] = own

    # Masked tokens
    # ---------------------------------------------------------------------------------------------

    def add_language_model_head(
        self, warn: Callable[[str], None], *, trust_remote_code: bool = False
    ) -> nn.Module:
        """Add the head that predicts masked tokens, unless there is one, and return it.

        Raises:
            ModelError: The model cannot predict masked tokens.
        """
        if self.language_model_head is None:
            head = add_head(list(self.towers.values()), self.folder, warn, trust_remote_code)
            self.language_model_head = head.to(self.device)
            self.train(self.training)  # the head follows the choice of dropout
        return self.language_model_head

    def remove_language_model_head(self) -> None:
        """Remove the head that predicts masked tokens, if there is one."""
        self.language_model_head = None

    def vocabulary(self, side: Side) -> Vocabulary:
        """Return how the texts of a side are masked: neither special tokens nor the prompt.

        Raises:
            ModelError: The model cannot predict masked tokens.
        """
        check_predicts_tokens(list(self.towers.values()))
        size = self.towers[side][0].model.get_input_embeddings().num_embeddings
        prompt = self.prompts[side]
        inputs = self._inputs[side]
        length = inputs.prompt_length(prompt, self.max_length) if prompt else 0
        return inputs.vocabulary(size, length)

    # Features to vectors
    # ---------------------------------------------------------------------------------------------

    def forward(
        self,
        features: Mapping[str, torch.Tensor],
        side: Side,
        masked: MaskedTokens | None = None,
    ) -> torch.Tensor:
        """Embed a collated batch: float32 (n, dim), differentiable, unit rows for `cosine`.

        With masked tokens it returns the cross-entropy of each, float32 (m,), instead.
        """
        if side == "passage" and not self.embeds_passages:
            raise RunError(
                "this encoder has passage_vectors, so it embeds no passages: train it with query "
                "half-phases of coordinate_ascent",
                code="RK646",
            )
        transformer, *rest = self.towers[side]
        state: dict[str, Any] = dict(features)
        if self._prompt_lengths[side]:
            state["prompt_length"] = self._prompt_lengths[side]
        state = transformer(state)
        if masked is not None:
            assert self.language_model_head is not None, "add_language_model_head() adds it"
            real = state["token_embeddings"][features["attention_mask"].bool()]
            table = token_embeddings(transformer.model)
            losses: torch.Tensor = self.language_model_head(real, table, masked)
            return losses
        output = getattr(transformer, "module_output_name", "sentence_embedding")
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
        for inputs in self._inputs.values():
            inputs.save_length(self.max_length)
        query, passage = self.towers["query"], self.towers["passage"]
        is_one = list(map(id, query)) == list(map(id, passage))
        model = SentenceTransformer(
            modules=query if is_one else [Router.for_query_document(query, passage)],
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


def width_of(tower: Sequence[Any]) -> int:
    """Return the dimension of a tower's vectors, before they are truncated."""
    return next(
        int(module.get_embedding_dimension())
        for module in reversed(tower)
        if hasattr(module, "get_embedding_dimension")
    )
