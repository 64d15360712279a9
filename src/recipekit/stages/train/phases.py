"""The phases of a recipe, built with their labels and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from recipekit.arrays import Floats, Rows
from recipekit.component import Embeddings, Phase, PhaseSpec, TrainingContext, TrainingLabels
from recipekit.dataset import Dataset
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import ComponentError
from recipekit.own_texts import own_texts
from recipekit.records import Side
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.phase_settings import label_selection, optimizer_settings
from recipekit.stages.train.section import TrainSection
from recipekit.training.encode import encode_side
from recipekit.training.forward import EncoderForward
from recipekit.training.labels import LabelSelection, training_labels
from recipekit.training.schedule import ScheduledPhase

__all__ = ["BuiltPhase", "build_phases", "check_phase"]


@dataclass(frozen=True)
class BuiltPhase:
    """A phase with what it was built from."""

    spec: PhaseSpec
    labels: TrainingLabels
    scheduled: ScheduledPhase

    def counts(self, skipped: int) -> dict[str, int]:
        """Return its steps, its epochs and, if it reads labels, how many there are of each.

        Args:
            skipped: The steps that it did not run, since it stopped early.
        """
        steps = self.scheduled.steps - skipped
        labels = self.labels.counts() if self.spec.reads_labels else {}
        return {"steps": steps, "epochs": self.scheduled.epochs_begun(steps), **labels}


def build_phases(
    inputs: StageInputs,
    dataset: Dataset,
    section: TrainSection,
    tokens: Mapping[Side, TokenizedTexts],
    forward: EncoderForward,
    embed: Callable[[Side, Rows], Floats],
    scratch: Path,
) -> list[BuiltPhase]:
    """Build every phase with its labels and its optimizer settings.

    Args:
        inputs: The stage's inputs.
        dataset: The collected data.
        section: The `train` section.
        tokens: The texts of the sides that are encoded.
        forward: What the phases embed with, with gradients.
        embed: Embeds rows of a side with the present weights, or looks them up.
        scratch: A folder for those of the phases.

    Raises:
        RunError: A phase's queries have no positive.
        ComponentError: A phase lacks a member.
    """
    labels_of = _labels(inputs, dataset)
    encoder, ranks, progress = inputs.encoder(section.encoder), inputs.ranks, inputs.progress
    fixed_passages = "passage" not in tokens

    stored_of: dict[bytes, Embeddings] = {}

    def stored_passages(rows: Rows | None) -> Embeddings:
        stored = inputs.embeddings(section.encoder, "passage")
        if rows is None:
            return stored
        key = rows.tobytes()  # the positives of a phase: they fit into memory, and are read once
        if key not in stored_of:
            stored_of[key] = replace(stored, matrix=stored.take(rows), key="", rows=rows)
        return stored_of[key]

    def encode(side: Side, rows: Rows | None, folder: Path) -> Embeddings:
        if side == "passage" and fixed_passages:
            return stored_passages(rows)
        return encode_side(encoder, tokens[side], side, rows, folder, ranks, progress)

    phases = []
    for number, (name, slot) in enumerate(section.phases.items()):
        labels = TrainingLabels.empty()
        if slot.spec.reads_labels:
            labels = labels_of(label_selection(slot.spec, section))
        training = TrainingContext(
            encoder_name=section.encoder,
            encoder=encoder,
            number=number,
            seed=(inputs.seed, number),
            batch_size=slot.spec.batch_size or section.batch_size,
            labels=labels,
            forward=forward,
            encode=encode,
            embed=embed,
            fixed_passages=fixed_passages,
        )
        context = inputs.context(scratch / "phases" / name)
        phase = slot.spec.build(replace(context, _training=training))
        check_phase(name, phase)
        settings = optimizer_settings(slot.spec, section)
        phases.append(BuiltPhase(slot.spec, labels, ScheduledPhase(name, phase, settings)))
    return phases


def _labels(inputs: StageInputs, dataset: Dataset) -> Callable[[LabelSelection], TrainingLabels]:
    """Return a function that collects labels, once for all phases that select the same."""
    candidates, judgments = inputs.table("candidates"), inputs.table("judgments")
    own = own_texts(dataset)

    @cache
    def labels_of(selection: LabelSelection) -> TrainingLabels:
        is_judged = judgments is not None and selection.labels == "judged"
        if candidates is not None and not is_judged and selection.unjudged == "ignore":
            inputs.progress.warn(
                "train leaves out all candidates of mine, since no judge decides about them, and "
                "the hardest negatives are among them: judge them, or set `unjudged: negative`"
            )
        return training_labels(
            dataset, candidates=candidates, judgments=judgments, own=own, selection=selection
        )

    return labels_of


def check_phase(name: str, phase: object) -> None:
    """Check that a phase has what the training loop uses, before anything is trained.

    Raises:
        ComponentError: It lacks a member. A class that derives from `Phase` has all but two.
    """
    unchanged = getattr(type(phase), "gradient", None) is Phase.gradient
    own = [name for name in ("parts", "gradient") if not hasattr(phase, name)]
    own += ["gradient"] if unchanged else []
    if own:
        raise ComponentError(
            f"train.phases.{name} builds a {type(phase).__name__} without {', '.join(own)}, which "
            "every phase defines: see recipekit.component.Phase",
            code="RK206",
        )
    methods = ("start", "begin", "unchanged_sides", "finish", "state", "save", "restore", "end")
    members = ("separates_towers", "trains_ranking", *methods)
    missing = [member for member in members if not hasattr(phase, member)]
    if missing:
        raise ComponentError(
            f"train.phases.{name} builds a {type(phase).__name__} without {', '.join(missing)}: "
            "make it a subclass of recipekit.component.Phase, which has defaults",
            code="RK206",
        )
