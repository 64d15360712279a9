"""Measure a step of both half-phases of coordinate ascent over corpora of growing size.

    python tests/benchmarks/bench_half_phases.py --sizes 10000 100000 1000000

A step here is the loss and its gradient with respect to the embeddings of the batch; encoding is
left out, since it does not depend on the corpus. A query step scores 64 queries against N passages.
A passage step scores a block of 64 passages against n = N queries. Each size has a process of its
own. CPU time is the smallest of several steps, and the ratio is to a bare matrix multiplication of
as many operations in the same process. Memory is Linux's peak resident size minus the size before
the first step, when the matrices are resident, so it should be a tile and one number per query.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from recipekit.component import TrainingLabels
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.query_pairs import QueryPairs

BATCH = 64


def unit_rows(n: int, dim: int) -> torch.Tensor:
    rows = torch.randn(n, dim)
    return rows.div_(rows.norm(dim=1, keepdim=True))


def pairs(n: int) -> tuple[QueryPairs, QueryPairs]:
    """One positive per query, nothing ignored."""
    each, none = np.arange(n), np.empty(0, np.int64)
    return QueryPairs.from_sorted(each, each, n), QueryPairs.from_sorted(none, none, n)


def query_step(total: int, dim: int) -> tuple[Callable[[], object], float]:
    corpus, queries = FrozenMatrix.whole(unit_rows(total, dim)), unit_rows(BATCH, dim)
    queries.requires_grad_()
    positive, ignored = pairs(BATCH)
    labels = CorpusLabels.of(positive, np.ones(BATCH, np.float32), ignored)
    loss = ExactSoftmax(0.05)

    def step() -> object:
        return torch.autograd.grad(loss(queries, labels, corpus).sum(), queries)

    return step, 4.0 * BATCH * total * dim


def passage_step(total: int, dim: int) -> tuple[Callable[[], object], float]:
    queries, passages = (FrozenMatrix.whole(unit_rows(total, dim)) for _ in range(2))
    positive, ignored = pairs(total)
    labels = TrainingLabels(
        np.arange(total), positive, np.ones(total, np.float32), ignored, ignored, 0
    )
    half = ExactSoftmax(0.05).over_passages(queries, passages, labels)
    # The partitions of random unit vectors are close to this; computing them takes n x N.
    half.z = torch.full((total,), float(np.log(total)) + 0.5 / (0.05**2 * dim))
    half.scores = (queries.matrix * passages.matrix).sum(1) / 0.05
    rng = np.random.default_rng(0)

    def step() -> object:
        rows = rng.choice(total, BATCH, replace=False)
        return half.block(rows, unit_rows(BATCH, dim), update=True)

    return step, 6.0 * total * BATCH * dim


def cpu_seconds(step: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return min(times)


def reset_peak() -> None:
    """Set Linux's record of the peak resident size to the present size."""
    Path("/proc/self/clear_refs").write_text("5")


def megabytes(field: str) -> float:
    """Read VmHWM, the peak resident size, or VmRSS, the present one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(field)]
    return float(line.split()[1]) / 1024


def measure(half_phase: str, total: int, dim: int, repeats: int) -> None:
    """Print one row."""
    torch.manual_seed(0)
    step, operations = {"query": query_step, "passage": passage_step}[half_phase](total, dim)
    reset_peak()
    before = megabytes("VmRSS")
    seconds = cpu_seconds(step, repeats)
    memory = megabytes("VmHWM") - before
    rows = 4096
    one, other = torch.randn(rows, dim), torch.randn(dim, BATCH)
    bare_operations = 2.0 * rows * dim * BATCH
    bare = cpu_seconds(lambda: [one @ other for _ in range(50)], 5) / 50
    ratio = (operations / seconds) / (bare_operations / bare)
    print(
        f"{half_phase:8} {total:>10,} {seconds * 1000:>10.1f} {operations / seconds / 1e9:>10.1f} "
        f"{ratio:>10.2f} {memory:>10.1f} {total * dim * 4 / 2**20:>10.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", choices=["query", "passage"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        measure(given.one, given.sizes[0], given.dim, given.repeats)
        return
    print(
        f"{'half':8} {'N':>10} {'CPU ms':>10} {'GFLOP/s':>10} {'of matmul':>10} "
        f"{'peak MB':>10} {'matrix MB':>10}"
    )
    for half_phase in ("query", "passage"):
        for total in given.sizes:
            options = ["--one", half_phase, "--sizes", str(total), "--dim", str(given.dim)]
            options += ["--repeats", str(given.repeats)]
            subprocess.run([sys.executable, __file__, *options], check=True)


if __name__ == "__main__":
    main()
