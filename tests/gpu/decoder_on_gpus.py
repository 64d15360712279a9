"""Trains a decoder on the GPUs that it is started on: MODEL DATASET OUT LORA SHARDED.

Every rank writes OUT/gpu-<rank>.json with its peak memory and its steps per second.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from helpers.train_inputs import IN_BATCH, train_inputs, train_section
from recipekit.dataset import Dataset
from recipekit.pipeline.worker import leave
from recipekit.stages.train.train import train
from recipekit.training.parallel import Sharding, join_ranks


def main(model: Path, dataset: Path, out: Path, lora: bool, sharded: bool) -> None:
    ranks = join_ranks(int(os.environ.get("WORLD_SIZE", "1")), Sharding() if sharded else None)
    section = train_section(
        {**IN_BATCH, "epochs": 4},
        precision="bf16",
        learning_rate=1e-4,
        gradient_checkpointing=True,
        lora={"r": 16} if lora else None,
        eval_every_epochs=None,
    )
    inputs = train_inputs(out, model, Dataset(dataset, "test-dataset"), ranks=ranks, max_length=64)
    torch.cuda.reset_peak_memory_stats()
    train(inputs, section, out)
    training = json.loads((out / "training.json").read_text()) if ranks.is_main else {}
    figures = {
        "peak_gb": torch.cuda.max_memory_allocated() / 2**30,
        "steps_per_second": training["steps"] / training["seconds"] if training else None,
        "losses": [point["loss"] for point in training.get("curve", [])],
        "device": torch.cuda.get_device_name(),
    }
    (out / f"gpu-{ranks.rank}.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    model, dataset, out = map(Path, sys.argv[1:4])
    main(model, dataset, out, *(word == "yes" for word in sys.argv[4:]))
    leave(0)
