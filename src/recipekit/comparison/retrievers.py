"""Retrievers of a recipe in a comparison, such as BM25."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from recipekit.artifacts.store import Artifact
from recipekit.comparison.arguments import Argument, wrong_option
from recipekit.comparison.measured_encoders import MeasuredEncoders
from recipekit.component import RetrieverSpec, Slot
from recipekit.errors import RunError
from recipekit.pipeline.search_run import run_artifacts
from recipekit.recipe.sections import TRAINED, Recipe
from recipekit.recipe.slots import encoders_in, slots
from recipekit.registry import resolve
from recipekit.retrievers.bm25 import Bm25Spec
from recipekit.stages import trained_encoder, training_artifact

__all__ = ["ComparedRetriever", "RetrieverOwner", "retriever_of"]

BM25: Final = "bm25"
"""The retriever that needs no recipe."""


@dataclass(frozen=True)
class ComparedRetriever:
    """A retriever that is measured here."""

    label: str
    """Its name in tables."""
    argument: Argument
    slot: Slot[RetrieverSpec]
    encoders: MeasuredEncoders = field(default_factory=MeasuredEncoders)
    """Those of its recipe."""

    @property
    def what(self) -> str:
        """What it is, for tables."""
        return "retriever"


@dataclass(frozen=True)
class RetrieverOwner:
    """A recipe whose retrievers can be named, and the run of it, if it is that of a run."""

    recipe: Recipe
    run: Path | None = None

    def retrievers(self) -> dict[str, Slot[RetrieverSpec]]:
        """Return its retrievers by name; a baseline comes before one of mining."""
        found: dict[str, Slot[RetrieverSpec]] = {}
        for _, section in reversed(list(self.recipe.stages())):
            for path, kind, slot in slots(type(section), section):
                if kind == RetrieverSpec.kind:
                    found.setdefault(str(path[-1]), slot)
        return found

    def training(self) -> Artifact | None:
        """Return the artifact with the weights that its run trained, if any."""
        return None if self.run is None else training_artifact(dict(run_artifacts(self.run)))

    def encoders(self) -> MeasuredEncoders:
        """Return its encoders, with the weights that its run trained."""
        training = self.training()
        trained = None if training is None else trained_encoder(self.recipe)
        return MeasuredEncoders(self.recipe.encoders or {}, trained, training)

    def can_search(self, name: str) -> bool:
        """Return whether the encoders of a retriever are here: the trained one is that of a run."""
        needed = encoders_in(self.retrievers()[name].spec)
        return TRAINED not in needed or self.training() is not None


def retriever_of(argument: Argument, owners: Sequence[RetrieverOwner]) -> ComparedRetriever | None:
    """Return the retriever that an argument names; None if there is none of its name.

    It is that of the first recipe that has one, and has trained the encoder if it searches with the
    trained one. `bm25` needs no recipe.

    Raises:
        RunError: It cannot have the argument's options, or searches with an encoder that was not
            trained.
    """
    name = argument.target
    label = f"{name}{argument.suffix}"
    having = [owner for owner in owners if name in owner.retrievers()]
    if not having and name != BM25:
        return None
    if not having:
        return ComparedRetriever(label, argument, _with_options(argument, _plain_bm25()))
    owner = next((each for each in having if each.can_search(name)), None)
    if owner is None:
        raise RunError(
            f"{argument.text}: this retriever searches with the trained encoder of recipe "
            f"'{having[0].recipe.name}': compare it with a run of the recipe",
            code="RK672",
        )
    slot = _with_options(argument, owner.retrievers()[name])
    return ComparedRetriever(label, argument, slot, owner.encoders())


def _plain_bm25() -> Slot[RetrieverSpec]:
    slot: Slot[RetrieverSpec] = Slot(use=BM25)
    slot.bind(resolve("retriever", BM25), Bm25Spec())
    return slot


def _with_options(argument: Argument, slot: Slot[RetrieverSpec]) -> Slot[RetrieverSpec]:
    """Return a retriever with the options of `bm25` that an argument has."""
    if argument.before or argument.compression or argument.model_options:
        raise RunError(
            f"{argument.text}: '{argument.target}' is a retriever of a recipe, whose vectors and "
            "weights are those of the recipe",
            code="RK673",
        )
    options = argument.bm25_options
    if not options:
        return slot
    if not isinstance(slot.spec, Bm25Spec):
        raise RunError(
            f"{argument.text}: '{next(iter(options))}' is a key of bm25, and "
            f"'{argument.target}' is another retriever: {slot.use}",
            code="RK673",
        )
    try:
        spec = Bm25Spec.model_validate({**slot.spec.model_dump(), **options})
    except ValidationError as error:
        raise wrong_option(argument.text, error) from error
    changed: Slot[RetrieverSpec] = Slot(use=slot.use)
    changed.bind(slot.entry, spec)
    return changed
