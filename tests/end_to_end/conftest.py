"""A small recipe, a finished run of it, and the command line."""

from functools import partial
from pathlib import Path

import pytest

from helpers.in_process import call_in_process
from helpers.small_run import Cli, FinishedRun, call_cli, write_recipe


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, words: list[str]) -> Path:
    """A folder with a recipe and its data."""
    write_recipe(tmp_path, tiny_model, words)
    return tmp_path


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, words: list[str]
) -> FinishedRun:
    """One run of the recipe that nothing interrupts, in processes of its own.

    Tests copy it and do not change it.
    """
    folder = tmp_path_factory.mktemp("finished")
    write_recipe(folder, tiny_model, words)
    return FinishedRun(folder, call_cli(folder, "run", "recipe.yaml"))


@pytest.fixture
def finished_copy(finished: FinishedRun, tmp_path: Path) -> Path:
    """A folder with a copy of the finished run."""
    return finished.copy(tmp_path)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`cli("run", "recipe.yaml", status=0)` runs the command line in the test's folder."""
    return partial(call_in_process, tmp_path)
