"""The keys of a recipe for the arguments of transformers and sentence-transformers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

__all__ = ["key_for"]


class _Key(NamedTuple):
    """A key of a recipe."""

    names: tuple[str, ...]
    """Its names in different places; the first one counts where none of them belongs."""
    place: str
    """Where it belongs."""
    note: str = ""
    """How it differs from the argument."""


_EPOCHS: Final = _Key(("epochs", "query_epochs"), "in a phase of `train`")
_BATCH_SIZE: Final = _Key(
    ("batch_size",), "in `train` or a phase", ", the queries of a step on all devices together"
)
_PRECISION: Final = _Key(("precision",), "in `train`", ": bf16 or fp32")
_EVALUATIONS: Final = _Key(("eval_every_epochs",), "in `train`")
_MEMORY: Final = _Key(
    ("max_tokens_per_batch",), "in `train`", ", since larger steps are accumulated by themselves"
)
_MODEL: Final = _Key(("model",), "in an encoder")
_WARMUP: Final = _Key(("warmup_ratio",), "in `train` or a phase", ", a share of the phase's steps")

_KEYS: Final[Mapping[str, _Key]] = {
    "num_train_epochs": _EPOCHS,
    "num_epochs": _EPOCHS,
    "epochs": _EPOCHS,
    "per_device_train_batch_size": _BATCH_SIZE,
    "train_batch_size": _BATCH_SIZE,
    "bf16": _PRECISION,
    "fp16": _PRECISION,
    "lr": _Key(("learning_rate",), "in `train` or a phase"),
    "lr_scheduler_type": _Key(("lr_scheduler",), "in `train` or a phase"),
    "warmup_steps": _WARMUP,
    "gradient_accumulation_steps": _MEMORY,
    "mini_batch_size": _MEMORY,
    "eval_strategy": _EVALUATIONS,
    "evaluation_strategy": _EVALUATIONS,
    "eval_steps": _EVALUATIONS,
    "evaluation_steps": _EVALUATIONS,
    "load_best_model_at_end": _Key(("keep_weights",), "in `train`", ": near_best, best or last"),
    "save_best_model": _Key(("keep_weights",), "in `train`", ": near_best, best or last"),
    "metric_for_best_model": _Key(("dev_metric",), "in `train`"),
    "early_stopping_patience": _Key(("patience",), "in `train`"),
    "data_seed": _Key(("seed",), "in `train`"),
    "peft_config": _Key(("lora",), "in `train`"),
    "max_seq_length": _Key(("max_length",), "in an encoder"),
    "model_name": _MODEL,
    "model_name_or_path": _MODEL,
    "model_id": _MODEL,
    "pooling_mode": _Key(("pooling",), "in an encoder"),
    "similarity_fn_name": _Key(("similarity",), "in an encoder"),
    "matryoshka_dims": _Key(("dimensions",), "in the loss `matryoshka`"),
    "matryoshka_weights": _Key(("weights",), "in the loss `matryoshka`"),
    "scale": _Key(("temperature",), "in a loss", ", its inverse: scale 20 is temperature 0.05"),
}


def key_for(argument: str, known: Collection[str]) -> str:
    """Return ` Write 'KEY' ...` for an argument of these libraries, or an empty text.

    Args:
        argument: The unknown key.
        known: The keys that belong where it is written.
    """
    key = _KEYS.get(argument)
    if key is None:
        return ""
    here = next((name for name in key.names if name in known), None)
    where = f"'{here}'" if here else f"'{key.names[0]}' {key.place}"
    return f" Write {where}{key.note}."
