"""What of an encoder is trained: all weights, all but frozen layers, or LoRA adapters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from recipekit.encoding.model_size import count_parameters
from recipekit.errors import RunError
from recipekit.suggestions import did_you_mean

__all__ = [
    "LoraSettings",
    "add_lora",
    "checkpoint_layers",
    "freeze",
    "merge_lora",
    "transformer_layers",
]

CACHES = frozenset({"past_key_values", "past_key_value", "layer_past"})
"""Arguments by which a decoder's layer keeps keys and values for further tokens."""


@dataclass(frozen=True)
class LoraSettings:
    """The adapters: `W + (alpha / r) B A` in place of `W`, with `B` and `A` of rank `r`."""

    r: int
    alpha: float
    dropout: float
    target_modules: Sequence[str] | None
    """Names of linear layers; None chooses all of the transformer's layers."""


def freeze(encoder: nn.Module, *, embeddings: bool, layers: int) -> None:
    """Exclude token embeddings and the first layers of every transformer from training.

    Raises:
        RunError: The encoder has no transformer, or fewer layers, or nothing is left to train.
    """
    for model in _transformers(encoder, "train.freeze"):
        found = _layers(model) if layers else []
        if layers > len(found):
            raise RunError(
                f"train.freeze.layers: {layers} layers cannot be frozen, since the model has "
                f"{len(found)}",
                code="RK639",
            )
        tables = _token_embeddings(model) if embeddings else []
        for module in [*found[:layers], *tables]:
            module.requires_grad_(False)
    if count_parameters(encoder, trainable_only=True) == 0:
        raise RunError("train.freeze leaves no weight to train: freeze fewer layers", code="RK639")


def _token_embeddings(model: Any) -> list[nn.Module]:
    """Return the modules that embed tokens.

    T5 has a shared table and the encoder's own, which are the same matrix only if they are tied.
    """
    table = getattr(model, "embeddings", None)
    if isinstance(table, nn.Module):
        return [table]
    size = model.get_input_embeddings().num_embeddings
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings == size
    ]


def add_lora(encoder: nn.Module, settings: LoraSettings, seed: int) -> None:
    """Add adapters to every transformer, and freeze its own weights. Other modules stay trainable.

    Raises:
        RunError: The encoder has no transformer, or a target module does not exist.
    """
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(seed)
    for model in _transformers(encoder, "train.lora"):
        config = LoraConfig(
            r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=_targets(model, settings.target_modules),
        )
        model.requires_grad_(False)
        inject_adapter_in_model(config, model)


def merge_lora(encoder: nn.Module) -> None:
    """Replace every layer that has an adapter by a plain one with the sum of both weights."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [name for name, part in encoder.named_modules() if isinstance(part, BaseTunerLayer)]
    for name in adapted:
        parent_name, _, own = name.rpartition(".")
        layer: Any = encoder.get_submodule(name)
        layer.merge(safe_merge=True)
        setattr(encoder.get_submodule(parent_name), own, layer.get_base_layer())
    for model in _outermost(encoder):
        if hasattr(model, "peft_config"):
            del model.peft_config


def checkpoint_layers(encoder: nn.Module) -> None:
    """Let every transformer layer compute its activations again in the backward pass.

    The layers' own switch needs the training mode, which an encoder without dropout never has.

    Raises:
        RunError: The encoder has no transformer whose layers can be found.
    """
    for model in _transformers(encoder, "train.gradient_checkpointing"):
        for layer in _layers(model):
            own = type(layer)
            layer.__class__ = type(own.__name__, (_CheckpointedLayer, own), {})


def transformer_layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers of all transformers in a module whose layers can be found."""
    return [layer for model in _outermost(module) for layer in _listed_layers(model) or ()]


class _CheckpointedLayer(nn.Module):
    """Mixed into the class of a layer."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return super().forward(*args, **kwargs)
        # A second forward pass would append to a cache.
        kwargs |= dict.fromkeys(CACHES & kwargs.keys())
        return checkpoint(super().forward, *args, use_reentrant=False, **kwargs)


def _outermost(encoder: nn.Module) -> Iterator[PreTrainedModel]:
    if isinstance(encoder, PreTrainedModel):
        yield encoder
        return
    for child in encoder.children():
        yield from _outermost(child)


def _transformers(encoder: nn.Module, key: str) -> list[PreTrainedModel]:
    models = list(_outermost(encoder))
    if not models:
        raise RunError(f"{key}: the encoder has no transformer; leave it out", code="RK639")
    return models


def _layers(model: PreTrainedModel) -> list[nn.Module]:
    """Return a transformer's layers, from the first to the last."""
    layers = _listed_layers(model)
    if layers is not None:
        return layers
    name = type(model).__name__
    raise RunError(
        f"{name} does not list its layers: train.freeze.layers, train.lora without target_modules "
        "and train.gradient_checkpointing cannot be used",
        code="RK639",
    )


def _listed_layers(model: PreTrainedModel) -> list[nn.Module] | None:
    """Return a transformer's layers, or None if they cannot be found."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    return next((list(module) for module in lists if len(module) == count), None)


def _targets(model: PreTrainedModel, wanted: Sequence[str] | None) -> list[str]:
    """Return the full names of the linear layers that get an adapter."""
    inside = (
        {id(part) for layer in _layers(model) for part in layer.modules()} if not wanted else ()
    )
    linear = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    if not wanted:
        return [name for name, part in linear.items() if id(part) in inside]
    found = {target: [name for name in linear if _ends_with(name, target)] for target in wanted}
    for target, names in found.items():
        if not names:
            own = list(dict.fromkeys(name.rpartition(".")[2] for name in linear))
            hint = did_you_mean(target, own) or f" It has {', '.join(own)}."
            raise RunError(
                f"train.lora.target_modules: the model has no linear layer '{target}'.{hint}",
                code="RK639",
            )
    return list(dict.fromkeys(name for names in found.values() for name in names))


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
