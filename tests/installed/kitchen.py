"""Components of two distributions, kitchen and rival; see `installed` in tests/conftest.py."""

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
    """The account that opens the pantry."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    user: str
    """The name of the account; part of the result."""
    password: Annotated[str, NotIdentity] = ""
    """The password of the account."""


class Shelf(SourceSpec):
    """Jars on a shelf."""

    path: LocalPath
    """The file of the shelf."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The content of each jar."""

    def build(self, context: Context) -> Any:
        raise NotImplementedError


class Pantry(RetrieverSpec):
    """Finds jars."""

    url: Annotated[str, NotIdentity] = "http://localhost:9200"
    """The address of the pantry."""
    port: Annotated[int, NotIdentity, Field(ge=1)] = 9200
    """The port of the pantry."""
    headers: Annotated[dict[str, str], NotIdentity] = Field(default_factory=dict)
    """Headers of every request."""
    login: Login | None = None
    """The account, if the pantry needs one."""
    index: str = "jars"
    """The name of the list of jars."""
    boost: float | list[float] = 1.0
    """One weight, or one for each word."""

    def build(self, context: Context) -> Any:
        raise NotImplementedError


class Twin(RetrieverSpec):
    """A component whose name is taken."""

    def build(self, context: Context) -> Any:
        raise NotImplementedError


class Frozen(EncoderSpec):
    """An encoder that cannot be trained."""

    def build(self, context: Context) -> Any:
        raise NotImplementedError


class Critic(JudgeSpec):
    """Judges by taste."""

    encoder: EncoderName | None = None
    """The encoder whose taste is used."""
    taste: Literal["sweet", "sour", "bitter"] = "sweet"
    """The preferred taste."""

    @model_validator(mode="after")
    def _consistent(self) -> Critic:
        if self.taste == "bitter" and self.encoder is None:
            raise ValueError("a bitter taste needs an encoder")
        return self

    def build(self, context: Context) -> Any:
        raise NotImplementedError


class Spoon:
    """Not a component."""


class Served(ExporterSpec):
    """An exporter that needs a trained encoder."""

    needs: ClassVar[tuple[str, ...]] = ("encoder",)

    def build(self, context: Any) -> Any:
        """Not called in tests."""
        raise NotImplementedError


class Rating(BaseModel):
    """A part of a component that has a slot itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    judge: Slot[JudgeSpec] | None = None
    """The judge that rates."""


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
    """The loss that replaces it, if any."""
    standby: Slot[LossSpec] = Slot(use="plain", temperature=0.5)
    """A loss with a default."""
    losses: dict[Name, Slot[LossSpec]] = Field(default_factory=dict)
    """More losses, by name."""
    sequence: tuple[Slot[LossSpec], ...] = ()
    """More losses, in order."""
    rating: Rating = Rating()
    """A part that has a slot."""

    def build(self, context: Context) -> Any:
        """The folders of this loss and of the losses inside it."""
        inside = [self.inner, *self.losses.values(), *self.sequence]
        return [context.scratch, *(slot.build(context) for slot in inside)]
