"""One rank of a train stage.

`train_on_ranks.py MODEL DATASET OUT`, started by torchrun. Trains with each loss into OUT/<loss>.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from accelerate import PartialState
from train_inputs import EXACT, INFONCE, train_inputs, train_section

from recipekit.component import Ranks
from recipekit.dataset import Dataset
from recipekit.pipeline.worker import leave
from recipekit.stages.train.train import train

SECTIONS = {
    # A budget of 24 tokens makes several micro-batches a step, and batches of 5 of 12 queries leave
    # ranks with unlike shares; the last batch, of 1 query in 11, leaves one with none.
    "exact": train_section(EXACT, query_epochs=2, cycles=2, max_tokens_per_batch=24),
    "infonce": train_section(INFONCE, query_epochs=2, max_tokens_per_batch=24),
    "infonce_whole": train_section(INFONCE, query_epochs=2),
}


def train_all(model: Path, dataset: Path, out: Path, ranks: Ranks) -> None:
    for name, section in SECTIONS.items():
        train(
            train_inputs(
                out, model, Dataset(dataset, "test-dataset"), ranks=ranks, tied=name != "infonce"
            ),
            section,
            out / name,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    state = PartialState(cpu=True)
    here = Ranks(
        state.process_index, state.num_processes, str(state.device), state.wait_for_everyone
    )
    train_all(*map(Path, sys.argv[1:]), here)
    leave(0)
