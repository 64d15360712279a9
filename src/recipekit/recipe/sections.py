"""`Recipe`, and what its sections have in common.

The pipeline adds one field per stage to `Recipe` (`recipekit.stages.recipe`). A component is named
in a `Slot`: `use` selects it, and its own class validates the other keys when the recipe is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from recipekit.component import EncoderSpec, Name, Slot

__all__ = [
    "TRAINED",
    "Fraction",
    "PaidSection",
    "Recipe",
    "RecipeOrigin",
    "Section",
    "SpendingLimits",
    "SplitName",
]

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
SplitName = Literal["train", "dev", "test"]

TRAINED: Final = "trained"
"""The name of the trained encoder in sections after training, which is reserved."""

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A part of a recipe: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    def further_identity(self) -> dict[str, Any]:
        """Return the `NotIdentity` fields that decide the result given the other fields."""
        return {}


class SpendingLimits(Section):
    """The most that may be spent on paid endpoints.

    A limit is checked before every call, and never exceeded. What it does not cover is left undone
    and counted. Raise the limit and run again to continue: earlier spending counts towards it.
    """

    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    """The most that calls may cost in USD, calls in flight included."""
    max_calls: Annotated[int, Field(ge=1)] | None = None
    """The most calls to paid endpoints."""


class PaidSection(Section):
    """The section of a stage that calls paid endpoints."""

    spending: SpendingLimits = SpendingLimits()
    """Limits for only this stage, none larger than the recipe's `spending`, which also counts its
    calls.
    """


@dataclass(frozen=True, eq=False)
class RecipeOrigin:
    """Where a recipe came from."""

    path: Path | None
    """Its file; None for a recipe that was given as a dict."""
    folder: Path
    """The folder that its relative paths start from."""
    project_start: Path
    """The folder from which its project is looked for (`recipekit.pipeline.project`)."""
    text: str
    """The file's content, or the dict as YAML."""
    overrides: tuple[str, ...]
    allow_local_code: bool
    trust_remote_code: bool = False

    def __eq__(self, other: object) -> bool:
        """Always equal: the origin of a recipe is not part of its content."""
        return isinstance(other, RecipeOrigin)

    __hash__ = None  # type: ignore[assignment]


class Recipe(Section):
    """A whole recipe."""

    recipe: Literal[1] = Field(description="The version of the recipe format.")
    name: Name
    """The recipe's name; its runs are in `runs/<name>/`."""
    description: str = ""
    """A sentence or two for readers: what it trains, on which data, and why."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 13
    """Decides every random choice: splits, samples, shuffles, resampling."""
    encoders: Annotated[dict[Name, Slot[EncoderSpec]], Field(min_length=1)] | None = None
    """Encoders, by a name of your own, to which other sections refer. By default, `student` is
    trained.
    """
    spending: SpendingLimits = SpendingLimits()
    """Limits on the calls to paid endpoints of all stages together."""
    _origin: RecipeOrigin | None = PrivateAttr(default=None)

    @property
    def origin(self) -> RecipeOrigin:
        """Where it came from."""
        assert self._origin is not None, "only a recipe that was loaded has an origin"
        return self._origin

    def stages(self) -> Iterator[tuple[str, Section]]:
        """Yield the sections of stages that the recipe has, with their names, in order."""
        for name in type(self).model_fields:
            section = getattr(self, name)
            if name not in Recipe.model_fields and section is not None:
                yield name, section

    def section(self, model: type[S]) -> S | None:
        """Return the recipe's section of a model; None where the recipe lacks it."""
        found = (section for _, section in self.stages() if isinstance(section, model))
        return next(found, None)

    def limits_of(self, stage: str) -> SpendingLimits:
        """Return the limits that hold for a stage's calls: its own, else the recipe's."""
        section = getattr(self, stage)
        if not isinstance(section, PaidSection):
            return self.spending
        own = section.spending.model_dump(exclude_none=True)
        return self.spending.model_copy(update=own)
