"""A run on two ranks has the metrics of a run on one."""

import json
from pathlib import Path

import pytest

from helpers.forked_ranks import forked_ranks
from helpers.in_process import call_in_process
from helpers.small_run import Cli, metrics, write_recipe

ON_TWO_RANKS = ("run", "recipe.yaml", "--num-processes", "2", "--cpu")


@pytest.mark.slow
def test_two_ranks_give_the_metrics_of_one(
    folder: Path, cli: Cli, tiny_model: Path, words: list[str]
) -> None:
    alone = folder / "alone"
    alone.mkdir()
    write_recipe(alone, tiny_model, words)
    call_in_process(alone, "run", "recipe.yaml", "--cpu")

    # Training has a launcher and processes of its own, which import torch for seconds each.
    with forked_ranks():
        cli(*ON_TWO_RANKS, "--until", "judge")
    cli(*ON_TWO_RANKS, "--until", "train")
    with forked_ranks():
        cli(*ON_TWO_RANKS)
    rows, expected = metrics(folder), metrics(alone)
    assert [(row["system"], row["metric"]) for row in rows] == [
        (row["system"], row["metric"]) for row in expected
    ]
    for row, one in zip(rows, expected, strict=True):
        assert row["value"] == pytest.approx(one["value"], abs=0.002)
    for stage in ("mine", "train", "evaluate"):
        manifest = json.loads(
            (folder / f"runs/tiny/latest/stages/{stage}/manifest.json").read_text()
        )
        assert manifest["ranks"] == 2
