"""The `collect` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import Name, NotIdentity, Slot, SourceSpec
from recipekit.recipe.sections import Fraction, Section, SplitName

__all__ = ["CollectSection", "ExpectedSize", "HoldoutPositives", "Split"]


DEFAULT_DEV: Final = 0.05
Share = Annotated[float, Field(ge=0, le=1)]


class Split(Section):
    """Shares of the queries to hold out, where a source has no splits of its own."""

    dev: Fraction | None = None
    """Share of the queries for evaluation during training and for calibration. By default 0.05 of
    the queries without a split. A share that is set is also taken from the train queries of each
    source that has no dev queries."""
    test: Fraction = 0.1
    """Share of the queries for the final evaluation, never trained on."""

    @model_validator(mode="after")
    def _some_train(self) -> Self:
        if self.dev_share + self.test >= 1:
            raise ValueError(f"dev {self.dev_share} + test {self.test} leave no query to train on")
        return self

    @property
    def dev_share(self) -> float:
        """The share of dev among queries without a split."""
        return DEFAULT_DEV if self.dev is None else self.dev


class HoldoutPositives(Section):
    """For studies of incomplete labels: remove source positives, as if nobody had labelled them."""

    keep: Annotated[int, Field(ge=1)] = 1
    """How many positives each query keeps."""
    by: Literal["random", "grade"] = "random"
    """Which ones it keeps: a seeded choice, or those with the highest grade (ties by a seeded
    choice).
    """
    splits: Annotated[tuple[SplitName, ...], Field(min_length=1)] = ("train",)
    """The splits whose queries lose positives."""


class ExpectedSize(Section):
    """The expected size of the data, for `plan` before it is collected; results do not use it."""

    passages: Annotated[int, Field(ge=1)]
    """Number of passages."""
    queries: dict[SplitName, Annotated[int, Field(ge=0)]]
    """Number of queries, by split."""
    passage_characters: Annotated[float, Field(gt=0)] = 500
    """Mean length of a passage in characters, with its title."""
    query_characters: Annotated[float, Field(gt=0)] = 40
    """Mean length of a query in characters."""
    positives_per_query: Annotated[float, Field(ge=0)] = 1
    """Mean number of source positives of a query."""
    dimension: Annotated[int, Field(ge=1)] | None = None
    """Dimension of the encoders' embeddings, if the models are not available yet."""


class CollectSection(Section):
    """Read queries, passages and labels from sources, merge duplicates, and split by query."""

    sources: Annotated[dict[Name, Slot[SourceSpec]], Field(min_length=1)]
    """Where the data comes from, by a name of your own."""
    split: Split = Split()
    """How to split queries whose source has no splits."""
    max_unknown_ids: Share = 0.5
    """Largest share of a source's labels with ids that do not exist. They are left out; a larger
    share is an error, since the labels probably belong to other data."""
    holdout_positives: HoldoutPositives | None = None
    """For studies: positives to remove, to see whether judging finds them again."""
    expected_size: Annotated[ExpectedSize | None, NotIdentity] = None
    """How much data to expect, for a `plan` before it is collected."""
