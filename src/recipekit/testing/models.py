"""Conformance checks of encoders and losses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipekit.component import Context, EncoderSpec, Loss, LossSpec
from recipekit.records import Side, Verdict
from recipekit.testing.specs import check_spec, expect

if TYPE_CHECKING:
    import torch

__all__ = ["check_encoder", "check_loss"]

TEXTS = (
    "How do rivers shape valleys?",
    "a",
    "The piston moves the valve, and the valve moves the turbine. " * 40,
)
SIDES: tuple[Side, ...] = ("query", "passage")


def check_encoder(spec: EncoderSpec, context: Context) -> None:
    """Check an encoder: shapes, similarity, float32 weights, padding, gradients, saved files."""
    import torch

    check_spec(spec, "encoder")
    name = type(spec).__name__
    encoder: Any = spec.build(context)
    expect(isinstance(encoder, torch.nn.Module), f"{name} does not build a torch.nn.Module")
    kinds = {parameter.dtype for parameter in encoder.parameters()}
    expect(
        kinds == {torch.float32},
        f"{name}: parameters are {sorted(map(str, kinds))}; master weights are float32",
    )
    encoder.eval()
    for side in SIDES:
        ids, cut = encoder.tokenize(TEXTS, side)
        expect(
            len(ids) == len(TEXTS) and max(map(len, ids)) <= encoder.max_length,
            f"{name}: a text has more than max_length tokens",
        )
        expect(
            cut == sum(len(one) == encoder.max_length for one in ids),
            f"{name}: tokenize reports {cut} cut texts, which is wrong",
        )
        with torch.no_grad():
            together = encoder(encoder.collate(ids, side), side).float()
            alone = torch.cat([encoder(encoder.collate([one], side), side).float() for one in ids])
        expect(
            together.shape == (len(TEXTS), encoder.dimension),
            f"{name}: embeddings are {tuple(together.shape)}, not (n, dimension)",
        )
        expect(torch.isfinite(together).all(), f"{name}: an embedding is not finite")
        expect(
            (together - alone).abs().max() < _tolerance(encoder),
            f"{name}: a text's embedding depends on its batch",
        )
        if encoder.similarity == "cosine":
            lengths = together.norm(dim=1)
            expect(
                (lengths - 1).abs().max() < _tolerance(encoder),
                f"{name} has the similarity `cosine`, but its rows have lengths {lengths.tolist()}",
            )
    _check_gradient(name, encoder)
    _check_saved(name, spec, encoder, context)


def _tolerance(encoder: Any) -> float:
    return 0.03 if encoder.precision == "bf16" else 1e-4


def _check_gradient(name: str, encoder: Any) -> None:
    import torch

    ids, _ = encoder.tokenize(TEXTS, "query")
    embeddings = encoder(encoder.collate(ids, "query"), "query").float()
    (embeddings * torch.linspace(-1, 1, encoder.dimension)).sum().backward()
    reached = [
        parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        for parameter in encoder.parameters()
    ]
    expect(any(reached), f"{name}: no gradient reaches any parameter")
    encoder.zero_grad()


def _check_saved(name: str, spec: EncoderSpec, encoder: Any, context: Context) -> None:
    """Check that saved files load with sentence-transformers and `at()`, and encode equally."""
    import torch
    from sentence_transformers import SentenceTransformer

    folder = Path(context.scratch) / "saved"
    encoder.save(folder)
    with torch.no_grad():
        ids, _ = encoder.tokenize(TEXTS, "query")
        ours = encoder(encoder.collate(ids, "query"), "query").float()
        again: Any = spec.at(folder).build(context)
        again.eval()
        reloaded = again(again.collate(ids, "query"), "query").float()
    expect(
        (ours - reloaded).abs().max() < _tolerance(encoder),
        f"{name}: at(folder) of what it saved encodes differently",
    )
    theirs = torch.from_numpy(
        SentenceTransformer(str(folder), device="cpu").encode_query(list(TEXTS))
    )
    if encoder.similarity == "cosine":
        theirs = torch.nn.functional.normalize(theirs, dim=1)
    expect(
        (ours - theirs).abs().max() < _tolerance(encoder),
        f"{name}: sentence-transformers encodes differently from the folder it saved",
    )


def check_loss(spec: LossSpec, context: Context) -> None:
    """Check a loss, called as `recipekit.losses` says for its `negatives_from`.

    It gives one finite value per query, with a gradient that agrees with finite differences; a
    query without a positive has neither, and an ignored passage has no influence.
    """
    import torch

    check_spec(spec, "loss")
    name = type(spec).__name__
    loss = spec.build(context)
    negatives_from = spec.negatives_from
    expect(
        negatives_from in ("corpus", "batch"),
        f"{name}.negatives_from is {negatives_from!r}; it must be 'corpus' or 'batch'",
    )
    generator = torch.Generator().manual_seed(context.seed)
    queries, passages = (
        torch.nn.functional.normalize(
            torch.randn(n, 8, generator=generator, dtype=torch.float64), dim=1
        )
        for n in (4, 7)
    )
    mask = torch.full((4, 7), int(Verdict.NEGATIVE), dtype=torch.int8)
    mask[[0, 1, 2], [0, 1, 2]] = int(Verdict.POSITIVE)  # query 3 has no positive
    mask[:, 6] = int(Verdict.IGNORE)

    def value(queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
        return _call(loss, negatives_from, queries, passages, mask)

    queries.requires_grad_()
    losses = value(queries, passages)
    expect(
        losses.shape == (4,),
        f"{name} returns {tuple(losses.shape)}; one value per query, (4,), is promised",
    )
    expect(
        torch.isfinite(losses).all() and (losses[:3] > 0).all(),
        f"{name}: the losses are {losses.tolist()}; they must be finite and positive",
    )
    expect(losses[3] == 0, f"{name}: a query without a positive has a loss")
    (gradient,) = torch.autograd.grad(losses.sum(), queries, retain_graph=True)
    expect(
        torch.isfinite(gradient).all() and gradient[:3].abs().sum() > 0,
        f"{name}: no gradient, or none that is finite, reaches the queries",
    )
    # Its own loss: the query may well be a negative of the others' passages.
    (own,) = torch.autograd.grad(losses[3], queries, allow_unused=True, materialize_grads=True)
    expect(own.abs().sum() == 0, f"{name}: the loss of a query without a positive has a gradient")
    with torch.no_grad():
        step = 1e-4 * torch.randn(queries.shape, generator=generator, dtype=torch.float64)
        rise = (value(queries + step, passages) - value(queries - step, passages)).sum() / 2
        slope = (gradient * step).sum()
        expect(
            torch.isclose(rise, slope, rtol=0.01, atol=1e-6),
            f"{name}: the gradient is not that of the value ({slope:.3g}, measured {rise:.3g})",
        )
        moved = passages.clone()
        moved[6] = -moved[6]
        expect(
            torch.allclose(value(queries, moved), losses),
            f"{name}: an ignored passage changes the loss",
        )


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
