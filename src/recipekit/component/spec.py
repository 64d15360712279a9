"""`Component`, the base class of everything that recipes name with `use`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from recipekit.component.context import Context
    from recipekit.component.sizes import Sizes
    from recipekit.dataset import Dataset
    from recipekit.errors import RecipekitError

__all__ = ["Component"]

Built = TypeVar("Built", covariant=True)


class Component(BaseModel, Generic[Built]):
    """A frozen spec that builds what it declares.

    A default has the same meaning whether it is written or not, since `recipekit fill` writes all
    defaults and every run loads such a recipe: validators must not use `model_fields_set`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    """Raise it when the same spec would now produce another artifact."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Files of stages that it cannot work without, such as `("encoder",)`: the recipe must have the
    sections of the stages that write them (`Stage.writes`)."""
    live: ClassVar[bool] = False
    """Whether its fingerprint can change during a run (an index that others write to).

    The run then compares it with the fingerprint of the plan."""

    def __class_getitem__(cls, built: Any) -> Any:
        """The class itself: what it builds matters to type checkers only, not to pydantic."""
        return cls

    def build(self, context: Context) -> Built:
        """Build the working object. Heavy imports belong here."""
        raise TypeError(f"{type(self).__name__} does not define build()")

    def check_built(self, built: object) -> None:
        """Check that what `build` returned has the members that the spec declares.

        Raises:
            ComponentError: It lacks one.
        """

    def files(self) -> Mapping[str, Path]:
        """Return the local files and folders whose content decides the result, by name.

        Names and hashes of the content are part of the cache key. Names should not depend on where
        the files are: `{"corpus": folder}`. The field of the path itself must be `NotIdentity`.
        """
        return {}

    def fingerprint(self) -> Any:
        """Return a JSON value that identifies a remote input, such as a Hub revision, or None.

        `plan` calls it, so it must be quick and must not import torch.

        Raises:
            ComponentError: The input cannot be reached; the plan then shows "unknown".
        """
        return None

    def distributions(self) -> Collection[str]:
        """Return installed distributions that decide its result, for `recipekit lock`.

        Every lock has the component's own distribution, and those that matter to most recipes, such
        as torch, transformers and numpy.
        """
        return ()

    def key_mistakes(self) -> Iterable[tuple[str, RecipekitError]]:
        """Return what is wrong with its keys, as far as files on this machine show it.

        `validate`, `plan` and the start of `run` report each mistake at its key. It must be quick,
        must not import torch, and passes over files that are missing or cannot be read: whoever
        reads them reports that.

        Returns:
            The key, such as `query`, and the error.
        """
        return ()

    def key_notes(self) -> Iterable[tuple[str, str]]:
        """Return what is doubtful about its keys, as far as files on this machine show it.

        `plan` shows each warning, and so does a run in which the component's stage runs. It must be
        as quick as `key_mistakes`.

        Returns:
            The key, such as `file`, and the warning.
        """
        return ()

    def reach(self) -> None:
        """Check that the component's server can be used.

        A run starts with this check for all of its stages, so that a server that is down or a
        missing key is not found after hours of work. It must be quick and free of charge, and must
        not import torch.

        Raises:
            ComponentError: The server or its configuration is wrong.
            RunError: The server cannot be reached.
        """

    def check_limit(self, max_cost_usd: float) -> None:
        """Check, before any work is done, that a spending limit in USD can be kept.

        Raises:
            ComponentError: The component pays for calls whose price is unknown.
        """

    def check(self, dataset: Dataset) -> None:
        """Check that the component can work on the collected data.

        It is called right after the data is collected, must be quick and must not import torch.

        Raises:
            DataError: The component cannot work on this data.
        """

    def estimate(self, sizes: Sizes, pairs: int) -> Mapping[str, float | str]:
        """Return the expected work or cost by unit, for `plan`; empty if trivial.

        Args:
            sizes: The data that the component works on, with the queries that are mined or judged.
            pairs: The (query, passage) pairs that a retriever returns or a judge judges.

        Returns:
            Figures by unit. `calls`, `tokens in`, `tokens out`, `usd` and `hours` have their own
            format; a text explains a figure: `{"usd": "unknown: give `price`"}`.
        """
        return {}
