"""The inputs and the section of a train stage, without a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store, write_json
from recipekit.component import Component, Progress, Ranks, SingleProcess, Slot
from recipekit.dataset import Dataset
from recipekit.recipe.slots import slots
from recipekit.registry import load, resolve
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.section import TrainSection
from recipekit.testing import RecordingProgress

COORDINATE_ASCENT = {
    "use": "coordinate_ascent",
    "loss": {"use": "exact_softmax", "temperature": 0.05},
    "query_epochs": 2,
}
BOTH_HALVES = {**COORDINATE_ASCENT, "passage_epochs": 1, "cycles": 2, "passage_batch_size": 7}
IN_BATCH = {
    "use": "in_batch",
    "loss": {"use": "infonce", "temperature": 0.05},
    "num_hard_negatives": 1,
    "epochs": 2,
}
MASKED = {"use": "masked_language_model", "texts": "both", "epochs": 2}


def bind(slot: Slot[Any], kind: str) -> Slot[Any]:
    """Bind a slot and the slots of its component, as the loader does."""
    entry = resolve(kind, slot.use)
    spec: Component[Any] = load(entry).model_validate(slot.fields)
    for _, inner_kind, inner in slots(type(spec), spec):
        bind(inner, inner_kind)
    slot.bind(entry, spec)
    return slot


def train_section(*phases: dict[str, Any], **fields: Any) -> TrainSection:
    """A section with phases `first`, `second` and `third`, in fp32 with batches of 5 queries."""
    names = ("first", "second", "third")
    section = TrainSection(
        phases=dict(zip(names, phases or [COORDINATE_ASCENT], strict=False)),
        **{"batch_size": 5, "learning_rate": 1e-3, "precision": "fp32", **fields},
    )
    for slot in section.phases.values():
        bind(slot, "phase")
    return section


def train_inputs(
    folder: Path,
    model: Path,
    dataset: Dataset,
    *,
    progress: Progress | None = None,
    ranks: Ranks | None = None,
    artifacts: dict[str, Path] | None = None,
    models: Mapping[str, Path] | None = None,
    **encoder: Any,
) -> StageInputs:
    """StageInputs over a collected data set, with the model in fp32 as `student`.

    `artifacts` are the folders of mine and judge, and `models` those of further encoders.
    """
    others = {
        stage: Artifact(stage, f"test-{stage}", path) for stage, path in (artifacts or {}).items()
    }
    slots = {
        name: Slot(use="bi_encoder", model=str(folder), precision="fp32")
        for name, folder in (models or {}).items()
    }
    slots["student"] = Slot(use="bi_encoder", model=str(model), **{"precision": "fp32", **encoder})
    return StageInputs(
        recipe_name="test",
        seed=13,
        artifacts={"collect": Artifact("collect", dataset.key, dataset.path), **others},
        encoders={name: bind(slot, "encoder") for name, slot in slots.items()},
        trained="student",
        store=Store(folder / "store"),
        hashes=FileHashes(),
        progress=progress or RecordingProgress(),
        ranks=ranks or SingleProcess(),
    )


def trained_artifact(folder: Path, summary: Mapping[str, Any] | None = None) -> Artifact:
    """The artifact of a train stage that wrote its files into a folder."""
    write_json(folder / "manifest.json", {"stage": "train", "summary": dict(summary or {})})
    return Artifact("train", "test-train", folder)
