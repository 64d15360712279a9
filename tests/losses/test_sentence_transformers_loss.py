"""Losses of sentence-transformers by name: the table of losses, and what they are called with."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings

import pytest
import torch
from pydantic import ValidationError
from sentence_transformers import util
from sentence_transformers.sentence_transformer import losses as library

from helpers.dense_reference import unit_rows
from recipekit.losses.examples import BatchExamples
from recipekit.losses.library_losses import CACHED, LIBRARY_LOSSES, UNSUPPORTED
from recipekit.losses.sentence_transformers import SentenceTransformersLossSpec
from recipekit.losses.sentence_transformers_loss import SentenceTransformersLoss
from recipekit.testing import check_loss, context

NOT_OPTIONS = {
    "self",
    "model",
    "guide",
    "loss_fct",
    "cos_score_transformation",
    "gather_across_devices",
    "mini_batch_size",
    "mini_batch_num_tokens",
    "show_progress_bar",
}
"""Parameters that take modules, or that gradient caching replaces."""


def test_the_table_lists_every_loss_of_the_installed_library():
    classes = {name for name in library.__all__ if name.endswith("Loss")}
    others = {"ContrastiveTensionLossInBatchNegatives"}
    assert {*LIBRARY_LOSSES, *UNSUPPORTED, *CACHED} == classes | others
    assert not set(LIBRARY_LOSSES) & set(UNSUPPORTED) and set(CACHED.values()) <= {*LIBRARY_LOSSES}


@pytest.mark.parametrize("name", LIBRARY_LOSSES)
def test_the_options_are_those_of_the_librarys_class(name):
    parameters = set(inspect.signature(getattr(library, name).__init__).parameters)
    loss = LIBRARY_LOSSES[name]
    assert {*loss.options, *loss.fixed} == parameters - NOT_OPTIONS


@pytest.mark.parametrize("name", LIBRARY_LOSSES)
def test_every_loss_is_conformant(name, tmp_path):
    options = {"TripletLoss": {"triplet_margin": 0.9}}.get(name, {})
    key = LIBRARY_LOSSES[name].second_encoder
    second = {key: "other"} if key else {}
    spec = SentenceTransformersLossSpec(loss=name, options=options, **second)
    check_loss(spec, context(tmp_path))


def embeddings(columns: int) -> list[torch.Tensor]:
    return [unit_rows(5, 8, seed) for seed in range(columns)]


@pytest.mark.parametrize(
    ("name", "columns", "options", "theirs"),
    [
        (
            "MultipleNegativesRankingLoss",
            4,
            {"scale": 7.0, "directions": ["query_to_doc", "doc_to_query"]},
            {"scale": 7.0, "directions": ("query_to_doc", "doc_to_query")},
        ),
        (
            "TripletLoss",
            3,
            {"distance_metric": "COSINE", "triplet_margin": 0.3},
            {
                "distance_metric": library.TripletDistanceMetric.COSINE,
                "triplet_margin": 0.3,
            },
        ),
        ("CoSENTLoss", 2, {}, {}),
        ("AnglELoss", 2, {"scale": 3.0}, {"scale": 3.0}),
        ("CosineSimilarityLoss", 2, {}, {}),
        ("ContrastiveLoss", 2, {"margin": 0.7}, {"margin": 0.7}),
        ("MarginMSELoss", 3, {}, {"similarity_fct": util.pairwise_cos_sim}),
        ("DistillKLDivLoss", 3, {"temperature": 2.0}, {"temperature": 2.0}),
    ],
)
def test_a_loss_equals_the_librarys_on_the_same_columns(name, columns, options, theirs):
    vectors = embeddings(columns)
    rows = torch.arange(5)
    passages = torch.cat(vectors[1:])
    passage = torch.stack([rows + 5 * column for column in range(columns - 1)], dim=1)
    scored = name not in ("MultipleNegativesRankingLoss", "TripletLoss")
    score = torch.rand(5, columns - 1, generator=torch.Generator().manual_seed(1))
    if name == "ContrastiveLoss":
        score = score.round()
    examples = BatchExamples(rows, passage, score if scored else None)
    ours = SentenceTransformersLoss(name, options, "cosine")(vectors[0], passages, examples)
    labels = score if columns > 2 else score[:, 0]
    expected = getattr(library, name)(None, **theirs).compute_loss_from_embeddings(vectors, labels)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("options", [{}, {"directions": ["query_to_doc", "doc_to_query"]}])
def test_a_class_with_cached_gradients_is_the_plain_loss(options):
    cached, plain = "CachedMultipleNegativesRankingLoss", "MultipleNegativesRankingLoss"
    spec = SentenceTransformersLossSpec(loss=cached, options={"scale": 7, **options})
    assert spec == SentenceTransformersLossSpec(loss=plain, options={"scale": 7, **options})
    vectors = [column.requires_grad_() for column in embeddings(3)]
    given = {name: tuple(value) for name, value in options.items()}
    model = torch.nn.Sequential(torch.nn.Identity())
    theirs = getattr(library, cached)(model, scale=7, mini_batch_size=2, **given)
    expected = theirs.calculate_loss([[column] for column in vectors])
    passage = torch.stack([torch.arange(5), torch.arange(5) + 5], dim=1)
    ours = SentenceTransformersLoss(spec.loss, spec.options, "cosine")(
        vectors[0], torch.cat(vectors[1:]), BatchExamples(torch.arange(5), passage)
    )
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours, vectors), torch.autograd.grad(expected, vectors)
    )


def test_the_similarity_is_that_of_the_encoder_unless_an_option_names_one():
    queries, passages = 3 * unit_rows(5, 8, 1), 2 * unit_rows(5, 8, 2)
    examples = BatchExamples(torch.arange(5), torch.arange(5)[:, None])

    def value(similarity, **options):
        loss = SentenceTransformersLoss("MultipleNegativesRankingLoss", options, similarity)
        return float(loss(queries, passages, examples))

    assert value("dot") == value("cosine", similarity_fct="dot_score")
    assert value("cosine") == value("dot", similarity_fct="cos_sim") != value("dot")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "TripleLoss"}, "has no loss 'TripleLoss'. Did you mean 'TripletLoss'?"),
        (
            {
                "loss": "CachedMultipleNegativesRankingLoss",
                "options": {"mini_batch_size": 32},
            },
            "leave mini_batch_size out: train.max_tokens_per_batch bounds the memory",
        ),
        ({"loss": "BatchHardTripletLoss"}, "not supported: it needs texts with class labels"),
        ({"loss": "DenoisingAutoEncoderLoss"}, "use the phase `masked_language_model` before"),
        ({"loss": "CachedGISTEmbedLoss"}, "GISTEmbedLoss needs a guide: name one of the recipe's"),
        ({"loss": "MSELoss"}, "MSELoss needs a teacher: name one of the recipe's encoders"),
        (
            {"loss": "MSELoss", "guide": "other", "teacher": "other"},
            "MSELoss has no guide: leave it out",
        ),
        ({"loss": "TripletLoss", "guide": "other"}, "TripletLoss has no guide: leave it out"),
        (
            {"loss": "GISTEmbedLoss", "guide": "other", "targets_from": "query"},
            "GISTEmbedLoss has no teacher: leave it out",
        ),
        (
            {"loss": "MSELoss", "teacher": "other", "options": {"projection_dim": 0}},
            "options.projection_dim\n  Input should be greater than or equal to 1",
        ),
        ({"loss": "CoSENTLoss", "options": {"scal": 2}}, "CoSENTLoss has no option 'scal'"),
        (
            {"loss": "CoSENTLoss", "options": {"scale": 0}},
            "options.scale\n  Input should be greater than 0",
        ),
        (
            {
                "loss": "MultipleNegativesRankingLoss",
                "options": {
                    "directions": ["query_to_doc", "doc_to_doc"],
                    "partition_mode": "per_direction",
                },
            },
            "doc_to_doc needs partition_mode: joint",
        ),
        ({"loss": "TripletLoss", "score_from": "grade"}, "reads triplets, which have no scores"),
    ],
)
def test_a_wrong_name_or_option_is_refused_before_anything_runs(fields, message):
    with pytest.raises(ValidationError) as error:
        SentenceTransformersLossSpec(**fields)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("loss", "option", "value"),
    [
        ("MultipleNegativesRankingLoss", "scale", "20"),
        ("MultipleNegativesRankingLoss", "directions", "query_to_doc"),
        ("TripletLoss", "triplet_margin", "1"),
        ("ContrastiveLoss", "margin", "0.5"),
        ("ContrastiveLoss", "size_average", "yes"),
        ("CoSENTLoss", "scale", True),
        ("CoSENTLoss", "scale", float("inf")),
        ("MegaBatchMarginLoss", "positive_margin", "0.8"),
        ("DistillKLDivLoss", "student_temperature", "1"),
        ("GISTEmbedLoss", "margin", "0.1"),
        ("GISTEmbedLoss", "contrast_anchors", "no"),
        ("EmbedDistillLoss", "projection_dim", 32.5),
    ],
)
def test_an_option_has_its_type_as_written(loss, option, value):
    key = LIBRARY_LOSSES[loss].second_encoder
    second = {key: "other"} if key else {}
    with pytest.raises(ValidationError) as error:
        SentenceTransformersLossSpec(loss=loss, options={option: value}, **second)
    assert error.value.errors()[0]["loc"][:2] == ("options", option)


def test_a_whole_number_is_a_number_and_null_is_an_optional_one():
    SentenceTransformersLossSpec(loss="CoSENTLoss", options={"scale": 20})
    SentenceTransformersLossSpec(loss="DistillKLDivLoss", options={"student_temperature": None})


def test_validation_does_not_import_torch():
    code = (
        "import sys\n"
        "from recipekit.losses.sentence_transformers import SentenceTransformersLossSpec as Spec\n"
        "Spec(loss='TripletLoss', options={'triplet_margin': 1})\n"
        "assert 'torch' not in sys.modules and 'sentence_transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_warning_reaches_the_user():
    examples = BatchExamples(torch.arange(5), torch.arange(5)[:, None], torch.full((5, 1), 0.3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SentenceTransformersLoss("ContrastiveLoss", {}, "cosine")(*embeddings(2), examples)
