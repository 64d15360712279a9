"""The data set of a recipe, from the artifacts of the stages that extend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recipekit import stages
from recipekit.artifacts.key import key_of
from recipekit.artifacts.store import Artifact

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = ["dataset_view"]


def dataset_view(artifacts: Mapping[str, Artifact]) -> Dataset | None:
    """Return the data set in the finished artifacts; None before the first of them exists.

    Args:
        artifacts: Finished artifacts, by stage.
    """
    from recipekit.dataset import Dataset

    parts = [artifacts[name] for name in stages.dataset_stage_names() if name in artifacts]
    if not parts:
        return None
    first, *more = parts
    key = key_of([part.key for part in parts]) if more else first.key
    return Dataset(first.path, key, [part.path for part in more])
