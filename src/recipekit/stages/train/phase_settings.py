"""A phase's settings: its own keys, with the train section's values as defaults."""

from __future__ import annotations

from typing import TypeVar

from recipekit.component import PhaseSpec
from recipekit.stages.train.section import TrainSection
from recipekit.training.labels import LabelSelection
from recipekit.training.optimizer import OptimizerSettings

__all__ = ["label_selection", "optimizer_settings"]

Value = TypeVar("Value")


def label_selection(spec: PhaseSpec, section: TrainSection) -> LabelSelection:
    """Return the queries and labels that a phase trains on."""
    return LabelSelection(
        splits=spec.splits,
        sources=spec.sources,
        labels=spec.labels,
        unjudged=_inherit(spec.unjudged, section.unjudged),
        positive_weights=spec.positive_weights,
    )


def optimizer_settings(spec: PhaseSpec, section: TrainSection) -> OptimizerSettings:
    """Return a phase's optimizer and learning-rate schedule."""
    return OptimizerSettings(
        learning_rate=_inherit(spec.learning_rate, section.learning_rate),
        lr_scheduler=_inherit(spec.lr_scheduler, section.lr_scheduler),
        warmup_ratio=_inherit(spec.warmup_ratio, section.warmup_ratio),
        weight_decay=_inherit(spec.weight_decay, section.weight_decay),
        max_grad_norm=_inherit(spec.max_grad_norm, section.max_grad_norm),
    )


def _inherit(own: Value | None, default: Value) -> Value:
    return default if own is None else own
