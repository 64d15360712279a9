"""The conformance check for phases, and a training to build one in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recipekit.component import (
    Context,
    Embeddings,
    Encoder,
    Phase,
    PhaseSpec,
    TrainingContext,
)
from recipekit.testing.specs import check_spec, expect

if TYPE_CHECKING:
    import torch

    from recipekit.arrays import Floats, Rows
    from recipekit.records import Side

__all__ = ["check_phase", "training_context"]

BATCH_SIZE = 4


def training_context(spec: PhaseSpec, encoder: Encoder, context: Context) -> Context:
    """Return a context that has the training of an encoder on `context.dataset` as `training`.

    Args:
        spec: The phase, for its data selection and batch size.
        encoder: The encoder to train.
        context: A context with a data set.
    """
    from recipekit.encoding.embed import embed_tokens
    from recipekit.encoding.tokens import tokenize_table
    from recipekit.training.encode import encode_side
    from recipekit.training.forward import EncoderForward
    from recipekit.training.labels import LabelSelection, training_labels

    ranks, progress, dataset = context.ranks, context.progress, context.dataset
    sides: tuple[Side, ...] = ("query", "passage")
    tokens = {
        side: tokenize_table(
            encoder, dataset.table(side), side, context.scratch / "tokens" / side, progress
        )
        for side in sides
    }

    def encode(side: Side, rows: Rows | None, folder: Path) -> Embeddings:
        return encode_side(encoder, tokens[side], side, rows, folder, ranks, progress)

    def embed(side: Side, rows: Rows) -> Floats:
        return embed_tokens(encoder, tokens[side], rows, side, ranks)

    selection = LabelSelection(
        spec.splits, spec.sources, spec.labels, positive_weights=spec.positive_weights
    )
    training = TrainingContext(
        encoder_name="student",
        encoder=encoder,
        number=1,
        seed=(context.seed, 1),
        batch_size=spec.batch_size or BATCH_SIZE,
        labels=training_labels(dataset, selection=selection),
        forward=EncoderForward(
            encoder, tokens, ranks, "fp32", dropout=False, max_tokens_per_batch=512
        ),
        encode=encode,
        embed=embed,
    )
    return replace(context, _training=training)


def check_phase(spec: PhaseSpec, encoder: Encoder, context: Context) -> None:
    """Check a phase on `context.dataset` with an encoder to train.

    It plans its steps; a step gives a finite loss and gradient that depend only on the encoder, the
    seed and the step; its state is JSON; and its end can be repeated.
    """
    check_spec(spec, "phase")
    name = type(spec).__name__
    context = training_context(spec, encoder, context)
    phase = spec.build(context)
    parts = list(phase.parts)
    expect(
        bool(parts) and all(part.steps > 0 and part.steps_per_epoch > 0 for part in parts),
        f"{name}.parts is {parts}; every part needs steps",
    )
    expect(spec.total_epochs() > 0, f"{name}.total_epochs() is {spec.total_epochs()}")
    phase.begin(0)
    gradient = _gradient(name, phase, encoder)

    checkpoint = context.scratch / "checkpoint"
    checkpoint.mkdir(parents=True)
    phase.save(checkpoint)
    again = spec.build(context)
    again.restore(json.loads(json.dumps(dict(phase.state()))), checkpoint)
    again.begin(0)
    repeated = _gradient(name, again, encoder)
    expect(
        bool((gradient == repeated).all()),
        f"{name}: step 0 gives another gradient when it is repeated, as after a resume",
    )
    for built in (phase, again):
        built.end()
        built.end()


def _gradient(name: str, phase: Phase, encoder: Encoder) -> torch.Tensor:
    """Make step 0, check its result, and return all gradients, (n,)."""
    import torch

    module: Any = cast(torch.nn.Module, encoder)
    module.zero_grad(set_to_none=True)
    result = phase.gradient(0)
    expect(
        result.loss.shape == () and not result.loss.requires_grad,
        f"{name}.gradient() returns a loss of shape {tuple(result.loss.shape)}; a scalar without "
        "gradient is promised",
    )
    expect(bool(torch.isfinite(result.loss)), f"{name}: the loss is {float(result.loss)}")
    expect(result.tokens > 0, f"{name}.gradient() counts {result.tokens} tokens")
    gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
    expect(len(gradients) > 0, f"{name}.gradient() leaves no gradient in `.grad`")
    whole = torch.cat(gradients)
    expect(
        bool(torch.isfinite(whole).all()) and bool(whole.any()),
        f"{name}: the gradient is zero or not finite",
    )
    return whole
