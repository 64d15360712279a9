"""The losses of sentence-transformers that a recipe can name, their examples and their options.

This table lets `validate` check a name and its options without importing torch. A test compares it
with the installed library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from recipekit.component import ExampleForm
from recipekit.suggestions import did_you_mean

__all__ = [
    "CACHED",
    "LIBRARY_LOSSES",
    "UNSUPPORTED",
    "LibraryLoss",
    "combination_error",
    "find",
    "option_errors",
]

STRICT: Final = ConfigDict(strict=True, allow_inf_nan=False)
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Similarity = Literal["cos_sim", "dot_score"]
Distance = Literal["COSINE", "EUCLIDEAN", "MANHATTAN"]
SiameseDistance = Literal["COSINE_DISTANCE", "EUCLIDEAN", "MANHATTAN"]
Direction = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
Dimension = Annotated[int, Field(ge=1)]
Hardness = Literal["in_batch_negatives", "hard_negatives", "all_negatives"] | None


@dataclass(frozen=True)
class LibraryLoss:
    """A loss that is a function of embeddings."""

    examples: ExampleForm
    options: Mapping[str, Any] = field(default_factory=dict)
    """The type of each option."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Options that recipekit sets itself."""
    second_encoder: Literal["guide", "teacher"] | None = None
    """The key that names the second encoder whose embeddings it reads."""
    distils_scores: bool = False
    """Whether its scores can be a teacher's, on the teacher's own scale."""


PAIRS: Final = ExampleForm("pairs", contrasts=True)
TUPLES: Final = ExampleForm("tuples", contrasts=True)
LABELLED: Final = ExampleForm("labelled pairs")
SCORED: Final = ExampleForm("scored pairs")
SCORED_TUPLES: Final = ExampleForm("scored tuples")

TEXTS: Final = ExampleForm("tuples")
"""Every text of a tuple has an embedding of its teacher; the texts are not contrasted."""

LIBRARY_LOSSES: Final[Mapping[str, LibraryLoss]] = {
    "MultipleNegativesRankingLoss": LibraryLoss(
        TUPLES,
        {
            "scale": Positive,
            "similarity_fct": Similarity,
            "directions": list[Direction],
            "partition_mode": Literal["joint", "per_direction"],
            "hardness_mode": Hardness,
            "hardness_strength": NotNegative,
        },
    ),
    "GISTEmbedLoss": LibraryLoss(
        TUPLES,
        {
            "temperature": Positive,
            "margin_strategy": Literal["absolute", "relative"],
            "margin": float,
            "contrast_anchors": bool,
            "contrast_positives": bool,
        },
        second_encoder="guide",
    ),
    "MegaBatchMarginLoss": LibraryLoss(
        PAIRS,
        {"positive_margin": float, "negative_margin": float},
        {"use_mini_batched_version": False},
    ),
    "GlobalOrthogonalRegularizationLoss": LibraryLoss(
        ExampleForm("pairs"),
        {
            "similarity_fct": Similarity,
            "mean_weight": NotNegative | None,
            "second_moment_weight": NotNegative | None,
            "aggregation": Literal["mean", "sum"],
        },
    ),
    "TripletLoss": LibraryLoss(
        ExampleForm("triplets"), {"distance_metric": Distance, "triplet_margin": float}
    ),
    "ContrastiveLoss": LibraryLoss(
        LABELLED, {"distance_metric": SiameseDistance, "margin": float, "size_average": bool}
    ),
    "OnlineContrastiveLoss": LibraryLoss(
        LABELLED, {"distance_metric": SiameseDistance, "margin": float}
    ),
    "CoSENTLoss": LibraryLoss(SCORED, {"scale": Positive, "similarity_fct": Similarity}),
    "AnglELoss": LibraryLoss(SCORED, {"scale": Positive}),
    "CosineSimilarityLoss": LibraryLoss(SCORED),
    "MarginMSELoss": LibraryLoss(
        replace(SCORED_TUPLES, trains_margins_of="similarity"),
        {"similarity_fct": Similarity},
        distils_scores=True,
    ),
    "DistillKLDivLoss": LibraryLoss(
        SCORED_TUPLES,
        {
            "similarity_fct": Similarity,
            "temperature": Positive,
            "student_temperature": Positive | None,
            "teacher_temperature": Positive | None,
        },
        distils_scores=True,
    ),
    "MSELoss": LibraryLoss(TEXTS, {"projection_dim": Dimension | None}, second_encoder="teacher"),
    "EmbedDistillLoss": LibraryLoss(
        TEXTS,
        {
            "distance_metric": Literal["mse", "l2", "cosine"],
            "projection_dim": Dimension | None,
        },
        second_encoder="teacher",
    ),
}
"""Supported losses by name."""

CACHED: Final[Mapping[str, str]] = {
    "CachedMultipleNegativesRankingLoss": "MultipleNegativesRankingLoss",
    "CachedGISTEmbedLoss": "GISTEmbedLoss",
}
"""Classes that compute a supported loss with cached gradients, as `in_batch` does for all."""

REPLACED: Final[Mapping[str, str]] = {
    "mini_batch_size": "train.max_tokens_per_batch bounds the memory of a forward pass",
    "mini_batch_num_tokens": "train.max_tokens_per_batch bounds the memory of a forward pass",
    "gather_across_devices": "a batch is over all ranks",
}
"""Options that recipekit has no use for, and why."""

_CLASSES = (
    "it needs texts with class labels, and judged data has (query, passage) pairs: use TripletLoss"
)
_LAYERS = (
    "it trains single layers of the transformer to embed: use the loss `matryoshka`, which "
    "trains prefixes of the embeddings"
)
_UNLABELLED = (
    "it trains {} on unlabelled texts: use the phase `masked_language_model` before `in_batch`"
)
_TWO_COPIES = _UNLABELLED.format("two copies of the model")
_SYMMETRIC = (
    "the library deprecates it: use MultipleNegativesRankingLoss with directions: "
    "[query_to_doc, doc_to_query] and partition_mode: per_direction"
)

UNSUPPORTED: Final[Mapping[str, str]] = {
    "MultipleNegativesSymmetricRankingLoss": _SYMMETRIC,
    "CachedMultipleNegativesSymmetricRankingLoss": _SYMMETRIC,
    "BatchAllTripletLoss": _CLASSES,
    "BatchHardTripletLoss": _CLASSES,
    "BatchHardSoftMarginTripletLoss": _CLASSES,
    "BatchSemiHardTripletLoss": _CLASSES,
    "SoftmaxLoss": (
        "it trains a classifier of pairs, which the saved model does not have: use ContrastiveLoss "
        "for positives and negatives, or CoSENTLoss with score_from: grade"
    ),
    "MatryoshkaLoss": "use the loss `matryoshka`, which contains another loss",
    "Matryoshka2dLoss": _LAYERS,
    "AdaptiveLayerLoss": _LAYERS,
    "ContrastiveTensionLoss": _TWO_COPIES,
    "ContrastiveTensionLossInBatchNegatives": _TWO_COPIES,
    "DenoisingAutoEncoderLoss": _UNLABELLED.format("a decoder"),
}
"""The library's other losses, with the reason why they are refused."""


def find(name: str) -> LibraryLoss:
    """Return a supported loss, by its own name or that of its class with cached gradients.

    Raises:
        ValueError: The library has no such loss, or it is not supported.
    """
    name = CACHED.get(name, name)
    if name in LIBRARY_LOSSES:
        return LIBRARY_LOSSES[name]
    if name in UNSUPPORTED:
        raise ValueError(f"{name} is not supported: {UNSUPPORTED[name]}")
    known = [*LIBRARY_LOSSES, *CACHED]
    hint = did_you_mean(name, known) or f" The losses are {', '.join(LIBRARY_LOSSES)}."
    raise ValueError(f"sentence-transformers has no loss '{name}'.{hint}")


def option_errors(name: str, options: Mapping[str, Any]) -> list[InitErrorDetails]:
    """Return what is wrong with each option of a supported loss, as pydantic states it.

    A text is not a number, since the library's class gets the options as they were written.
    """
    known = LIBRARY_LOSSES[name].options
    errors: list[InitErrorDetails] = []
    for option, value in options.items():
        if option not in known:
            message = _unknown_option(name, option)
            kind = PydanticCustomError("value_error", "{error}", {"error": message})
            errors.append({"type": kind, "loc": (option, "[key]"), "input": value})
            continue
        try:
            TypeAdapter(known[option], config=STRICT).validate_python(value)
        except ValidationError as error:
            errors += [
                {
                    "type": detail["type"],
                    "loc": (option, *detail["loc"]),
                    "input": detail["input"],
                    "ctx": detail.get("ctx", {}),
                }
                for detail in error.errors()
            ]
    return errors


def _unknown_option(name: str, option: str) -> str:
    if option in REPLACED:
        return f"leave {option} out: {REPLACED[option]}"
    known = LIBRARY_LOSSES[name].options
    listed = f" Its options are {', '.join(known)}." if known else " It has none."
    return f"{name} has no option '{option}'.{did_you_mean(option, known)}{listed}"


def combination_error(name: str, options: Mapping[str, Any]) -> str:
    """Return what is wrong with options that are each valid; empty if nothing is."""
    if name == "GlobalOrthogonalRegularizationLoss":
        weights = (options.get("mean_weight", 1), options.get("second_moment_weight", 1))
        return "" if any(weights) else f"{name}: mean_weight and second_moment_weight are both 0"
    directions = options.get("directions", ("query_to_doc",))
    if "query_to_doc" not in directions and name == "MultipleNegativesRankingLoss":
        return f"{name}: directions must contain query_to_doc"
    if options.get("partition_mode") == "per_direction":
        same_side = [name for name in ("query_to_query", "doc_to_doc") if name in directions]
        if same_side:
            return f"{name}: {' and '.join(same_side)} needs partition_mode: joint"
    return ""
