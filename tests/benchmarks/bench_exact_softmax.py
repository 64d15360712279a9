"""Compare time and peak memory of the exact softmax with torch's dense cross-entropy.

    python tests/benchmarks/bench_exact_softmax.py --queries 64 --passages 5000 50000 200000

A measurement is one loss with its gradient: the best time of several alternating repeats, and the
peak of the memory allocated on top of the inputs. On a CPU each measurement of memory has a
separate process, and is Linux's peak resident size minus the size before; on CUDA it is the
allocator's.
Ratios are streamed : dense; below 1 the streamed loss is better.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.query_pairs import QueryPairs

TEMPERATURE = 0.05


def unit_rows(n: int, dim: int, device: str) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, dim, device=device), dim=1)


def steps(
    n: int, total: int, dim: int, tile_size: int | None, device: str
) -> dict[str, Callable[[], torch.Tensor]]:
    """One loss and gradient each way, with one positive a query, on the same embeddings."""
    torch.manual_seed(0)
    queries, matrix = unit_rows(n, dim, device).requires_grad_(), unit_rows(total, dim, device)
    targets = torch.arange(n, device=device)
    each, none = np.arange(n), np.empty(0, np.int64)
    positive, ignored = QueryPairs.from_sorted(each, each, n), QueryPairs.from_sorted(none, none, n)
    labels = CorpusLabels.of(positive, np.ones(n, np.float32), ignored, device)
    frozen, loss = FrozenMatrix.whole(matrix), ExactSoftmax(TEMPERATURE, tile_size=tile_size)

    def streamed() -> torch.Tensor:
        return torch.autograd.grad(loss(queries, labels, frozen).sum(), queries)[0]

    def dense() -> torch.Tensor:
        scores = queries @ matrix.T / TEMPERATURE
        return torch.autograd.grad(
            torch.nn.functional.cross_entropy(scores, targets, reduction="sum"), queries
        )[0]

    return {"streamed": streamed, "dense": dense}


def seconds(step: Callable[[], torch.Tensor], device: str) -> float:
    started = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def megabytes(which: str, shape: list[int], tile_size: int | None, device: str) -> float:
    """Peak memory of one step above what held its inputs."""
    if device == "cuda":
        step = steps(*shape, tile_size, device)[which]
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    command = [
        sys.executable,
        __file__,
        "--measure",
        which,
        "--shape",
        *map(str, shape),
        "--tiles",
        str(tile_size or 0),
    ]
    # Freed memory goes back to the system at once, so that the peak is the step's own.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    return float(
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    )


def measure_here(which: str, shape: list[int], tile_size: int | None) -> float:
    steps(*shape, tile_size, "cpu")[which]()  # warm-up: libraries allocate once
    step = steps(*shape, tile_size, "cpu")[which]
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """A figure of this process from the kernel, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--passages", type=int, nargs="+", default=[5_000, 50_000, 200_000])
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument(
        "--tiles",
        type=int,
        nargs="+",
        default=[0],
        help="tile sizes; 0 is the default of the device",
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", choices=["streamed", "dense"], help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure_here(options.measure, options.shape, options.tiles[0] or None))
        return

    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    print(
        f"{where}, torch {torch.__version__}, {options.queries} queries, "
        f"{options.dim} dimensions, float32\n"
    )
    print(
        "| passages | tile | streamed s | dense s | ratio | streamed MB | dense MB | ratio "
        "| largest difference |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for total in options.passages:
        shape = [options.queries, total, options.dim]
        dense_memory = megabytes("dense", shape, None, device)
        for tile in options.tiles:
            both = steps(*shape, tile or None, device)
            difference = (both["streamed"]() - both["dense"]()).abs().max().item()
            times = [
                {name: seconds(step, device) for name, step in both.items()}
                for _ in range(options.repeats)
            ]
            streamed, dense = (min(each[name] for each in times) for name in ("streamed", "dense"))
            memory = megabytes("streamed", shape, tile or None, device)
            seconds_columns = f"{streamed:.4f} | {dense:.4f} | {streamed / dense:.2f}"
            ratio = f"{memory / dense_memory:.2f}" if dense_memory else ""
            memory_columns = f"{memory:.1f} | {dense_memory:.1f} | {ratio}"
            print(
                f"| {total:,} | {tile or 'default'} | {seconds_columns} | {memory_columns} "
                f"| {difference:.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
