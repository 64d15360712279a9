"""Components of two distributions, kitchen and rival, that are found as installed ones are: see
`tests/conftest.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipekit.component import (
    Context,
    EncoderName,
    EncoderSpec,
    ExporterSpec,
    JudgeSpec,
    LocalPath,
    LossSpec,
    Name,
    NotIdentity,
    RetrieverSpec,
    Secret,
    Slot,
    SourceSpec,
)


class Login(BaseModel):
    """Who asks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    user: str
    """Who it is; part of the result."""
    password: Annotated[str, NotIdentity] = ""
    """What only they know."""


class Shelf(SourceSpec):
    """Jars on a shelf."""

    path: LocalPath
    """Where the shelf is."""
    columns: dict[str, str] = Field(default_factory=dict)
    """What is in which jar."""


class Pantry(RetrieverSpec):
    """Finds jars."""

    url: Annotated[str, NotIdentity] = "http://localhost:9200"
    """Where the pantry answers."""
    port: Annotated[int, NotIdentity, Field(ge=1)] = 9200
    """And at which door."""
    headers: Annotated[dict[str, str], NotIdentity] = Field(default_factory=dict)
    """What to say on entering."""
    login: Login | None = None
    """Who asks, if anybody must."""
    index: str = "jars"
    """Which list to look at."""
    boost: float | list[float] = 1.0
    """One weight, or one a word."""


class Twin(RetrieverSpec):
    """Another thing by a name that is taken."""


class Frozen(EncoderSpec):
    """An encoder that nobody can train."""


class Critic(JudgeSpec):
    """Judges by taste."""

    encoder: EncoderName | None = None
    """Whose taste."""
    taste: Literal["sweet", "sour", "bitter"] = "sweet"
    """What is liked."""

    @model_validator(mode="after")
    def _consistent(self) -> Critic:
        if self.taste == "bitter" and self.encoder is None:
            raise ValueError("nobody likes bitter by nature: name an encoder")
        return self


class Spoon:
    """No component at all."""


class Served(ExporterSpec):
    """A dish, for which there must be something trained."""

    needs: ClassVar[tuple[str, ...]] = ("train",)

    def build(self, context: Any) -> Any:
        """Never called here."""
        raise NotImplementedError


class Rating(BaseModel):
    """A part of a component that has a slot itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    judge: Slot[JudgeSpec] | None = None
    """Who rates."""


class Plain(LossSpec):
    """A loss that contains nothing."""

    temperature: Annotated[float, Field(gt=0)] = 0.05
    """The temperature of the softmax."""
    threads: Annotated[int, NotIdentity] = 1
    """How many threads work; the result is the same."""
    key: Secret | None = None
    """The key of a server."""
    teacher: EncoderName | None = None
    """An encoder of the recipe."""
    table: LocalPath | None = None
    """A file that decides the result."""

    def files(self) -> dict[str, Path]:
        """The table."""
        return {} if self.table is None else {"table": self.table}

    def build(self, context: Context) -> Any:
        """The folder that this loss works in."""
        return context.scratch


class Wrapper(LossSpec):
    """A loss that contains other components."""

    inner: Slot[LossSpec]
    """The loss inside."""
    scale: float = 1.0
    """A factor."""
    fallback: Slot[LossSpec] | None = None
    """What replaces it, if anything."""
    standby: Slot[LossSpec] = Slot(use="plain", temperature=0.5)
    """A component that is there by default."""
    losses: dict[Name, Slot[LossSpec]] = Field(default_factory=dict)
    """More losses, by name."""
    sequence: tuple[Slot[LossSpec], ...] = ()
    """More losses, in order."""
    rating: Rating = Rating()
    """A part with a slot of its own."""

    def build(self, context: Context) -> Any:
        """The folders of this loss and of the losses inside it."""
        inside = [self.inner, *self.losses.values(), *self.sequence]
        return [context.scratch, *(slot.build(context) for slot in inside)]
