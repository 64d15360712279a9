"""One rank of several train stages; `run_on_cpu_ranks` starts it with MODEL DATASET OUT.

Runs every section with whole weights into OUT/whole/<name>, and with sharded weights into
OUT/sharded/<name>. Writes each rank's number of forward passes to OUT/<mode>/passes-<rank>.json.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch

from helpers.killed import KilledAfter
from helpers.train_inputs import (
    BOTH_HALVES,
    COORDINATE_ASCENT,
    IN_BATCH,
    MASKED,
    train_inputs,
    train_section,
)
from recipekit.component import Progress, Ranks
from recipekit.dataset import Dataset
from recipekit.encoders.bi_encoder_module import BiEncoder
from recipekit.pipeline.worker import leave
from recipekit.stages.train.train import train
from recipekit.training.parallel import Sharding, join_ranks

GTE = {
    "use": "infonce",
    "directions": "both",
    "same_side_negatives": ["query", "passage"],
    "one_softmax": True,
}
BY_LIBRARY = {"use": "in_batch", "num_hard_negatives": 0, "epochs": 2}
GUIDED = {"use": "sentence_transformers", "loss": "GISTEmbedLoss", "guide": "student"}
PROJECTED = {
    "use": "sentence_transformers",
    "loss": "EmbedDistillLoss",
    "teacher": "student",
    "options": {"projection_dim": 32},
}
MATRYOSHKA = {"use": "matryoshka", "dimensions": [32, 8]}
ONE_EPOCH = {**IN_BATCH, "epochs": 1}
TWO_CYCLES = {**COORDINATE_ASCENT, "cycles": 2}

# A budget of 24 tokens gives each step several micro-batches, and batches of 5 of 12 queries give
# the ranks unequal shares. The last batch, of 1 query in 11, leaves one rank without any.
SECTIONS = {
    "exact": train_section(TWO_CYCLES, max_tokens_per_batch=24),
    "both_halves": train_section(BOTH_HALVES, max_tokens_per_batch=24),
    "separate_towers": train_section(
        ONE_EPOCH,
        {**BOTH_HALVES, "cycles": 1, "separate_towers": True, "passage_share": 0.75},
        keep_weights="last",
        max_tokens_per_batch=24,
    ),
    "one_passage_step": train_section(
        {**BOTH_HALVES, "query_epochs": 0, "passage_epochs": 2, "passage_gradient": "corpus"},
        max_tokens_per_batch=24,
    ),
    "positives": train_section(
        {**BOTH_HALVES, "passages": "positives", "cycles": 1}, max_tokens_per_batch=24
    ),
    "refreshed": train_section({**BOTH_HALVES, "refresh_every_steps": 2}, max_tokens_per_batch=24),
    "infonce": train_section(IN_BATCH, max_tokens_per_batch=24),
    "infonce_whole": train_section(IN_BATCH),
    "same_side": train_section({**IN_BATCH, "loss": GTE}, max_tokens_per_batch=24),
    "matryoshka": train_section(
        {**BOTH_HALVES, "cycles": 1, "loss": {**MATRYOSHKA, "loss": {"use": "exact_softmax"}}},
        max_tokens_per_batch=24,
    ),
    "pairs_by_library": train_section(
        {
            "use": "in_batch",
            "loss": {"use": "sentence_transformers", "loss": "MultipleNegativesRankingLoss"},
            "num_hard_negatives": 0,
        },
        max_tokens_per_batch=24,
    ),
    "guided": train_section({**BY_LIBRARY, "loss": GUIDED}, max_tokens_per_batch=24),
    "projected": train_section({**BY_LIBRARY, "loss": PROJECTED}, max_tokens_per_batch=24),
    "masked": train_section(MASKED, max_tokens_per_batch=24),
    "masked_then_both_halves": train_section(
        {**MASKED, "texts": "queries"}, BOTH_HALVES, max_tokens_per_batch=24
    ),
    "two_phases": train_section(IN_BATCH, COORDINATE_ASCENT, max_tokens_per_batch=24),
    "averaged": train_section(IN_BATCH, average_weights=2, max_tokens_per_batch=24),
    "lora": train_section(
        ONE_EPOCH,
        {**BOTH_HALVES, "cycles": 1},
        lora={"r": 4},
        keep_weights="last",
        max_tokens_per_batch=24,
    ),
    "frozen": train_section(
        ONE_EPOCH,
        freeze={"embeddings": True, "layers": 1},
        gradient_checkpointing=True,
        keep_weights="last",
    ),
}
SHARDED = (
    "exact",
    "both_halves",
    "positives",
    "separate_towers",
    "one_passage_step",
    "infonce",
    "matryoshka",
    "projected",
    "masked_then_both_halves",
    "averaged",
    "lora",
    "frozen",
)
"""The sections that are also trained with sharded weights."""
ON_FOUR_RANKS = ("both_halves", "separate_towers", "infonce")
"""The sections that are trained with sharded weights on four ranks, where batches of 5 queries
leave ranks without any: both half-phases with one tower and with two, and in-batch negatives."""
KILLED = {
    "whole": {"both_halves": 8},
    "sharded": {"separate_towers": 11, "masked_then_both_halves": 4, "projected": 4},
}
"""The sections that are killed and resumed with whole and with sharded weights, and the steps
before: in a passage half-phase; in one of the second phase, where the towers have been separated;
while masked tokens are predicted; while a projection is trained."""


def train_all(
    model: Path, dataset: Path, out: Path, ranks: Ranks, names: Iterable[str] = SECTIONS
) -> dict[str, int]:
    """Run sections; returns each one's forward passes on this rank."""
    return {name: train_one(name, model, dataset, out / name, ranks) for name in names}


def train_one(
    name: str,
    model: Path,
    dataset: Path,
    out: Path,
    ranks: Ranks,
    progress: Progress | None = None,
) -> int:
    """Run one section; returns its forward passes on this rank."""
    inputs = train_inputs(
        out,
        model,
        Dataset(dataset, "test-dataset"),
        ranks=ranks,
        progress=progress,
        tied=name != "infonce",
    )
    count = CountedPasses(inputs.unprepared_encoder("student"))
    train(inputs, SECTIONS[name], out)
    return count.passes


class CountedPasses:
    """Counts the forward passes of an encoder."""

    def __init__(self, encoder: BiEncoder) -> None:
        self.passes = 0
        encoder.register_forward_pre_hook(self.add)

    def add(self, *_: object) -> None:
        self.passes += 1


def main(model: Path, dataset: Path, out: Path) -> None:
    """Train everything on this rank."""
    count = int(os.environ["WORLD_SIZE"])
    whole, sharded = (join_ranks(count, sharding) for sharding in (None, Sharding()))
    trained = {"whole": (whole, tuple(SECTIONS)), "sharded": (sharded, SHARDED)}
    if count == 4:
        trained = {"sharded": (sharded, ON_FOUR_RANKS)}
    for mode, (ranks, names) in trained.items():
        passes = train_all(model, dataset, out / mode, ranks, names)
        (out / mode / f"passes-{ranks.rank}.json").write_text(json.dumps(passes))
    if count == 2:
        for mode, (ranks, _) in trained.items():
            for name, steps in KILLED[mode].items():
                kill_and_resume(name, steps, model, dataset, out, ranks)


def kill_and_resume(
    name: str, steps: int, model: Path, dataset: Path, out: Path, ranks: Ranks
) -> None:
    """Run a section twice into OUT/killed/<name>, and copy what the first run has left."""
    folder = out / "killed" / name
    with suppress(KeyboardInterrupt):
        train_one(name, model, dataset, folder, ranks, KilledAfter("train", steps))
    if ranks.is_main:
        shutil.copytree(folder, out / "killed-before" / name)
    ranks.barrier()
    train_one(name, model, dataset, folder, ranks)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(Path, sys.argv[1:]))
    leave(0)
