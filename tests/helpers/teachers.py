"""Training on the scores of a teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from helpers.train_inputs import bind, train_inputs
from recipekit.component import Slot
from recipekit.dataset import Dataset
from recipekit.stages.inputs import StageInputs

DISTILLED = {
    "use": "in_batch",
    "epochs": 3,
    "num_hard_negatives": 2,
    "loss": {"use": "sentence_transformers", "loss": "MarginMSELoss", "teacher": "cross"},
}
AGAIN = {**DISTILLED, "loss": {**DISTILLED["loss"], "loss": "DistillKLDivLoss"}}


def inputs_with_teachers(
    folder: Path, model: Path, dataset: Dataset, cross: Path, **fields: Any
) -> StageInputs:
    """Inputs with the teachers `cross`, and `dot`, which compares vectors by inner product."""
    inputs = train_inputs(folder, model, dataset, **fields)
    cross_slot = Slot(use="cross_encoder", model=str(cross), precision="fp32")
    dot = Slot(use="bi_encoder", model=str(model), precision="fp32", similarity="dot")
    encoders = {"cross": cross_slot, "dot": dot}
    named = {name: bind(slot, "encoder") for name, slot in encoders.items()}
    inputs.encoders = {**inputs.encoders, **named}
    return inputs


def with_negatives(
    make_dataset: Callable[..., Dataset], words: Sequence[str], *, steps: Sequence[int]
) -> Dataset:
    """8 queries with a positive, and a source negative for each step away from it."""
    queries = [(f"q{i}", " ".join(words[i : i + 2]), "train") for i in range(8)]
    passages = [(f"p{i}", " ".join(words[i : i + 4])) for i in range(12)]
    labels = {(i, i): 1.0 for i in range(8)}
    labels |= {(i, (i + step) % 12): 0.0 for i in range(8) for step in steps}
    return make_dataset(queries, passages, labels)
