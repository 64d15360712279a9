"""Uninterrupted runs of the train stage, with which tests compare resumed ones."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.train_inputs import train_inputs
from recipekit.dataset import Dataset
from recipekit.stages.train.section import TrainSection
from recipekit.stages.train.train import train


@pytest.fixture(scope="module")
def finished_sections() -> dict[str, Path]:
    """The folders of `uninterrupted` by section."""
    return {}


@pytest.fixture
def uninterrupted(
    finished_sections: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model: Path,
    tiny_dataset: Dataset,
) -> Callable[[TrainSection], Path]:
    """`uninterrupted(section)`: a folder with the store of a run, and its files in `whole`.

    A section runs once for a file of tests, which copy the folder.
    """

    def run(section: TrainSection) -> Path:
        key = section.model_dump_json()
        if key not in finished_sections:
            folder = tmp_path_factory.mktemp("uninterrupted")
            train(train_inputs(folder, tiny_model, tiny_dataset), section, folder / "whole")
            finished_sections[key] = folder
        return finished_sections[key]

    return run
