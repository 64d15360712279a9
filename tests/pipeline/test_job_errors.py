"""Errors on their way from a stage's process to the user."""

import os
import signal
import sys
from pathlib import Path

import pytest

from recipekit.errors import (
    ComponentError,
    DataError,
    Problem,
    RecipeError,
    RecipekitError,
    RunError,
)
from recipekit.pipeline.job import Job, read_error, write_error
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.stage_process import StageProcesses

PROBLEM = Problem("recipe.yaml:3:1", "train", "unknown key", "RK103")


@pytest.mark.parametrize(
    "error",
    [
        DataError("no rows", code="RK306"),
        ComponentError("not there"),
        RunError("killed", code="RK608"),
    ],
)
def test_a_longer_message_keeps_the_type_and_code_of_an_error(error: RecipekitError) -> None:
    with_message = error.with_message(f"collect: {error.message}")
    assert (type(with_message), with_message.code) == (type(error), error.code)
    assert str(with_message) == f"collect: {error}"


def test_a_recipe_error_with_another_message_keeps_its_code() -> None:
    with_message = RecipeError([PROBLEM]).with_message("collect: the recipe is wrong")
    assert (str(with_message), with_message.code) == ("collect: the recipe is wrong", "RK103")


@pytest.mark.parametrize(
    "error", [DataError("no rows", code="RK306"), RecipeError([PROBLEM]).with_message(str(PROBLEM))]
)
def test_errors_survive_a_file(error: RecipekitError, tmp_path) -> None:
    write_error(tmp_path / "error.json", error)
    read = read_error(tmp_path / "error.json")
    assert (type(read), read.code, str(read)) == (type(error), error.code, str(error))
    assert read_error(tmp_path / "none.json") is None


class LeavesAnError(Launch):
    """Starts a process that reports an error."""

    def command(self, job: Path, *, ranks: bool, port: int | None = None) -> list[str]:
        error = DataError("no rows", code="RK306") if self.ranks == 1 else RunError("diverged")
        write_error(job.with_name("judge.error.json"), error)
        return [sys.executable, "-c", "raise SystemExit(65)"]


@pytest.mark.parametrize(
    ("ranks", "inputs", "words"),
    [
        (1, {}, "no rows\nAfter fixing it: recipekit run recipe.yaml"),
        (
            1,
            {"collect": "1"},
            "no rows\nFinished stages are kept. After fixing it: recipekit run recipe.yaml",
        ),
        (2, {}, "diverged\nTo resume: recipekit run recipe.yaml"),
    ],
)
def test_a_mistake_is_to_be_fixed_and_a_failure_to_be_resumed(
    ranks: int, inputs: dict[str, str], words: str, tmp_path: Path
) -> None:
    folder = str(tmp_path)
    job = Job("judge", "0" * 64, folder, folder, folder, inputs, 1, "recipekit run recipe.yaml")
    processes = StageProcesses(LeavesAnError(ranks=ranks))
    with open(os.devnull) as lock, pytest.raises(RecipekitError) as raised:
        processes.run(job, lock, computes=False)
    assert str(raised.value) == f"judge: {words}"


class KillsItself(Launch):
    """Starts a process that ends by a signal."""

    def command(self, job: Path, *, ranks: bool, port: int | None = None) -> list[str]:
        return [sys.executable, "-c", f"import os; os.kill(os.getpid(), {self.ranks})"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "killed by SIGKILL (the system kills processes that use too much memory)"),
        (signal.SIGTERM, "killed by SIGTERM (another program or user ended it, such as a job"),
        (signal.SIGHUP, "killed by SIGHUP. To resume"),
    ],
)
def test_a_killed_stage_is_reported_with_the_usual_cause(tmp_path, number, words) -> None:
    folder = str(tmp_path)
    job = Job("judge", "0" * 64, folder, folder, folder, {}, 1, "recipekit run recipe.yaml")
    processes = StageProcesses(KillsItself(ranks=int(number)))
    with open(os.devnull) as lock, pytest.raises(RunError) as raised:
        processes.run(job, lock, computes=False)
    assert f"judge: {words}" in str(raised.value)
    assert str(raised.value).endswith("To resume: recipekit run recipe.yaml")
    assert raised.value.code == "RK608"
