"""`Component`, what every part of a recipe is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from recipekit.component.context import Context
    from recipekit.component.sizes import Sizes
    from recipekit.dataset import Dataset

__all__ = ["Component"]

Built = TypeVar("Built", covariant=True)


class Component(BaseModel, Generic[Built]):
    """A frozen spec that builds what it describes.

    A default that is written out means what it means unwritten (`recipekit fill` writes all of
    them, and every run loads such a recipe): validators compare values, and never ask which keys
    were written (`model_fields_set`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    """Raise it when the same spec would now produce another artifact."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Sections of the recipe without which it has nothing to work on (`("train",)`); a recipe that
    lacks one is wrong.
    """
    live: ClassVar[bool] = False
    """Whether what it fingerprints can change at any time (an index that others write to): a run
    asks again, for it was planned before.
    """

    def build(self, context: Context) -> Built:
        """Make the working object. Heavy imports belong here."""
        raise TypeError(f"{type(self).__name__} does not define build()")

    def files(self) -> Mapping[str, Path]:
        """Local files and folders whose content decides the result; their hashes enter the key.

        The names enter the key too, so they should not depend on where the files are: `{"corpus":
        folder}`. A path that is listed here belongs in a field marked `NotIdentity`.
        """
        return {}

    def fingerprint(self) -> Any:
        """A JSON value that identifies what is used but can change under us (a hub revision, an
        index), or None.

        It is called by `plan`, so it must be quick, must not import torch, and raises
        `ComponentError` where what it asks for cannot be reached (the plan then says "unknown").
        """
        return None

    def reach(self) -> None:
        """Raise `ComponentError` or `RunError` where a server that this component works with cannot
        be asked.

        A run begins with it for the stages that will be made after others, so that a server that is
        down, or a key that is not set, does not show after hours of other work. It must be quick,
        pay for nothing, and not import torch.
        """

    def check_limit(self, max_cost_usd: float) -> None:
        """Check, before any work is done, that a spending limit in USD can be kept.

        Raises:
            ComponentError: The component pays for calls whose price is unknown.
        """

    def check(self, dataset: Dataset) -> None:
        """Raise `DataError` where this component cannot work on the collected data, before hours
        are spent on it.

        It is called once the data is collected, so it must be quick, and must not import torch.
        """

    def estimate(self, sizes: Sizes, pairs: int) -> Mapping[str, float | str]:
        """Expected work or money, by unit, for `plan`; {} if trivial.

        `sizes` are the data that it works on, its queries those that are mined or judged; `pairs`
        how many (query, passage) pairs a retriever finds or a judge is asked about.

        `calls`, `tokens in`, `tokens out`, `usd` and `hours` are shown as such; a text says what
        the figures rest on (`{"usd": "unknown: no price of this model is known; give `price`"}`,
        `{"tokens": "an estimate: ..."}`).
        """
        return {}
