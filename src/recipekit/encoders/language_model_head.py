"""Heads that predict tokens from a transformer's outputs, for masked-language modelling.

A checkpoint that was trained as a masked language model has its own head, which
`AutoModelForMaskedLM` loads. Other checkpoints get a new one: `h E^T + b`, with the transformer's
own token embeddings `E`. Neither head holds a copy of `E`. They are called with it, so that the
transformer and its head train one table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn
from torch.distributed.tensor import DTensor, Partial
from torch.utils.checkpoint import checkpoint

from recipekit.component import MaskedTokens
from recipekit.errors import ModelError

__all__ = [
    "CheckpointHead",
    "LanguageModelHead",
    "TiedHead",
    "add_head",
    "check_predicts_tokens",
    "is_causal",
    "token_embeddings",
]

LOGITS = 2**24
"""Logits that are in memory at a time, per step of the loss over masked tokens: 64 MB."""


class LanguageModelHead(nn.Module):
    """Predicts masked tokens: one of the heads below, with its loss.

    Its weights are sharded together: the numbers of parts of the loss differ between ranks, and
    those of forward passes must not.
    """

    is_sharded_as_one: Literal[True] = True

    def __init__(self, logits: TiedHead | CheckpointHead) -> None:
        super().__init__()
        self.logits = logits

    def forward(
        self, outputs: torch.Tensor, embeddings: torch.Tensor, masked: MaskedTokens
    ) -> torch.Tensor:
        """Return the cross-entropy of masked tokens, float32 (m,).

        Logits are computed for a part of the tokens at a time, and again in the backward pass, so
        that memory does not grow with the vocabulary times the tokens.

        Args:
            outputs: The transformer's outputs for the real tokens of a batch, (t, width).
            embeddings: The token embeddings, (vocabulary, width).
            masked: The tokens to predict.
        """

        def losses(hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            logits = self.logits(hidden, embeddings).float()
            return nn.functional.cross_entropy(logits, tokens, reduction="none")

        hidden = outputs[masked.positions]
        at_once = max(1, LOGITS // len(embeddings))
        if len(hidden) <= at_once:
            return losses(hidden, masked.tokens)
        parts = zip(torch.split(hidden, at_once), torch.split(masked.tokens, at_once), strict=True)
        return torch.cat([checkpoint(losses, *part, use_reentrant=False) for part in parts])


class TiedHead(nn.Module):
    """A new head: `h E^T + b`.

    Where token embeddings are narrower than the transformer, `h` is projected first.
    """

    def __init__(self, width: int, vocabulary: int, embedding_width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.projection: nn.Module = nn.Identity()
        if width != embedding_width:
            self.projection = nn.Linear(width, embedding_width, bias=False)
            with torch.no_grad():  # seeded by its shape, so that runs can be repeated
                generator = torch.Generator().manual_seed(width)
                self.projection.weight.normal_(std=width**-0.5, generator=generator)

    def forward(self, hidden: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the logits of outputs (m, width): (m, vocabulary)."""
        return nn.functional.linear(self.projection(hidden), embeddings, self.bias)


class CheckpointHead(nn.Module):
    """The head of a masked language model of transformers, without its transformer."""

    def __init__(self, model: Any) -> None:
        """Take the head out of a model.

        Args:
            model: A model that `AutoModelForMaskedLM` loaded. It loses its transformer, and the
                table of its decoder if that is the table of token embeddings.
        """
        super().__init__()
        self.outputs = _GivenOutputs()
        setattr(model, model.base_model_prefix, self.outputs)
        self.decoder: _Decoder | None = None
        tied = _decoder_of(model)
        if model.config.tie_word_embeddings and tied is not None:
            name, linear = tied
            self.decoder = _Decoder(linear.bias)
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, self.decoder)
        self.model = model

    def forward(self, hidden: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the logits of outputs (m, width): (m, vocabulary)."""
        self.outputs.given = (hidden[None],)
        if self.decoder is not None:
            self.decoder.given = (embeddings,)
        # The ids are not read, since the transformer that reads them is replaced.
        ids = torch.zeros(hidden[None].shape[:2], dtype=torch.long, device=hidden.device)
        logits: torch.Tensor = self.model(input_ids=ids).logits[0]
        self.outputs.given = ()
        if self.decoder is not None:
            self.decoder.given = ()
        return logits


class _GivenOutputs(nn.Module):
    """Stands for a transformer whose outputs are computed already."""

    given: tuple[torch.Tensor, ...] = ()

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=self.given[0])


class _Decoder(nn.Module):
    """The last layer of a head, with the token embeddings that it is given."""

    given: tuple[torch.Tensor, ...] = ()
    """In a tuple, since a module registers a parameter that is set as its attribute."""

    def __init__(self, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(hidden, self.given[0], self.bias)


def add_head(
    towers: Sequence[Sequence[Any]],
    folder: Path | None,
    warn: Callable[[str], None],
    trust_remote_code: bool,
) -> LanguageModelHead:
    """Return the head for the transformers of both sides, which predict the same tokens.

    Args:
        towers: The modules of each side.
        folder: The files of the query side's transformer, or None for a new head.
        warn: Where it is reported that the checkpoint's own head cannot be used.
        trust_remote_code: Whether a model that brings Python code may run it.

    Raises:
        ModelError: A side cannot predict masked tokens, or the sides have other vocabularies.
    """
    check_predicts_tokens(towers)
    return LanguageModelHead(_head(towers[0][0].model, folder, warn, trust_remote_code))


def check_predicts_tokens(towers: Sequence[Sequence[Any]]) -> None:
    """Check that the transformers of both sides can predict masked tokens with one head.

    Args:
        towers: The modules of each side.

    Raises:
        ModelError: A side cannot predict masked tokens, or the sides have other vocabularies.
    """
    firsts = [tower[0] for tower in towers]
    for first in firsts:
        if reason := _cannot_predict(first):
            raise ModelError(
                f"masked_language_model cannot train this encoder: {reason}; leave the phase out",
                code="RK417",
            )
    shapes = {first.model.get_input_embeddings().weight.shape for first in firsts}
    if len(shapes) > 1:
        raise ModelError(
            "masked_language_model cannot train this encoder: the transformers of its sides have "
            "different vocabularies or widths; leave the phase out",
            code="RK417",
        )


def token_embeddings(transformer: Any) -> torch.Tensor:
    """Return the table of token embeddings, (vocabulary, width); whole where it is sharded.

    The ranks compute different losses from it, so the gradients of a sharded table add up.
    """
    table: torch.Tensor = transformer.get_input_embeddings().weight
    return table.full_tensor(grad_placements=[Partial()]) if isinstance(table, DTensor) else table


def _cannot_predict(first: Any) -> str:
    """Return why a tower cannot predict masked tokens from their context; empty if it can."""
    if not isinstance(first, Transformer):
        return f"a {type(first).__name__} has no context to predict a token from"
    if first.module_output_name != "token_embeddings":
        return "its transformer returns no output for each token"
    if first.tokenizer.mask_token_id is None:
        return f"the tokenizer of its {type(first.model).__name__} has no mask token"
    if is_causal(first.model):
        return f"its {type(first.model).__name__} does not see the tokens after a masked one"
    return ""


def _head(
    transformer: Any, folder: Path | None, warn: Callable[[str], None], trust_remote_code: bool
) -> TiedHead | CheckpointHead:
    """Return the checkpoint's own head, or a new one if it has none."""
    table = transformer.get_input_embeddings().weight
    if folder is not None and _may_have_head(folder, type(transformer).__name__):
        model = _masked_language_model(folder, trust_remote_code)
        if model is not None and model.config.vocab_size == len(table):
            return CheckpointHead(model)
        warn(
            "the checkpoint's own language-model head cannot be used: a new one is trained, with "
            "the encoder's token embeddings"
        )
    return TiedHead(transformer.config.get_text_config().hidden_size, *table.shape)


def is_causal(transformer: Any) -> bool:
    """Return whether a token's output does not depend on later tokens, as in a decoder."""
    device = next(transformer.parameters()).device
    size = transformer.get_input_embeddings().num_embeddings
    ids = torch.arange(size - 4, size, device=device).remainder(size)[None]
    other = ids.clone()
    other[0, -1] = ids[0, 0]
    was_training = transformer.training
    transformer.eval()
    with torch.no_grad():
        mask = torch.ones_like(ids)
        first, second = (
            transformer(input_ids=one, attention_mask=mask).last_hidden_state[0, 0]
            for one in (ids, other)
        )
    transformer.train(was_training)
    return bool(torch.allclose(first, second, rtol=0, atol=1e-6))


def _may_have_head(folder: Path, own_class: str) -> bool:
    """Return whether a checkpoint was saved with more than the transformer."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    architectures = config.get("architectures") or []
    return bool(architectures) and own_class not in architectures


def _masked_language_model(folder: Path, trust_remote_code: bool) -> Any:
    """Load a checkpoint with its head; None if it has none."""
    from transformers import AutoModelForMaskedLM
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it lists missing weights, which `report` has too
    try:
        model, report = AutoModelForMaskedLM.from_pretrained(
            folder,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
        )
    except ValueError:  # a family without masked language models
        return None
    finally:
        logging.set_verbosity(verbosity)
    prefix = f"{model.base_model_prefix}."
    missing = [name for name in report["missing_keys"] if not name.startswith(prefix)]
    return None if missing or report["mismatched_keys"] else model


def _decoder_of(model: Any) -> tuple[str, Any] | None:
    """Return the name of the linear layer whose weight is the table of token embeddings."""
    tied = model.get_output_embeddings()
    return next(((name, part) for name, part in model.named_modules() if part is tied), None)
