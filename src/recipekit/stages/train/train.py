"""The train stage: trains an encoder on the judged data.

It reads the collected data and, where the recipe has them, candidates and judgments. It writes
`encoder/`, which sentence-transformers loads, and `training.json`, the loss curve and the dev
values. While it works, `scratch/` holds checkpoints and frozen matrices: a killed run continues
from the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from recipekit.arrays import Floats, Rows
from recipekit.artifacts.store import write_json
from recipekit.component import Encoder, EncoderSpec, LossSpec, Slot, VectorSourceSpec
from recipekit.dataset import Dataset
from recipekit.encoding.embed import embed_tokens
from recipekit.encoding.model_size import count_parameters
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import RunError
from recipekit.recipe.slots import all_slots
from recipekit.records import SIDES, Side, Similarity
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.check import unusable_similarity
from recipekit.stages.train.dev_evaluation import prepare_dev
from recipekit.stages.train.phases import BuiltPhase, build_phases
from recipekit.stages.train.section import TrainSection
from recipekit.training.forward import EncoderForward
from recipekit.training.loop import TrainingLoop
from recipekit.training.schedule import ScheduledPhase
from recipekit.training.trainable import (
    LoraSettings,
    add_lora,
    checkpoint_layers,
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
        The summary: `steps` and `epochs` that ran; `similarity`, `tokens` and `seconds`; `weights`,
        how many there are and are trained; `unchanged_sides`, those whose weights are still the
        initial ones, like passages' if only queries were trained with separate towers; `phases`,
        the steps and epochs of each that ran, and its label counts; `truncated`, the share of each
        side's texts that are cut; `dev`, the metric, its untrained, best and kept value, the steps
        of the latter two, and the numbers of queries and passages (null without evaluation);
        `notes` for the report.

    Raises:
        RunError: There is nothing to train on, or the loss is not finite, or training diverged.
    """
    recipe_seed = inputs.seed
    if section.seed is not None:
        inputs = replace(inputs, seed=section.seed)
    dataset, scratch = inputs.dataset, out / "scratch"
    if dataset is None:
        raise RunError("no data was collected to train on", code="RK630")
    encoder = _encoder_to_train(inputs, section)
    stored = inputs.encoders[section.encoder].spec.stored_passages()
    sides: tuple[Side, ...] = ("query",) if stored else SIDES
    tokens = {side: inputs.tokens(section.encoder, side) for side in sides}
    forward = EncoderForward(
        encoder,
        tokens,
        inputs.ranks,
        section.precision,
        section.dropout,
        max(1, section.max_tokens_per_batch // inputs.ranks.pass_divisor),
    )
    embed = _embedder(inputs, section, tokens)
    phases = build_phases(inputs, dataset, section, tokens, forward, embed, scratch)
    inputs.release_encoders(keep=section.encoder)  # guides and teachers have embedded the texts
    scheduled = [phase.scheduled for phase in phases]
    dev = prepare_dev(inputs, dataset, section, embed, scheduled, recipe_seed)

    loop = TrainingLoop(
        encoder,
        scheduled,
        ranks=inputs.ranks,
        progress=inputs.progress,
        scratch=scratch,
        dropout=section.dropout,
        dev=dev.evaluation if dev else None,
        forward=forward,
        name_texts=lambda rows: _name_texts(dataset, rows),
    )
    state = loop.run()

    dev_summary = dev.summary(state) if dev else None
    weights = _weights(_module(encoder))
    unchanged = _save(inputs, section, encoder, dev_summary, out / "encoder")
    if inputs.ranks.is_main:
        write_json(out / "training.json", _training_json(loop, scheduled, dev_summary))
    inputs.ranks.barrier()
    skipped = {stopped["phase"]: stopped["skipped"] for stopped in state.stopped}
    counts = {
        phase.scheduled.name: phase.counts(skipped.get(phase.scheduled.name, 0)) for phase in phases
    }
    return {
        "steps": sum(count["steps"] for count in counts.values()),
        "epochs": sum(count["epochs"] for count in counts.values()),
        "similarity": encoder.similarity,
        "weights": weights,
        "unchanged_sides": unchanged,
        "phases": counts,
        "truncated": {
            side: (texts.truncated or 0) / max(1, len(texts)) for side, texts in tokens.items()
        },
        "tokens": state.tokens,
        "seconds": round(state.seconds, 1),
        "dev": dev_summary,
        "notes": _notes(phases, stored),
    }


def _module(encoder: Encoder) -> nn.Module:
    """Return an encoder as the module that it is."""
    return cast(nn.Module, encoder)


def _encoder_to_train(inputs: StageInputs, section: TrainSection) -> Encoder:
    """Return the encoder, with what is trained of it chosen."""
    encoder = inputs.unprepared_encoder(section.encoder)
    _check_similarity(encoder.similarity, section, inputs.encoders[section.encoder].spec)
    _choose_weights(inputs, _module(encoder), section)
    return inputs.encoder(section.encoder)


def _choose_weights(inputs: StageInputs, encoder: nn.Module, section: TrainSection) -> None:
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
        trained, weights = _weights(encoder).values()
        inputs.progress.info(
            f"{trained:,} of {weights:,} weights are trained ({trained / weights:.1%})"
        )


def _weights(encoder: nn.Module) -> dict[str, int]:
    """Return how many weights are trained, and how many there are."""
    return {
        "trained": count_parameters(encoder, trainable_only=True),
        "all": count_parameters(encoder),
    }


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


def _save(
    inputs: StageInputs,
    section: TrainSection,
    encoder: Encoder,
    dev_summary: Mapping[str, Any] | None,
    folder: Path,
) -> list[Side]:
    """Write the encoder, and return the sides whose weights are still the initial ones.

    All ranks call this together. The main rank writes, and the others return an empty list.
    """
    module = inputs.ranks.whole(_module(encoder))
    if module is None:
        return []
    if section.lora is not None:
        merge_lora(module)
    whole = cast(Encoder, module)
    unchanged = _unchanged_sides(inputs, section.encoder, whole, dev_summary)
    whole.save(folder)
    return unchanged


def _unchanged_sides(
    inputs: StageInputs, name: str, trained: Encoder, dev_summary: Mapping[str, Any] | None
) -> list[Side]:
    """Return the sides that are encoded with their initial weights, so that vectors can be kept."""
    kept_untrained = dev_summary is not None and dev_summary["kept_step"] == 0
    if trained.weights_of("query") is None or (trained.tied and not kept_untrained):
        return []
    initial: Encoder = inputs.encoders[name].spec.build(
        inputs.context(inputs.store.root / "scratch")
    )
    if initial.has_untrained_dense:
        return []  # its initial weights are random and are not used
    return [
        side for side in SIDES if _are_equal(initial.weights_of(side), trained.weights_of(side))
    ]


def _are_equal(
    first: Mapping[str, torch.Tensor] | None, second: Mapping[str, torch.Tensor] | None
) -> bool:
    """Return whether two sets of weights are known and the same, bit by bit."""
    if first is None or second is None:
        return False
    return first.keys() == second.keys() and all(
        torch.equal(tensor.cpu(), second[name].cpu()) for name, tensor in first.items()
    )


def _name_texts(dataset: Dataset, rows_of: Mapping[Side, Rows]) -> str:
    """Return the ids of the first of some texts, for an error message."""
    texts = {"query": ("queries", dataset.queries), "passage": ("passages", dataset.passages)}
    named = []
    for side, rows in rows_of.items():
        name, table = texts[side]
        ids = [f"'{one}'" for one in table.column("id", rows[:NAMED_TEXTS])]
        more = f" and {len(rows) - NAMED_TEXTS:,} more" if len(rows) > NAMED_TEXTS else ""
        named.append(f"{name} {', '.join(ids)}{more}")
    return "; ".join(named)


def _check_similarity(similarity: Similarity, section: TrainSection, encoder: EncoderSpec) -> None:
    """Check that every loss can train an encoder with this similarity."""
    for _, slot in all_slots(section):
        if isinstance(slot.spec, LossSpec):
            message = unusable_similarity(slot.entry.name, slot.spec, similarity, encoder)
            if message:
                raise RunError(message, code="RK637")


def _notes(phases: Sequence[BuiltPhase], stored: Slot[VectorSourceSpec] | None) -> list[str]:
    """Return what the report states next to the metrics."""
    notes = []
    if any(phase.spec.reads_corpus for phase in phases):
        notes.append(READS_CORPUS)
    if stored is not None:
        notes.append(FIXED_PASSAGES.format(stored.spec.described()))
    return notes


def _training_json(
    loop: TrainingLoop, phases: Sequence[ScheduledPhase], dev_summary: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the content of `training.json`.

    `resumed_from` has the step of each time that training continued after an interruption, and
    `max_tokens_per_batch` the padded tokens of a forward pass at the end, which a lack of memory
    may have made smaller than the recipe's.
    """
    state, forward = loop.state, loop.forward
    return {
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "phases": [scheduled.name for scheduled in phases],
        "resumed_from": loop.resumed_from,
        "max_tokens_per_batch": None if forward is None else forward.max_tokens_per_batch,
        "curve": state.curve,
        "parts": state.parts,
        "stopped": state.stopped,
        "dev": {"points": state.dev.get("points", []), "summary": dev_summary},
    }
