"""What is compared: models, retrievers and published baselines, each with a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from recipekit.comparison.arguments import Argument, parse_argument
from recipekit.comparison.models import ComparedModel, check_models
from recipekit.comparison.published import PublishedModel
from recipekit.comparison.resolve import Resolver, nothing_named
from recipekit.comparison.retrievers import (
    ComparedRetriever,
    RetrieverOwner,
    retriever_of,
)
from recipekit.errors import RunError
from recipekit.recipe.sections import Recipe

__all__ = ["Candidate", "candidates_of"]

Candidate = ComparedModel | ComparedRetriever | PublishedModel


def candidates_of(
    arguments: Sequence[str], resolver: Resolver, recipe: Recipe | None = None
) -> list[Candidate]:
    """Return what arguments name, each with a name of its own.

    Args:
        arguments: The arguments, as they were written.
        resolver: Finds models, runs and baselines.
        recipe: A recipe whose retrievers can be named, before those of the runs among the
            arguments.

    Raises:
        RecipekitError: There are fewer than two, one names nothing, or their kinds differ.
    """
    if len(arguments) < 2:
        raise RunError(
            "compare needs at least two models: the reference, and one to compare with it",
            code="RK670",
        )
    twice = next((text for text, count in Counter(arguments).items() if count > 1), None)
    if twice is not None:
        raise RunError(f"{twice} is named twice", code="RK670")
    parsed = [parse_argument(text) for text in arguments]
    # Runs can follow the retrievers of their recipes, so all of them are found first.
    models = [resolver.resolve(argument) for argument in parsed]
    owners = [RetrieverOwner(run.recipe, run.path) for run in resolver.runs.values()]
    if recipe is not None:
        owners.insert(0, RetrieverOwner(recipe))
    found = [
        model or _retriever(argument, owners)
        for model, argument in zip(models, parsed, strict=True)
    ]
    check_models([model for model in found if isinstance(model, ComparedModel)])
    names = _names([model.label for model in found], arguments)
    return [replace(model, label=name) for model, name in zip(found, names, strict=True)]


def _retriever(argument: Argument, owners: Sequence[RetrieverOwner]) -> ComparedRetriever:
    retriever = retriever_of(argument, owners)
    if retriever is None:
        known = ["bm25", *(name for owner in owners for name in owner.retrievers())]
        raise nothing_named(argument, dict.fromkeys(known))
    return retriever


def _names(labels: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Return names for tables, one for each model: its label, or what was typed, or a number.

    Evaluators use them as names of folders, too.
    """
    counts = Counter(labels)
    names: list[str] = []
    for label, argument in zip(labels, arguments, strict=True):
        text = argument if counts[label] > 1 else label
        name = wanted = text.replace("/", "-").strip(".-")
        number = 1
        while name in names:
            number += 1
            name = f"{wanted} {number}"
        names.append(name)
    return names
