"""One of two ranks that score pairs with a teacher and train on the scores.

`run_on_cpu_ranks` starts it with MODEL DATASET CROSS OUT. It trains into OUT/one machine, and as
ranks of two machines into OUT/two machines, and writes how many pairs this rank scored for each to
OUT/<rank>.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from helpers.teachers import DISTILLED, inputs_with_teachers
from helpers.train_inputs import train_section
from recipekit.dataset import Dataset
from recipekit.encoding import score_pairs
from recipekit.encoding.pair_scores import PairScorer
from recipekit.pipeline.worker import leave
from recipekit.stages.train.train import train
from recipekit.training.parallel import join_ranks

torch.set_num_threads(1)
model, dataset, cross, out = map(Path, sys.argv[1:])
score_pairs.PAIRS_PER_BLOCK = 5
ranks, section = (
    join_ranks(2),
    train_section(DISTILLED, keep_weights="last", eval_every_epochs=None, batch_size=4),
)
counts, scorers = [], []
initialize = PairScorer.__init__


def remember(self: PairScorer, *arguments: object, **keywords: object) -> None:
    initialize(self, *arguments, **keywords)  # type: ignore[arg-type]
    scorers.append(self)


PairScorer.__init__ = remember  # type: ignore[method-assign]
for machines, name in ((1, "one machine"), (2, "two machines")):
    type(ranks).machines = property(lambda self, machines=machines: machines)
    inputs = inputs_with_teachers(
        out / name, model, Dataset(dataset, "test-dataset"), cross, ranks=ranks
    )
    train(inputs, section, out / name)
    counts.append(scorers[-1].pairs)
(out / f"{ranks.rank}.json").write_text(json.dumps(counts))
leave(0)
