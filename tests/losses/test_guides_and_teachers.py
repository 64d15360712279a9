"""Losses that read the embeddings of a second encoder, against the library's own classes."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.sentence_transformer import losses as library

from helpers.dense_reference import unit_rows
from recipekit.errors import ComponentError
from recipekit.losses.examples import BatchExamples, SecondEncoderBatch
from recipekit.losses.matryoshka_math import Matryoshka, Prefixes
from recipekit.losses.sentence_transformers import SentenceTransformersLossSpec
from recipekit.losses.sentence_transformers_loss import SentenceTransformersLoss
from recipekit.testing import check_loss, context

N = 6


def tuples(columns: int) -> BatchExamples:
    """N queries, with a positive and negatives of their own."""
    rows = torch.arange(N)
    passage = torch.stack([rows + N * column for column in range(columns - 1)], dim=1)
    return BatchExamples(rows, passage)


def with_second_encoder(
    examples: BatchExamples, vectors: list[torch.Tensor], decided: torch.Tensor | None = None
) -> BatchExamples:
    """The examples with a second encoder's embeddings of each column."""
    passages = torch.cat(vectors[1:]) if len(vectors) > 1 else None
    if decided is None:
        decided = torch.zeros(N, N * examples.passage.shape[1], dtype=torch.bool)
    second_encoder = SecondEncoderBatch(vectors[0], passages, decided)
    return BatchExamples(examples.query, examples.passage, None, second_encoder)


def columns_of(count: int, dimension: int, seed: int = 0) -> list[torch.Tensor]:
    return [unit_rows(N, dimension, seed + column) for column in range(count)]


@pytest.fixture(scope="module")
def gist(tiny_model):
    """The library's class, which needs two models that it can ask for their tokenizers."""
    model = SentenceTransformer(str(tiny_model), device="cpu")

    def loss(**options) -> library.CachedGISTEmbedLoss:
        return library.CachedGISTEmbedLoss(model, model, mini_batch_size=4, **options)

    return loss


@pytest.mark.parametrize("columns", [2, 3, 5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.1, "margin": 0.1},
        {"margin_strategy": "relative", "margin": 0.2},
        {"contrast_anchors": False, "temperature": 0.5},
        {"contrast_positives": False, "contrast_anchors": False},
    ],
)
def test_gist_equals_the_librarys_value_and_gradient(gist, columns, options):
    vectors = [column.double().requires_grad_() for column in columns_of(columns, 8)]
    # A guide with another dimension, whose scores of positives and negatives overlap.
    guide = [column.double() for column in columns_of(columns, 5, seed=20)]
    guide[1] = guide[1] + 0.6 * guide[0]
    theirs = gist(**options).calculate_loss([[one] for one in vectors], [[one] for one in guide])
    similarity = util.cos_sim(guide[0], guide[1])
    above = similarity > similarity.diagonal()[:, None]
    assert above.any() and not above.all(), "the guide leaves out some"
    examples = with_second_encoder(tuples(columns), guide)
    loss = SentenceTransformersLoss("GISTEmbedLoss", options, "cosine")
    ours = loss(vectors[0], torch.cat(vectors[1:]), examples)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, vectors), torch.autograd.grad(theirs, vectors)
    )


def test_a_decided_negative_stays_however_high_the_guide_scores_it():
    vectors = columns_of(3, 8)
    guide = columns_of(3, 5, seed=20)
    guide[2] = guide[0]  # every query is its own negative's copy to the guide
    decided = torch.zeros(N, 2 * N, dtype=torch.bool)
    decided[:3, N : N + 3] = True
    loss = SentenceTransformersLoss("GISTEmbedLoss", {}, "cosine")
    ours = loss(vectors[0], torch.cat(vectors[1:]), with_second_encoder(tuples(3), guide, decided))

    def value(excluded: torch.Tensor) -> torch.Tensor:
        """The loss in which a query leaves out some of the hard negatives."""
        positive, anchors, hard = (
            vectors[0] @ column.T for column in (vectors[1], vectors[0], vectors[2])
        )
        positives = vectors[1] @ vectors[1].T
        similar = [guide[0] @ guide[1].T, guide[0] @ guide[0].T, guide[1] @ guide[1].T]
        threshold = similar[0].diagonal()[:, None]
        masks = [similar[0] > threshold, similar[1] > threshold, similar[2] > threshold, excluded]
        masks[0].fill_diagonal_(False)
        masks[1].fill_diagonal_(True)
        masks[2].fill_diagonal_(True)
        scores = [
            score.masked_fill(mask, -torch.inf)
            for score, mask in zip((positive, anchors, positives, hard), masks, strict=True)
        ]
        logits = torch.cat(scores, dim=1) / 0.01
        return torch.nn.functional.cross_entropy(logits, torch.arange(N))

    by_guide = guide[0] @ guide[2].T > (guide[0] @ guide[1].T).diagonal()[:, None]
    assert by_guide[:3, :3].diagonal().all()
    torch.testing.assert_close(ours, value(by_guide & ~decided[:, N:]))
    assert float(ours) != pytest.approx(float(value(by_guide)))


def test_a_text_is_not_its_own_negative_with_any_margin():
    vectors, guide = columns_of(2, 8), columns_of(2, 5, seed=20)
    examples = with_second_encoder(tuples(2), guide)
    options = {"margin": -3.0, "temperature": 1.0}
    ours = SentenceTransformersLoss("GISTEmbedLoss", options, "cosine")(*vectors, examples)
    candidates = [vectors[0] @ vectors[1].T]
    for own in vectors:
        candidates.append((own @ own.T).fill_diagonal_(-torch.inf))
    expected = torch.nn.functional.cross_entropy(torch.cat(candidates, dim=1), torch.arange(N))
    torch.testing.assert_close(ours, expected)


def test_gist_over_prefixes_keeps_the_whole_guide():
    queries, passages = columns_of(2, 8)
    examples = with_second_encoder(tuples(2), columns_of(2, 5, seed=20))
    inner = SentenceTransformersLoss("GISTEmbedLoss", {}, "cosine")
    prefixes = Prefixes((8, 3), (1.0, 0.5), normalized=True)
    ours = Matryoshka(inner, prefixes)(queries, passages, examples)
    cut = [prefixes.cut(side, 3) for side in (queries, passages)]
    expected = inner(queries, passages, examples) + 0.5 * inner(*cut, examples)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("columns", [2, 4])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MSELoss", {}),
        ("EmbedDistillLoss", {}),
        ("EmbedDistillLoss", {"distance_metric": "l2"}),
        ("EmbedDistillLoss", {"distance_metric": "mse"}),
    ],
)
def test_distillation_equals_the_librarys_value_and_gradient(name, options, columns):
    vectors = [column.double().requires_grad_() for column in columns_of(columns, 8)]
    teacher = [column.double() for column in columns_of(columns, 8, seed=20)]
    loss = SentenceTransformersLoss(name, options, "cosine")
    theirs = getattr(library, name)(None, **options)
    passages = torch.cat(vectors[1:])
    for own in (teacher, teacher[:1]):
        ours = loss(vectors[0], passages, with_second_encoder(tuples(columns), own))
        targets = teacher if len(own) > 1 else teacher[:1] * columns
        expected = theirs.compute_loss_from_embeddings(vectors, targets)
        torch.testing.assert_close(ours, expected)
        torch.testing.assert_close(
            torch.autograd.grad(ours, vectors, retain_graph=True),
            torch.autograd.grad(expected, vectors),
        )


def test_a_projection_maps_the_embeddings_to_the_teachers_dimension():
    vectors, teacher = columns_of(2, 8), columns_of(2, 12, seed=20)
    loss = SentenceTransformersLoss("EmbedDistillLoss", {"projection_dim": 12}, "cosine")
    examples = with_second_encoder(tuples(2), teacher)
    with pytest.raises(ComponentError, match="use in_batch with this loss alone"):
        loss(*vectors, examples)
    projection = loss.add_weights(8)
    assert isinstance(projection, torch.nn.Linear)
    theirs = library.EmbedDistillLoss(None)
    expected = theirs.compute_loss_from_embeddings([projection(one) for one in vectors], teacher)
    ours = loss(*vectors, examples)
    torch.testing.assert_close(ours, expected)
    assert torch.autograd.grad(ours, projection.weight)[0].abs().sum() > 0


@pytest.mark.parametrize(
    "fields", [{"options": {"projection_dim": 12}}, {"targets_from": "query"}, {}]
)
def test_a_teachers_loss_is_conformant(fields, tmp_path):
    fields = {"loss": "EmbedDistillLoss", "teacher": "other", **fields}
    check_loss(SentenceTransformersLossSpec(**fields), context(tmp_path))


def test_the_form_names_the_encoder_its_sides_and_its_dimension():
    def second_encoder(**fields):
        return SentenceTransformersLossSpec(**fields).examples.second_encoder

    guide = second_encoder(loss="GISTEmbedLoss", guide="large")
    assert (guide.name, guide.key, guide.sides) == ("large", "guide", ("query", "passage"))
    assert guide.refuses(5, 8) == ""
    teacher = second_encoder(loss="MSELoss", teacher="large")
    assert teacher.refuses(8, 8) == ""
    assert teacher.refuses(1024, 384) == (
        "the embeddings of the teacher 'large' have 1,024 dimensions, and those of the trained "
        "encoder 384: name a teacher with 384 dimensions, or set options.projection_dim: 1024"
    )
    options = {"projection_dim": 512}
    projected = second_encoder(loss="MSELoss", teacher="large", options=options)
    assert projected.refuses(512, 384) == ""
    assert projected.refuses(1024, 384).endswith(
        "and the loss compares them with vectors of 512: name a teacher with 512 dimensions, or "
        "set options.projection_dim: 1024"
    )
    translated = SentenceTransformersLossSpec(loss="MSELoss", teacher="t", targets_from="query")
    assert translated.examples.name == "pairs" and translated.examples.second_encoder.sides == (
        "query",
    )
    assert second_encoder(loss="TripletLoss") is None
