"""One rank of several train stages; torchrun starts it with the arguments MODEL DATASET OUT.

Runs every section into OUT/<name>, and writes each rank's number of forward passes to
OUT/passes-<rank>.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from helpers.train_inputs import (
    BOTH_HALVES,
    COORDINATE_ASCENT,
    IN_BATCH,
    MASKED,
    train_inputs,
    train_section,
)
from recipekit.component import Ranks
from recipekit.dataset import Dataset
from recipekit.encoders.bi_encoder_module import BiEncoder
from recipekit.pipeline.worker import leave
from recipekit.stages.train.train import train
from recipekit.training.parallel import join_ranks

GTE = {
    "use": "infonce",
    "directions": "both",
    "same_side_negatives": ["query", "passage"],
    "one_softmax": True,
}
MATRYOSHKA = {"use": "matryoshka", "dimensions": [32, 8]}
TWO_CYCLES = {**COORDINATE_ASCENT, "cycles": 2}

# A budget of 24 tokens gives each step several micro-batches, and batches of 5 of 12 queries give
# the ranks unequal shares. The last batch, of 1 query in 11, leaves one rank without any.
SECTIONS = {
    "exact": train_section(TWO_CYCLES, max_tokens_per_batch=24),
    "both_halves": train_section(BOTH_HALVES, max_tokens_per_batch=24),
    "separate_towers": train_section(
        IN_BATCH, {**BOTH_HALVES, "separate_towers": True}, max_tokens_per_batch=24
    ),
    "one_passage_step": train_section(
        {**BOTH_HALVES, "query_epochs": 0, "passage_epochs": 2, "passage_gradient": "corpus"},
        max_tokens_per_batch=24,
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
    "masked": train_section(MASKED, max_tokens_per_batch=24),
    "masked_then_both_halves": train_section(
        {**MASKED, "texts": "queries"}, BOTH_HALVES, max_tokens_per_batch=24
    ),
    "two_phases": train_section(IN_BATCH, COORDINATE_ASCENT, max_tokens_per_batch=24),
}


def train_all(model: Path, dataset: Path, out: Path, ranks: Ranks) -> dict[str, int]:
    """Run all sections; returns each one's forward passes on this rank."""
    passes = {}
    for name, section in SECTIONS.items():
        inputs = train_inputs(
            out / name, model, Dataset(dataset, "test-dataset"), ranks=ranks, tied=name != "infonce"
        )
        count = CountedPasses(inputs.encoder("student"))
        train(inputs, section, out / name)
        passes[name] = count.passes
    return passes


class CountedPasses:
    """Counts the forward passes of an encoder."""

    def __init__(self, encoder: BiEncoder) -> None:
        self.passes = 0
        encoder.register_forward_pre_hook(self.add)

    def add(self, *_: object) -> None:
        self.passes += 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    ranks = join_ranks(2)
    model, dataset, out = map(Path, sys.argv[1:])
    passes = train_all(model, dataset, out, ranks)
    (out / f"passes-{ranks.rank}.json").write_text(json.dumps(passes))
    leave(0)
