"""Reduces the dimensions of a saved sentence-transformers model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from torch import nn
from transformers.utils import logging

from recipekit.arrays import Floats
from recipekit.encoding.compression import Compressor

__all__ = ["reduce_model"]


def reduce_model(encoder: Path, compressor: Compressor, folder: Path) -> None:
    """Write a saved model whose vectors are those of `compressor.reduce`.

    Fewer first dimensions become the model's `truncate_dim`. Principal components become a Dense
    layer, and vectors of `cosine` are scaled to length 1 after it.

    Args:
        encoder: The folder of the saved model.
        compressor: What reduces its vectors.
        folder: Where the reduced model is written.
    """
    logging.disable_progress_bar()  # the run shows its own progress
    model: Any = SentenceTransformer(str(encoder), device="cpu")
    if compressor.components is None:
        model.truncate_dim = compressor.dimension
    else:
        width = next(
            int(module.get_embedding_dimension())
            for module in reversed(list(model.children()))
            if hasattr(module, "get_embedding_dimension")
        )
        model.truncate_dim = None
        _append(model, _dense(compressor.components, width))
        if compressor.similarity == "cosine":
            _append(model, Normalize())
    model.save(str(folder), create_model_card=False)


def _append(model: nn.Sequential, module: nn.Module) -> None:
    model.add_module(str(len(model)), module)


def _dense(components: Floats, width: int) -> Any:
    """Return a layer that projects vectors of a width, of which only the first part may count."""
    dimension, used = components.shape
    dense = Dense(width, dimension, bias=False, activation_function=nn.Identity())
    with torch.no_grad():
        dense.linear.weight.zero_()
        dense.linear.weight[:, :used] = torch.from_numpy(components)
    return dense
