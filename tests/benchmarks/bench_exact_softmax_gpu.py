"""Compare the exact softmax on a GPU with the GPU's own rate of bf16 matrix products.

    python tests/benchmarks/bench_exact_softmax_gpu.py

One measurement is the loss of B queries against N passages and its gradient in the queries: 4·B·N·d
floating-point operations, as it is and with the work on a tile compiled. The rate is their number
per second, and the share is that of a bf16 matrix product of the same shape, which is measured
first. The target is a share of 70 % for B = 1,024, N = 1,000,000 and d = 768.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch

from recipekit.losses import log_partition
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.query_pairs import QueryPairs


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The best time of some repeats, after two that warm up and compile."""
    times = []
    for repeat in range(repeats + 2):
        started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        started.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        if repeat >= 2:
            times.append(started.elapsed_time(ended) / 1000)
    return min(times)


def loss_and_gradient(
    queries: torch.Tensor, corpus: FrozenMatrix, ignored: int, tile_size: int | None
) -> Callable[[], torch.Tensor]:
    """One positive and some ignored passages a query, which are masked inside the tiles."""
    n = len(queries)
    each = np.arange(n)
    masked = np.sort((each[:, None] + n * np.arange(1, ignored + 1)) % corpus.total, axis=1)
    labels = CorpusLabels.of(
        QueryPairs.from_sorted(each, each, n),
        np.ones(n, np.float32),
        QueryPairs.from_sorted(np.repeat(each, ignored), masked.ravel(), n),
        "cuda",
    )
    loss = ExactSoftmax(0.05, tile_size=tile_size)
    return lambda: torch.autograd.grad(loss(queries, labels, corpus).sum(), queries)[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--ignored", type=int, default=20, help="ignored passages of each query")
    parser.add_argument("--tiles", type=int, nargs="+", default=[0], help="0 is the default")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this benchmark needs a CUDA GPU")

    torch.manual_seed(0)
    shape = (options.queries, options.passages, options.dim)
    queries = torch.randn(shape[0], shape[2], device="cuda")
    queries = torch.nn.functional.normalize(queries, dim=1).requires_grad_()
    matrix = torch.randn(shape[1], shape[2], device="cuda", dtype=torch.float16)
    matrix = torch.nn.functional.normalize(matrix, dim=1)
    corpus = FrozenMatrix.whole(matrix)
    operations = 4 * shape[0] * shape[1] * shape[2]

    left, right = queries.detach().bfloat16(), matrix[:65536].bfloat16().T.contiguous()
    product = 2 * shape[0] * right.shape[1] * shape[2] / seconds(lambda: left @ right, 20)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, B, N, d = {shape}")
    print(f"bf16 matrix product: {product / 1e12:.0f} TFLOP/s\n")
    print("| tile | compiled | ms | TFLOP/s | share | peak MB |\n|--:|---|--:|--:|--:|--:|")
    for tile in options.tiles:
        for compiler in (None, "inductor"):
            log_partition.COMPILER = compiler
            step = loss_and_gradient(queries, corpus, options.ignored, tile or None)
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            taken = seconds(step, options.repeats)
            peak = (torch.cuda.max_memory_allocated() - before) / 2**20
            rate = operations / taken
            print(
                f"| {tile or 'default'} | {compiler or 'no'} | {1000 * taken:.1f} | "
                f"{rate / 1e12:.0f} | {rate / product:.0%} | {peak:.0f} |"
            )


if __name__ == "__main__":
    main()
