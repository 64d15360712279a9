"""A train stage outside a run: its inputs and its section, made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import Component, Progress, Ranks, Slot
from recipekit.dataset import Dataset
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.losses.exact_softmax import ExactSoftmaxSpec
from recipekit.losses.infonce import InfoNCESpec
from recipekit.registry import Entry
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.section import TrainSection
from recipekit.testing import RecordingProgress

EXACT = {"use": "exact_softmax", "temperature": 0.05}
INFONCE = {"use": "infonce", "temperature": 0.05, "num_hard_negatives": 1}


SPECS: dict[str, type[Component]] = {
    "exact_softmax": ExactSoftmaxSpec,
    "infonce": InfoNCESpec,
    "bi_encoder": BiEncoderSpec,
}


def bound(slot: Slot) -> Slot:
    """A slot as the loader leaves it."""
    spec = SPECS[slot.use]
    slot.bind(
        Entry(spec.kind, slot.use, "recipekit", "0", f"{spec.__module__}:{spec.__name__}"),
        spec.model_validate(slot.fields),
    )
    return slot


def train_section(
    loss: dict[str, Any] = EXACT, *, query_epochs: int = 2, cycles: int = 1, **fields: Any
) -> TrainSection:
    """One phase in fp32, with batches of 5 queries."""
    given = {"batch_size": 5, "learning_rate": 1e-3, "precision": "fp32", **fields}
    section = TrainSection(
        phases={"only": {"loss": loss, "query_epochs": query_epochs, "cycles": cycles}}, **given
    )
    bound(section.phases["only"].loss)
    return section


def train_inputs(
    folder: Path,
    model: Path,
    dataset: Dataset,
    *,
    progress: Progress | None = None,
    ranks: Ranks | None = None,
    artifacts: dict[str, Path] | None = None,
    **encoder: Any,
) -> StageInputs:
    """StageInputs over a collected data set, with `student` the model in fp32.

    `artifacts` are the folders of mine and judge.
    """
    others = {
        stage: Artifact(stage, f"test-{stage}", path) for stage, path in (artifacts or {}).items()
    }
    return StageInputs(
        recipe_name="test",
        seed=13,
        artifacts={"collect": Artifact("collect", dataset.key, dataset.path), **others},
        encoders={
            "student": bound(
                Slot(use="bi_encoder", model=str(model), **{"precision": "fp32", **encoder})
            )
        },
        trained="student",
        store=Store(folder / "store"),
        hashes=FileHashes(),
        progress=progress or RecordingProgress(),
        ranks=ranks or Ranks(),
    )
