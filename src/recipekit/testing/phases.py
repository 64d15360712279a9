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
    PhasePart,
    PhaseSpec,
    StepResult,
    TrainingContext,
    TrainingLabels,
)
from recipekit.records import SIDES
from recipekit.testing.promises import (
    build,
    call,
    conformance_check,
    expect,
    expect_dataset,
    expect_json_map,
    expect_members,
    expect_methods,
    found,
    is_number,
    items,
    member,
    new_folder,
    shown,
)
from recipekit.testing.specs import check_spec

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
    tokens = {
        side: tokenize_table(
            encoder, dataset.table(side), side, context.scratch / "tokens" / side, progress
        )
        for side in SIDES
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
        labels=training_labels(dataset, selection=selection)
        if spec.reads_labels
        else TrainingLabels.empty(),
        forward=EncoderForward(
            encoder, tokens, ranks, "fp32", dropout=False, max_tokens_per_batch=512
        ),
        encode=encode,
        embed=embed,
    )
    return replace(context, _training=training)


@conformance_check
def check_phase(spec: PhaseSpec, encoder: Encoder, context: Context) -> None:
    """Check a phase on `context.dataset` with an encoder to train.

    It plans its steps; a step gives a finite loss and gradient that depend only on the encoder, the
    seed and the step; its state is JSON; and its end can be repeated.

    Raises:
        AssertionError: It breaks a promise.
    """
    check_spec(spec, "phase")
    name = type(spec).__name__
    expect_dataset(name, context)
    expected = "an int above 0 is expected"
    epochs = call(f"{name}.total_epochs()", expected, spec.total_epochs)
    is_count = isinstance(epochs, int) and not isinstance(epochs, bool) and epochs > 0
    expect(is_count, f"{name}.total_epochs() returns {shown(epochs)}; {expected}")
    context = training_context(spec, encoder, context)
    phase = _built(name, spec, context)
    _begin(name, phase)
    gradient = _gradient(name, phase, encoder)

    checkpoint = new_folder(context, "checkpoint")
    call(f"{name}.save()", "it must write into an empty folder", lambda: phase.save(checkpoint))
    state = call(f"{name}.state()", "it must return a mapping", phase.state)
    expect_json_map(f"{name}.state()", state)
    again = _built(name, spec, context)
    call(
        f"{name}.restore()",
        "it must accept what state() and save() gave",
        lambda: again.restore(json.loads(json.dumps(dict(state))), checkpoint),
    )
    _begin(name, again)
    repeated = _gradient(name, again, encoder)
    expect(
        gradient.shape == repeated.shape and bool((gradient == repeated).all()),
        f"{name}.gradient(): step 0 gives another gradient when it is repeated, as after a resume",
    )
    expect_json_map(
        f"{name}.finish()",
        call(f"{name}.finish()", "it must return figures", lambda: again.finish(0)),
    )
    for built in (phase, again):
        for _ in range(2):
            call(f"{name}.end()", "it can be called more than once", built.end)


def _built(name: str, spec: PhaseSpec, context: Context) -> Phase:
    """Build a phase, and check its members and its parts."""
    phase: Phase = build(spec, Phase, context)
    expect_methods(name, phase, Phase, "gradient")
    methods = ("start", "begin", "finish", "state", "save", "restore", "end")
    expect_members(name, phase, Phase, "separates_towers", "trains_ranking", *methods)
    expected = "a sequence of PhasePart with steps is expected"
    parts = items(f"{name}.parts", expected, lambda: member(name, phase, "parts", expected))
    are_parts = bool(parts) and all(
        isinstance(part, PhasePart)
        and is_number(part.steps)
        and is_number(part.steps_per_epoch)
        and part.steps > 0
        and part.steps_per_epoch > 0
        for part in parts
    )
    expect(
        are_parts, f"{name}.parts is {shown(tuple(parts))}; {expected}, and every part needs steps"
    )
    return phase


def _begin(name: str, phase: Phase) -> None:
    call(f"{name}.start()", "it can be called more than once", phase.start)
    figures = call(f"{name}.begin()", "it must return figures", lambda: phase.begin(0))
    expect_json_map(f"{name}.begin()", figures)


def _gradient(name: str, phase: Phase, encoder: Encoder) -> torch.Tensor:
    """Make step 0, check its result, and return all gradients, (n,)."""
    import torch

    module: Any = cast(torch.nn.Module, encoder)
    module.zero_grad(set_to_none=True)
    expected = "it must return a StepResult"
    result = call(f"{name}.gradient()", expected, lambda: phase.gradient(0))
    expect(isinstance(result, StepResult), f"{name}.gradient() returns {found(result)}; {expected}")
    is_scalar = (
        isinstance(result.loss, torch.Tensor)
        and result.loss.shape == ()
        and not result.loss.requires_grad
    )
    expect(
        is_scalar,
        f"{name}.gradient() returns the loss as {found(result.loss)}; a scalar tensor without "
        "gradient is promised",
    )
    expect(
        bool(torch.isfinite(result.loss)),
        f"{name}.gradient(): the loss is {float(result.loss)}; it must be finite",
    )
    counts_tokens = is_number(result.tokens) and result.tokens > 0
    expect(
        counts_tokens, f"{name}.gradient() counts {shown(result.tokens)} tokens; an int is expected"
    )
    gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
    expect(len(gradients) > 0, f"{name}.gradient() leaves no gradient in `.grad`")
    whole = torch.cat(gradients)
    expect(
        bool(torch.isfinite(whole).all()) and bool(whole.any()),
        f"{name}.gradient(): the gradient is zero or not finite",
    )
    return whole
