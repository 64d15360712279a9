"""The train stage: trains an encoder on the judged data.

It reads the collected data and, where the recipe has them, candidates and judgments. It writes
`encoder/`, which sentence-transformers loads, and `training.json`, the loss curve and the dev
values. While it works, `scratch/` holds checkpoints and frozen matrices: a killed run continues
from the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from recipekit.arrays import Floats, Rows
from recipekit.artifacts.store import write_json
from recipekit.component import (
    Embeddings,
    EncoderSpec,
    LossSpec,
    Phase,
    PhaseSpec,
    TrainingContext,
    TrainingLabels,
)
from recipekit.dataset import Dataset
from recipekit.encoding.embed import embed_tokens
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import ComponentError, RunError
from recipekit.own_texts import own_texts
from recipekit.recipe.slots import all_slots
from recipekit.records import Side, Similarity
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.check import unusable_similarity
from recipekit.stages.train.dev_evaluation import dev_metric, dev_sample
from recipekit.stages.train.phase_settings import label_selection, optimizer_settings
from recipekit.stages.train.section import TrainSection
from recipekit.tables import read_table
from recipekit.training.encode import encode_side
from recipekit.training.forward import EncoderForward
from recipekit.training.labels import LabelSelection, training_labels
from recipekit.training.loop import DevEvaluation, ScheduledPhase, TrainingLoop, TrainingState
from recipekit.training.selection import DevHistory, SelectionRule
from recipekit.training.trainable import (
    LoraSettings,
    add_lora,
    checkpoint_layers,
    count_weights,
    freeze,
    merge_lora,
)

__all__ = ["train"]

READS_CORPUS = (
    "training reads every passage of the corpus as unlabelled text, including those of the test "
    "queries: the metrics are those of a corpus that was known when the encoder was trained"
)
"""Stated by the report next to the metrics if a phase trains on all passages."""

FIXED_PASSAGES = (
    "passages were not encoded: their vectors are those of {}, and the trained encoder embeds "
    "queries for them"
)
"""Stated by the report if the passages' vectors come from outside."""

NAMED_TEXTS = 3
"""Queries, and passages, of a batch that an error names."""


def train(inputs: StageInputs, section: TrainSection, out: Path) -> dict[str, Any]:
    """Train `section.encoder`; write `out/encoder` and `out/training.json`.

    Returns:
        The summary: `steps`, `epochs`, `similarity`, `tokens` and `seconds`; `weights`, how many
        there are and are trained; `unchanged_sides`, those whose weights are still the initial
        ones, as passages' are if queries alone were trained with separate towers; `phases`, the
        steps, epochs and label counts of each; `truncated`, the share of each side's texts that are
        cut; `dev`, the metric, its untrained, best and kept value, the steps of the latter two, and
        the numbers of queries and passages (null without evaluation); `notes` for the report.

    Raises:
        RunError: There is nothing to train on, or the loss is not finite, or training diverged.
    """
    if section.seed is not None:
        inputs = replace(inputs, seed=section.seed)
    dataset, scratch = inputs.dataset, out / "scratch"
    if dataset is None:
        raise RunError("no data was collected to train on", code="RK630")
    encoder: Any = inputs.unprepared_encoder(section.encoder)
    _check_similarity(encoder.similarity, section, inputs.encoders[section.encoder].spec)
    _choose_weights(inputs, encoder, section)
    encoder = inputs.encoder(section.encoder)
    stored = inputs.encoders[section.encoder].spec.stored_passages()
    sides: tuple[Side, ...] = ("query",) if stored else ("query", "passage")
    tokens = {side: inputs.tokens(section.encoder, side) for side in sides}
    forward = EncoderForward(
        encoder,
        tokens,
        inputs.ranks,
        section.precision,
        section.dropout,
        section.max_tokens_per_batch,
    )
    phases = _build_phases(inputs, dataset, section, tokens, forward, scratch)
    dev = _dev_evaluation(inputs, dataset, section, tokens, phases)

    loop = TrainingLoop(
        encoder,
        [phase.scheduled for phase in phases],
        ranks=inputs.ranks,
        progress=inputs.progress,
        scratch=scratch,
        dropout=section.dropout,
        dev=dev.evaluation if dev else None,
        forward=forward,
        describe_batch=lambda: _describe_batch(dataset, forward.embedded),
    )
    state = loop.run()

    dev_summary = dev.summary(state) if dev else None
    encoder.language_model_head = None  # it belongs to the phase that trained it
    trained, weights = count_weights(encoder)
    whole: Any = inputs.ranks.whole(encoder)
    unchanged: list[Side] = []
    if whole is not None:
        if section.lora is not None:
            merge_lora(whole)
        unchanged = _unchanged_sides(inputs, section.encoder, whole, dev_summary)
        whole.save(out / "encoder")
        write_json(out / "training.json", _training_json(state, phases, dev_summary))
    inputs.ranks.barrier()
    reads_corpus = any(phase.spec.reads_corpus for phase in phases)
    return {
        "steps": state.step - sum(stopped["skipped"] for stopped in state.stopped),
        "epochs": loop.epochs,
        "similarity": encoder.similarity,
        "weights": {"trained": trained, "all": weights},
        "unchanged_sides": unchanged,
        "phases": {phase.scheduled.name: phase.counts() for phase in phases},
        "truncated": {
            side: (texts.truncated or 0) / max(1, len(texts)) for side, texts in tokens.items()
        },
        "tokens": state.tokens,
        "seconds": round(state.seconds, 1),
        "dev": dev_summary,
        "notes": [
            *([READS_CORPUS] if reads_corpus else []),
            *([FIXED_PASSAGES.format(stored.spec.described())] if stored else []),
        ],
    }


def _choose_weights(inputs: StageInputs, encoder: Any, section: TrainSection) -> None:
    """Choose what is trained, and how activations are kept, before anything is computed."""
    if section.freeze is not None:
        freeze(encoder, embeddings=section.freeze.embeddings, layers=section.freeze.layers)
    if section.gradient_checkpointing:
        checkpoint_layers(encoder)
    if section.lora is not None:
        lora = section.lora
        settings = LoraSettings(lora.r, lora.alpha, lora.dropout, lora.target_modules)
        add_lora(encoder, settings, inputs.seed)
    if section.freeze is not None or section.lora is not None:
        trained, weights = count_weights(encoder)
        inputs.progress.info(
            f"{trained:,} of {weights:,} weights are trained ({trained / weights:.1%})"
        )


def _unchanged_sides(
    inputs: StageInputs, name: str, trained: Any, dev_summary: Mapping[str, Any] | None
) -> list[Side]:
    """Return the sides that are encoded with their initial weights, so that vectors can be kept."""
    kept_untrained = dev_summary is not None and dev_summary["kept_step"] == 0
    if not hasattr(trained, "weights_of") or (trained.tied and not kept_untrained):
        return []
    initial: Any = inputs.encoders[name].spec.build(inputs.context(inputs.store.root / "scratch"))
    if getattr(initial, "has_untrained_dense", False):
        return []  # its initial weights are random and are not used
    sides: tuple[Side, ...] = ("query", "passage")
    return [
        side for side in sides if _are_equal(initial.weights_of(side), trained.weights_of(side))
    ]


def _are_equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    """Return whether two sets of weights are the same, bit by bit."""
    return first.keys() == second.keys() and all(
        torch.equal(tensor.cpu(), second[name].cpu()) for name, tensor in first.items()
    )


def _describe_batch(dataset: Dataset, embedded: Mapping[Side, Sequence[Rows]]) -> str:
    """Return the ids of the first texts of a batch, for an error message."""
    texts = {"query": ("queries", dataset.queries), "passage": ("passages", dataset.passages)}
    described = []
    for side, passes in embedded.items():
        # Cached gradients embed the same rows twice.
        rows = list(dict.fromkeys(np.concatenate(passes).tolist()))
        if rows:
            name, table = texts[side]
            ids = [f"'{one}'" for one in table.column("id", np.array(rows[:NAMED_TEXTS]))]
            more = f" and {len(rows) - NAMED_TEXTS:,} more" if len(rows) > NAMED_TEXTS else ""
            described.append(f"{name} {', '.join(ids)}{more}")
    return f" (batch: {'; '.join(described)})" if described else ""


def _check_similarity(similarity: Similarity, section: TrainSection, encoder: EncoderSpec) -> None:
    """Check that every loss can train an encoder with this similarity."""
    for _, slot in all_slots(section):
        if isinstance(slot.spec, LossSpec):
            message = unusable_similarity(slot.entry.name, slot.spec, similarity, encoder)
            if message:
                raise RunError(message, code="RK637")


# Phases
# -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _BuiltPhase:
    spec: PhaseSpec
    labels: TrainingLabels
    scheduled: ScheduledPhase

    def counts(self) -> dict[str, int]:
        scheduled = self.scheduled
        labels = self.labels.counts() if self.spec.reads_labels else {}
        return {"steps": scheduled.steps, "epochs": scheduled.epochs, **labels}


def _build_phases(
    inputs: StageInputs,
    dataset: Dataset,
    section: TrainSection,
    tokens: Mapping[Side, TokenizedTexts],
    forward: EncoderForward,
    scratch: Path,
) -> list[_BuiltPhase]:
    """Build every phase with its labels and its optimizer settings."""
    candidates = _table(inputs, "candidates")
    judgments = _table(inputs, "judgments")

    own = own_texts(dataset)

    @cache
    def labels_of(selection: LabelSelection) -> TrainingLabels:
        return training_labels(
            dataset, candidates=candidates, judgments=judgments, own=own, selection=selection
        )

    encoder, ranks, progress = inputs.encoder(section.encoder), inputs.ranks, inputs.progress
    embed = _embedder(inputs, section, tokens)
    fixed_passages = "passage" not in tokens

    def encode(side: Side, rows: Rows | None, folder: Path) -> Embeddings:
        if side == "passage" and fixed_passages:
            return inputs.embeddings(section.encoder, "passage")
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
        _check_phase(name, phase)
        settings = optimizer_settings(slot.spec, section)
        phases.append(_BuiltPhase(slot.spec, labels, ScheduledPhase(name, phase, settings)))
    return phases


def _embedder(
    inputs: StageInputs, section: TrainSection, tokens: Mapping[Side, TokenizedTexts]
) -> Callable[[Side, Rows], Floats]:
    """Return a function that embeds a few texts with the present weights, or looks them up."""
    encoder, ranks, progress = inputs.encoder(section.encoder), inputs.ranks, inputs.progress

    def embed(side: Side, rows: Rows) -> Floats:
        if side not in tokens:
            stored = inputs.embeddings(section.encoder, side).take(rows)
            return np.asarray(stored, dtype=np.float32)
        return embed_tokens(encoder, tokens[side], rows, side, ranks, progress=progress)

    return embed


def _check_phase(name: str, phase: object) -> None:
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
    methods = ("begin", "finish", "state", "save", "restore", "end")
    members = ("separates_towers", "trains_ranking", *methods)
    missing = [member for member in members if not hasattr(phase, member)]
    if missing:
        raise ComponentError(
            f"train.phases.{name} builds a {type(phase).__name__} without {', '.join(missing)}: "
            "make it a subclass of recipekit.component.Phase, which has defaults",
            code="RK206",
        )


def _table(inputs: StageInputs, name: str) -> pa.Table | None:
    file = inputs.files.get(name)
    return read_table(file) if file else None


# Dev evaluation
# -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dev:
    evaluation: DevEvaluation
    queries: int
    passages: int

    def summary(self, state: TrainingState) -> dict[str, Any]:
        history = DevHistory.of(state.dev)
        return {
            "metric": self.evaluation.metric,
            "untrained": history.value(0),
            "best": history.value(history.best_step),
            "best_step": history.best_step,
            "kept": history.value(history.kept_step),
            "kept_step": history.kept_step,
            "queries": self.queries,
            "passages": self.passages,
        }


def _dev_evaluation(
    inputs: StageInputs,
    dataset: Dataset,
    section: TrainSection,
    tokens: Mapping[Side, TokenizedTexts],
    phases: Sequence[_BuiltPhase],
) -> _Dev | None:
    """Prepare the dev evaluation, or return None without one."""
    if section.eval_every_epochs is None:
        return None
    judgments = _table(inputs, "judgments")
    sample = dev_sample(dataset, judgments, section.dev_corpus_size, inputs.seed)
    if len(sample.queries) == 0:
        inputs.progress.warn(
            "the dev split has no query with a positive: training is not evaluated, and the last "
            "weights are kept"
        )
        return None
    encoder = inputs.encoder(section.encoder)
    embed = _embedder(inputs, section, tokens)
    measure = dev_metric(encoder, embed, dataset, sample, section.dev_metric, inputs.ranks)
    rule = SelectionRule(section.keep_weights, section.patience, section.average_weights)
    if not any(phase.scheduled.phase.trains_ranking for phase in phases):
        # The dev metric says nothing about how well such phases have trained.
        rule = replace(rule, keep="last", patience=None)
    evaluation = DevEvaluation(measure, section.dev_metric, section.eval_every_epochs, rule)
    return _Dev(evaluation, len(sample.queries), len(sample.passages))


def _training_json(
    state: TrainingState, phases: Sequence[_BuiltPhase], dev_summary: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the content of `training.json`."""
    return {
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "phases": [phase.scheduled.name for phase in phases],
        "curve": state.curve,
        "parts": state.parts,
        "stopped": state.stopped,
        "dev": {"points": state.dev.get("points", []), "summary": dev_summary},
    }
