"""Two ranks train as one does: batch sizes are global, and every loss is the mean over the global
batch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from train_on_ranks import SECTIONS, train_all

from recipekit.component import Ranks


@pytest.fixture
def dataset(make_dataset, tiny_dataset):
    """The tiny data set, but one train query without a positive: 11 train in batches of 5, 5 and 1."""
    text = tiny_dataset.queries.table.to_pylist()
    queries = [(row["id"], row["text"], ("train", "dev", "test")[row["split"]]) for row in text]
    passages = [(row["id"], row["text"]) for row in tiny_dataset.passages.table.to_pylist()]
    return make_dataset(queries, passages, {(i, i): 1.0 for i in range(24) if i != 4})


def test_two_ranks_give_the_losses_and_the_dev_values_of_one(
    tmp_path: Path, tiny_model: Path, dataset
):
    script = Path(__file__).with_name("train_on_ranks.py")
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(script),
    ]
    command = [*launch, str(tiny_model), str(dataset.path), str(tmp_path / "two")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    train_all(tiny_model, dataset.path, tmp_path / "one", Ranks())
    for name in SECTIONS:
        one, two = (
            json.loads((tmp_path / ranks / name / "training.json").read_text())
            for ranks in ("one", "two")
        )
        assert one["tokens"] == two["tokens"]
        assert [point["loss"] for point in one["curve"]] == pytest.approx(
            [point["loss"] for point in two["curve"]], rel=2e-3
        )
        assert [point["gradient_norm"] for point in one["curve"]][:3] == pytest.approx(
            [p["gradient_norm"] for p in two["curve"]][:3], rel=2e-3
        )
        assert [point["value"] for point in one["dev"]["points"]] == pytest.approx(
            [p["value"] for p in two["dev"]["points"]], abs=2e-3
        )
