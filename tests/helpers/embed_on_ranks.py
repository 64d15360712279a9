"""One of two ranks that embed; `run_on_cpu_ranks` starts it with the argument FOLDER.

Compares the embeddings with those of one process, and writes this rank's numbers of forward passes
to FOLDER/<rank>.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from recipekit.component import SingleProcess
from recipekit.encoding.embed import embed_table, embed_tokens, open_embeddings
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.pipeline.worker import leave
from recipekit.testing import RecordingProgress
from recipekit.training.parallel import join_ranks


class SumEncoder(torch.nn.Module):
    """Embeds a text as the sum of its token ids times a weight, and counts its forward passes."""

    dimension, precision, similarity, max_tokens_per_batch = 4, "fp32", "dot", 21

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(1.0, 5.0))
        self.passes = 0

    def collate(self, ids, side):
        return {"sums": torch.tensor([float(text.sum()) for text in ids])}

    def forward(self, features, side):
        self.passes += 1
        return features["sums"][:, None] * self.weight


folder, ranks = Path(sys.argv[1]), join_ranks(2)
tokens = TokenizedTexts(np.arange(1, 757, dtype=np.int32), np.arange(0, 757, 3), 0)

encoder, rows = SumEncoder(), np.arange(99, -1, -1)
shared = embed_tokens(encoder, tokens, rows, "query", ranks)
alone = embed_tokens(SumEncoder(), tokens, rows, "query", SingleProcess())
np.testing.assert_array_equal(shared, alone)
assert (shared != 0).all()
passes = {"in memory": encoder.passes}

encoder = SumEncoder()
embed_table(encoder, tokens, "query", folder / "shared", ranks, RecordingProgress())
if ranks.is_main:
    embed_table(
        SumEncoder(), tokens, "query", folder / "alone", SingleProcess(), RecordingProgress()
    )
    matrices = [open_embeddings(folder / name).matrix for name in ("shared", "alone")]
    np.testing.assert_array_equal(*matrices)
passes["on disk"] = encoder.passes
(folder / f"{ranks.rank}.json").write_text(json.dumps(passes))
leave(0)
