"""Killed runs and concurrent runs have the metrics of an uninterrupted one.

Killed runs have its weights, too.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.small_run import metrics
from recipekit.pipeline.job import Job

pytestmark = pytest.mark.slow
KILLED_AT = (
    "collect: running",
    "tokenize query",
    "dev ndcg@10",
    "evaluate: running",
)
"""Lines of output after which a run is killed: in the middle of a stage or between two."""
STAGES = ["collect", "mine", "judge", "train", "evaluate", "export"]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "recipekit", "run", "recipe.yaml", *more],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights(folder: Path) -> dict[str, bytes]:
    """The files of the trained encoder's weights, byte for byte."""
    encoder = folder / "runs/tiny/latest/stages/train/encoder"
    return {
        str(file.relative_to(encoder)): file.read_bytes() for file in encoder.rglob("*.safetensors")
    }


def test_a_run_that_is_killed_at_several_points_ends_with_the_same_weights_and_metrics(
    folder: Path, cli, finished
) -> None:
    # Each run gets further than the one before.
    for killed_at in KILLED_AT:
        process = start(folder)
        assert process.stderr is not None
        for line in process.stderr:
            if killed_at in line:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        cache = folder / ".recipekit" / "cache"
        for artifact in cache.glob("*/*/"):
            assert (
                artifact.suffix in (".partial", ".removed")
                or (artifact / "manifest.json").is_file()
            )
    last = cli("run", "recipe.yaml")
    assert metrics(folder) == finished.metrics
    assert weights(finished.folder).keys() == {"model.safetensors"}
    assert weights(folder) == weights(finished.folder)
    for stage in ("collect", "mine", "judge"):
        assert f"{stage}: cached" in last.stderr


def test_two_runs_on_one_cache_share_the_work(folder: Path, cli, finished) -> None:
    runs = [start(folder, "--runs", f"runs-{name}") for name in "ab"]
    outputs = [process.communicate(timeout=300)[1] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], outputs
    for stage in STAGES:
        made = sum(f"{stage}: finished in" in text for text in outputs)
        reused = sum(f"{stage}: cached" in text for text in outputs)
        assert (made, reused) == (1, 1), (stage, outputs)
    for name in "ab":
        assert metrics(folder, f"runs-{name}") == finished.metrics


def test_fewer_ranks_than_requested_are_an_error(finished_copy: Path) -> None:
    folder = finished_copy
    run = (folder / "runs/tiny/latest").resolve()
    key = (run / "stages/collect").resolve().name
    partial = folder / "partial"
    partial.mkdir()
    job = Job(
        "mine",
        "k",
        str(run),
        str(folder / ".recipekit"),
        str(partial),
        {"collect": key},
        ranks=2,
        command="recipekit run",
    )
    ended = subprocess.run(
        [sys.executable, "-m", "recipekit.pipeline.worker", str(job.write(run / "mine.job.json"))],
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        cwd=folder,
        check=False,
    )
    assert ended.returncode != 0
    assert (
        "2 processes were requested, but 1 formed a group" in (run / "mine.error.json").read_text()
    )
