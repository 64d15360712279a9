"""The conformance check of losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recipekit.component import (
    Context,
    ExampleForm,
    Loss,
    LossSpec,
    LossWithWeights,
    SecondEncoder,
)
from recipekit.records import Verdict
from recipekit.testing.passage_losses import check_over_passages
from recipekit.testing.promises import build, call, conformance_check, expect, found, member, shown
from recipekit.testing.specs import check_spec

if TYPE_CHECKING:
    import torch

    from recipekit.losses.examples import SecondEncoderBatch

__all__ = ["check_loss"]


@conformance_check
def check_loss(spec: LossSpec, context: Context) -> None:
    """Check a loss, called as `recipekit.losses` says for its `negatives_from`.

    It gives one finite value per query, with a gradient that agrees with finite differences; a
    query without a positive has neither, and an ignored passage has no influence. A loss of
    examples gives one finite value for the batch, with such a gradient. One that trains passages is
    also called as in a passage half-phase, and gives the same mean loss.

    Raises:
        AssertionError: It breaks a promise.
    """
    import torch

    check_spec(spec, "loss")
    name = type(spec).__name__
    loss = build(spec, Loss, context)
    expect(callable(loss), f"{name}.build() returns {found(loss)}; it must be callable")
    negatives_from = _negatives_from(name, spec)
    generator = torch.Generator().manual_seed(context.seed)
    queries, passages = (
        torch.nn.functional.normalize(
            torch.randn(n, 8, generator=generator, dtype=torch.float64), dim=1
        )
        for n in (4, 7)
    )
    if spec.examples is not None:
        _check_on_examples(name, loss, spec.examples, queries, passages)
    else:
        _check_on_labels(name, loss, negatives_from, queries, passages, generator)
    if _trains_passages(name, spec, negatives_from):
        check_over_passages(name, loss, queries, passages, context)


def _negatives_from(name: str, spec: LossSpec) -> str:
    expected = "it must be 'corpus' or 'batch'"
    negatives_from = member(name, spec, "negatives_from", expected)
    is_known = isinstance(negatives_from, str) and negatives_from in ("corpus", "batch")
    expect(is_known, f"{name}.negatives_from is {shown(negatives_from)}; {expected}")
    return str(negatives_from)


def _trains_passages(name: str, spec: LossSpec, negatives_from: str) -> bool:
    expected = "it must be True or False, and True only for a loss over the corpus"
    trains_passages = member(name, spec, "trains_passages", expected)
    fits = trains_passages is False or (trains_passages is True and negatives_from == "corpus")
    expect(fits, f"{name}.trains_passages is {shown(trains_passages)}; {expected}")
    return trains_passages is True


def _check_on_labels(
    name: str,
    loss: Loss,
    negatives_from: str,
    queries: torch.Tensor,
    passages: torch.Tensor,
    generator: torch.Generator,
) -> None:
    """Check a loss of labels: queries 0 to 2 have a positive, and passage 6 is ignored."""
    import torch

    mask = torch.full((4, 7), int(Verdict.NEGATIVE), dtype=torch.int8)
    mask[[0, 1, 2], [0, 1, 2]] = int(Verdict.POSITIVE)
    mask[:, 6] = int(Verdict.IGNORE)

    def value(queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
        expected = "it must return a floating-point tensor of one value per query, (4,)"
        losses = call(
            f"{name}: calling the loss",
            expected,
            lambda: _call(loss, negatives_from, queries, passages, mask),
        )
        is_losses = (
            isinstance(losses, torch.Tensor) and losses.shape == (4,) and losses.is_floating_point()
        )
        expect(is_losses, f"{name}: the loss returns {found(losses)}; {expected}")
        return losses

    queries.requires_grad_()
    losses = value(queries, passages)
    expect(
        torch.isfinite(losses).all() and (losses[:3] > 0).all(),
        f"{name}: the losses are {losses.tolist()}; they must be finite and positive",
    )
    expect(losses[3] == 0, f"{name}: a query without a positive has a loss")
    gradient = _gradient_by_queries(name, losses, queries)
    with torch.no_grad():
        step = 1e-4 * torch.randn(queries.shape, generator=generator, dtype=torch.float64)
        rise = (value(queries + step, passages) - value(queries - step, passages)).sum() / 2
        _check_slope(name, rise, (gradient * step).sum(), atol=1e-6)
        moved = passages.clone()
        moved[6] = -moved[6]
        expect(
            torch.allclose(value(queries, moved), losses),
            f"{name}: an ignored passage changes the loss",
        )


def _gradient_by_queries(name: str, losses: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the sum of all losses, after checking that queries 0 to 2 have one."""
    import torch

    expect(losses.requires_grad, f"{name}: the losses have no gradient; use only torch functions")
    gradient: torch.Tensor
    (gradient,) = call(
        f"{name}: backward()",
        "the losses must be differentiable",
        lambda: torch.autograd.grad(
            losses.sum(), queries, retain_graph=True, allow_unused=True, materialize_grads=True
        ),
    )
    expect(
        torch.isfinite(gradient).all() and gradient[:3].abs().sum() > 0,
        f"{name}: no gradient, or none that is finite, reaches the queries",
    )
    # Its own loss: the query may well be a negative of the others' passages.
    (own,) = torch.autograd.grad(losses[3], queries, allow_unused=True, materialize_grads=True)
    expect(own.abs().sum() == 0, f"{name}: the loss of a query without a positive has a gradient")
    return gradient


def _check_slope(name: str, rise: torch.Tensor, slope: torch.Tensor, *, atol: float) -> None:
    """Check the change of the loss along a step against that which its gradient predicts."""
    import torch

    expect(
        bool(torch.isclose(rise, slope, rtol=0.01, atol=atol)),
        f"{name}: the gradient is not that of the value ({slope:.3g}, measured {rise:.3g})",
    )


def _check_on_examples(
    name: str, loss: Loss, form: ExampleForm, queries: torch.Tensor, passages: torch.Tensor
) -> None:
    """Check a loss of examples on one example of each query."""
    import torch

    from recipekit.losses.examples import BatchExamples

    columns = {"pairs": 1, "labelled pairs": 1, "scored pairs": 1, "triplets": 2}.get(form.name, 3)
    rows = torch.arange(4)
    passage = torch.stack([(rows + column) % 7 for column in range(columns)], dim=1)
    score = None
    if form.name.startswith(("labelled", "scored")):
        score = torch.arange(4 * columns).reshape(4, columns) % 2 * 1.0
    second_encoder = None
    if form.second_encoder is not None and form.second_encoder.gives == "embeddings":
        second_encoder = _second_encoder(form.second_encoder, queries.shape[1])
    if isinstance(loss, LossWithWeights):
        weights = call(
            f"{name}.add_weights()", "a module or None", lambda: loss.add_weights(queries.shape[1])
        )
        if weights is not None:
            weights.double()
    examples = BatchExamples(rows, passage, score, second_encoder)
    queries.requires_grad_()
    expected = "it must return the loss of the batch, a scalar"
    value = call(f"{name}: calling the loss", expected, lambda: loss(queries, passages, examples))
    is_scalar = isinstance(value, torch.Tensor) and value.shape == () and value.requires_grad
    expect(is_scalar, f"{name}: the loss returns {found(value)}; {expected}, with a gradient")
    expect(bool(torch.isfinite(value)), f"{name}: the loss is {value.item():g}; it must be finite")
    (gradient,) = torch.autograd.grad(value, queries)
    expect(
        bool(torch.isfinite(gradient).all()) and bool(gradient.any()),
        f"{name}: no gradient, or none that is finite, reaches the queries",
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        step = 1e-6 * torch.randn(queries.shape, generator=generator, dtype=torch.float64)
        rise = (
            loss(queries + step, passages, examples) - loss(queries - step, passages, examples)
        ) / 2
        _check_slope(name, rise, (gradient * step).sum(), atol=1e-9)


def _second_encoder(encoder: SecondEncoder, trained: int) -> SecondEncoderBatch:
    """Return what a second encoder gives for 4 queries and 7 passages, as random embeddings."""
    import torch

    from recipekit.losses.examples import SecondEncoderBatch

    dimension = encoder.dimension if isinstance(encoder.dimension, int) else trained
    dimension += 2 if encoder.dimension == "any" else 0
    generator = torch.Generator().manual_seed(2)
    queries, passages = (
        torch.randn(n, dimension, generator=generator) if side in encoder.sides else None
        for side, n in (("query", 4), ("passage", 7))
    )
    return SecondEncoderBatch(queries, passages, torch.zeros(4, 7, dtype=torch.bool))


def _call(
    loss: Loss,
    negatives_from: str,
    queries: torch.Tensor,
    passages: torch.Tensor,
    mask: torch.Tensor,
) -> torch.Tensor:
    """Call a loss of either kind with the labels of a dense mask."""
    if negatives_from == "batch":
        return loss(queries, passages, mask)
    from recipekit.losses.corpus_labels import CorpusLabels
    from recipekit.losses.frozen_matrix import FrozenMatrix
    from recipekit.query_pairs import QueryPairs

    def pairs(verdict: Verdict) -> QueryPairs:
        query, passage = np.nonzero(mask.numpy() == verdict)
        return QueryPairs.from_pairs(query, passage, len(queries))

    positive, ignored = pairs(Verdict.POSITIVE), pairs(Verdict.IGNORE)
    weights = positive.normalized(np.ones(len(positive)))
    labels = CorpusLabels.of(positive, weights, ignored)
    return loss(queries, labels, FrozenMatrix.whole(passages))
