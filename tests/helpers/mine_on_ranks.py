"""One rank that searches and mines; `run_on_cpu_ranks` starts it with MODEL DATASET OUT.

Compares shared search with that of one process, mines into OUT/mined (the main rank), and writes
to OUT/<rank>.json how many queries each retriever searched with on this rank.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from helpers.train_inputs import bind, train_inputs
from recipekit.component import Context, Hits, QueryBatch, Ranks, RetrieverSpec, Slot
from recipekit.dataset import Dataset
from recipekit.pipeline.worker import leave
from recipekit.registry import Entry
from recipekit.retrievers import exact
from recipekit.retrievers.bm25_index import Bm25Retriever
from recipekit.search.shared_search import share_queries
from recipekit.search.topk import exact_top_k
from recipekit.stages.mine import retrieval
from recipekit.stages.mine.mine import mine
from recipekit.stages.mine.section import MineSection
from recipekit.training.parallel import LONGEST_WAIT, join_ranks


class Server(RetrieverSpec):
    """Retrieves the same passages for every query, on the main rank alone."""

    counts: ClassVar[dict[str, int]] = {}
    searches_on_all_ranks: ClassVar[bool] = False

    def build(self, context: Context) -> Any:
        return self

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        rows = np.tile(np.arange(depth, dtype=np.int32), (len(queries), 1))
        return Hits(rows, -rows.astype(np.float32))


def mine_section() -> MineSection:
    """Return a section with retrievers that share queries, and one that does not."""
    dense, lexical = {"use": "exact", "encoder": "student"}, {"use": "bm25", "depth": 5}
    slots = {
        "dense": Slot(**dense, depth=7),
        "lexical": Slot(**lexical),
        "both": Slot(use="hybrid", retrievers={"a": dense, "b": lexical}, depth=6),
    }
    server = Slot(use="server")
    server.bind(Entry("retriever", "server", "recipekit", "0", "somewhere"), Server(depth=3))
    retrievers = {name: bind(slot, "retriever") for name, slot in slots.items()}
    return MineSection(retrievers={**retrievers, "server": server}, splits=("train", "dev"))


def compare_with_one_process(ranks: Ranks) -> None:
    """Search with fewer queries than ranks, as many, and more; most scores are equal."""
    random = np.random.default_rng(7)
    passages = random.integers(-1, 2, (90, 3)).astype(np.float32)
    for n in (0, 1, 2, 3, 4, 11):
        queries = random.integers(-1, 2, (n, 3)).astype(np.float32)

        def search(part: slice, queries: Any = queries) -> Hits:
            return exact_top_k(queries[part], passages, 20, similarity="dot")

        alone, shared = search(slice(0, n)), share_queries(search, n, 20, ranks)
        np.testing.assert_array_equal(shared.rows, alone.rows)
        np.testing.assert_array_equal(shared.scores, alone.scores)
        assert (shared.rows.dtype, shared.scores.dtype) == (np.int32, np.float32)


def record_searches() -> dict[str, int]:
    """Return the queries that each class of retriever will have searched with."""
    searched = {}
    for kind in (exact._ExactRetriever, Bm25Retriever, Server):
        searched[kind.__name__] = 0

        def search(self: Any, queries: QueryBatch, depth: int, kind: Any = kind) -> Hits:
            searched[kind.__name__] += len(queries)
            return originals[kind](self, queries, depth)

        originals[kind] = kind.search
        kind.search = search  # type: ignore[method-assign]
    return searched


originals: dict[Any, Any] = {}


def main(model: Path, dataset: Path, out: Path) -> None:
    """Search and mine on this rank."""
    ranks = join_ranks(int(os.environ["WORLD_SIZE"]))
    assert torch.distributed.group.WORLD is not None
    gloo = torch.distributed.group.WORLD._get_backend(torch.device("cpu"))
    assert gloo.options._timeout == LONGEST_WAIT, "ranks wait while the main one searches a server"
    compare_with_one_process(ranks)
    retrieval.BATCH = 4
    searched = record_searches()
    summary = mine_into(out, model, dataset, ranks)
    assert bool(summary) == ranks.is_main
    (out / f"{ranks.rank}.json").write_text(json.dumps({"searched": searched, "summary": summary}))


def mine_into(out: Path, model: Path, dataset: Path, ranks: Ranks) -> dict[str, Any]:
    """Mine on this rank."""
    (out / "mined").mkdir(parents=True, exist_ok=True)
    inputs = train_inputs(out, model, Dataset(dataset, "test-dataset"), ranks=ranks)
    inputs.trained = None
    return mine(inputs, mine_section(), out / "mined")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
    leave(0)
