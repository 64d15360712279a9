"""Runs that are killed, runs at the same time, and runs on two ranks end in the metrics of an
undisturbed one.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LINES_TO_DIE_AT = (
    "collect: running", "mine: running", "tokenize query", "judge: finished", "train: running", "dev ndcg@10", "evaluate: running",
)  # fmt: skip
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


def metrics(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(
        (folder / "runs/tiny/latest/metrics.json").read_text()
    )
    return rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Metrics of a run that nothing disturbs, filled in by the first test that makes one."""
    return {}


def undisturbed_metrics(undisturbed: dict[str, object], folder: Path, cli) -> object:
    if not undisturbed:
        whole = folder / "whole"
        whole.mkdir()
        for name in ("recipe.yaml", "pairs.jsonl"):
            shutil.copy(folder / name, whole)
        cli("run", "whole/recipe.yaml", "--cache", "whole/cache", "--runs", "whole/runs")
        undisturbed["metrics"] = metrics(whole)
    return undisturbed["metrics"]


def test_a_run_killed_at_several_points_ends_with_the_same_metrics(
    folder: Path, cli, undisturbed: dict[str, object]
) -> None:
    expected = undisturbed_metrics(undisturbed, folder, cli)
    seen: list[str] = []
    # Each run gets a little farther: it is killed when it prints this line, in the middle of a
    # stage or between two.
    for line_to_die_at in LINES_TO_DIE_AT:
        process = start(folder)
        assert process.stderr is not None
        for line in process.stderr:
            if line_to_die_at in line:
                break
            seen.append(line)
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
    assert metrics(folder) == expected
    for stage in ("collect", "mine", "judge"):
        assert f"{stage}: cached" in last.stderr


def test_two_runs_on_one_cache_share_the_work(
    folder: Path, cli, undisturbed: dict[str, object]
) -> None:
    expected = undisturbed_metrics(undisturbed, folder, cli)
    runs = [start(folder, "--runs", f"runs-{name}") for name in "ab"]
    said = [process.communicate(timeout=300)[1] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], said
    for stage in STAGES:
        made = sum(f"{stage}: finished in" in text for text in said)
        reused = sum(f"{stage}: cached" in text for text in said)
        assert (made, reused) == (1, 1), (stage, said)
    for name in "ab":
        assert (
            json.loads((folder / f"runs-{name}/tiny/latest/metrics.json").read_text()) == expected
        )


def test_two_ranks_give_the_metrics_of_one(
    folder: Path, cli, undisturbed: dict[str, object]
) -> None:
    expected = undisturbed_metrics(undisturbed, folder, cli)
    cli("run", "recipe.yaml", "--num-processes", "2", "--cpu")
    rows = metrics(folder)
    assert [(row["system"], row["metric"]) for row in rows] == [
        (row["system"], row["metric"]) for row in expected
    ]  # type: ignore[union-attr]
    for row, one in zip(rows, expected, strict=True):  # type: ignore[call-overload]
        assert row["value"] == pytest.approx(one["value"], abs=0.002)
    manifest = json.loads((folder / "runs/tiny/latest/stages/train/manifest.json").read_text())
    assert manifest["ranks"] == 2


def test_fewer_ranks_than_requested_are_an_error(folder: Path, cli) -> None:
    from recipekit.pipeline.job import Job

    cli("run", "recipe.yaml", "--until", "collect")
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
