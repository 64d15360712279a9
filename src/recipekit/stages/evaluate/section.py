"""The `evaluate` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from recipekit.component import EncoderName, EvaluatorSpec, Name, RetrieverSpec, Slot, SourceSpec
from recipekit.recipe.sections import TRAINED, Section

__all__ = ["FURTHER_DATA", "UNTRAINED", "EvaluateSection"]

UNTRAINED = "untrained"
"""The name in tables of the encoder before training."""
FURTHER_DATA = "evaluation_data"
"""The kind of by-product that holds a data set of `sources`."""


class EvaluateSection(Section):
    """Measure the trained encoder, the untrained one, and other retrievers."""

    evaluators: Annotated[dict[Name, Slot[EvaluatorSpec]], Field(min_length=1)]
    """What to measure, by a name of your own."""
    sources: dict[Name, Slot[SourceSpec]] = Field(default={})
    """Further data sets, each a corpus of its own, by a name that `retrieval` has in `source`: to
    see what training changes on data that the recipe does not train on. Queries without a split are
    test queries."""
    encoder: EncoderName = "student"
    """The encoder to measure: untrained, and trained where the recipe trains it.

    A recipe that trains nothing needs none: without an encoder that embeds texts, only baselines
    are measured.
    """
    untrained: bool = True
    """Measure the encoder before training, too."""
    baselines: dict[Name, Slot[RetrieverSpec]] = Field(default={"bm25": Slot(use="bm25")})
    """Retrievers to compare with, by their names in the tables."""

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        for name in (UNTRAINED, TRAINED):
            if name in self.baselines:
                raise ValueError(
                    f"baselines: '{name}' is the encoder's name in the tables; choose another one"
                )
        return self
