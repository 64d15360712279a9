"""Components of two distributions, kitchen and rival, that are found as installed ones are: see
`tests/conftest.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipekit.component import (
    EncoderName,
    EncoderSpec,
    ExporterSpec,
    JudgeSpec,
    LocalPath,
    NotIdentity,
    RetrieverSpec,
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
