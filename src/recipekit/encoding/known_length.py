"""The length that a model's files state, read without loading it. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from recipekit.errors import ModelError
from recipekit.json_file import read_json

__all__ = ["NO_LIMIT", "check_length", "first_module", "stated_length", "stated_positions"]

NO_LIMIT: Final = 1_000_000
"""Tokenizers state a length above this if they have no limit."""
AFTER_PADDING: Final = frozenset(
    "camembert data2vec-text ibert longformer luke mpnet roberta roberta-prelayernorm xlm-roberta "
    "xlm-roberta-xl xmod".split()
)
"""Types of models that count positions from `padding_idx + 1`."""
LENGTH_FILES: Final = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""Files with a `max_seq_length`, by the names that sentence-transformers has given them."""


def stated_positions(folder: Path) -> int | None:
    """Return how many tokens a transformer has positions for; None if its files do not state it.

    Args:
        folder: The folder of the model.
    """
    first, kind = first_module(folder)
    config = read_json(first / "config.json")
    if not isinstance(config, dict) or kind.endswith("StaticEmbedding"):
        return None
    own: Mapping[str, Any] = config.get("text_config") or config
    positions = own.get("max_position_embeddings")
    if not isinstance(positions, int) or positions <= 0:
        return None
    if own.get("model_type") not in AFTER_PADDING:
        return positions
    padding = own.get("pad_token_id")
    return positions - padding - 1 if isinstance(padding, int) else None


def stated_length(folder: Path, requested: int | None) -> int | None:
    """Return the tokens after which a model's texts are cut; None if its files do not state it.

    Args:
        folder: The folder of the model.
        requested: The recipe's `max_length`, if it has one.
    """
    if requested is not None:
        return requested
    first, _ = first_module(folder)
    stated = [read_json(first / name) for name in LENGTH_FILES]
    lengths = [each.get("max_seq_length") for each in stated if isinstance(each, dict)]
    tokenizer = read_json(first / "tokenizer_config.json")
    if isinstance(tokenizer, dict):
        lengths.append(tokenizer.get("model_max_length"))
    own = next((each for each in lengths if isinstance(each, int) and each <= NO_LIMIT), None)
    known = [each for each in (own, stated_positions(folder)) if each is not None]
    return min(known, default=None)


def check_length(name: str, requested: int, limit: int) -> None:
    """Check that a model has enough positions.

    Args:
        name: The model, as the recipe names it.
        requested: The recipe's `max_length`.
        limit: How many tokens the model has positions for.

    Raises:
        ModelError: It has fewer.
    """
    if requested > limit:
        raise ModelError(
            f"model '{name}' has {limit} positions, fewer than max_length {requested}: set at most "
            f"{limit}",
            code="RK416",
        )


def first_module(folder: Path) -> tuple[Path, str]:
    """Return the folder of the first module's files, and its class."""
    modules = read_json(folder / "modules.json")
    if not isinstance(modules, list) or not modules or not isinstance(modules[0], dict):
        return folder, ""
    return folder / str(modules[0].get("path", "")), str(modules[0].get("type", ""))
