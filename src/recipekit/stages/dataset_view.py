"""The data set of a recipe, from the artifacts of the stages that extend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recipekit import stages
from recipekit.artifacts.key import FileHashes, key_of
from recipekit.artifacts.store import Artifact

if TYPE_CHECKING:
    from recipekit.dataset import Dataset
    from recipekit.records import Side

__all__ = ["dataset_view", "texts_key"]


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


def texts_key(dataset: Dataset, side: Side, hashes: FileHashes) -> str:
    """Return the content hash of one side's files, by which by-products are keyed.

    The data set's own key also depends on queries and labels, which an index of the passages does
    not need.
    """
    contents = [hashes.of(file) for file in dataset.files(side)]
    return contents[0] if len(contents) == 1 else key_of(contents)
