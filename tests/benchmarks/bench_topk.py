"""Compare exact top-k search in tiles with argpartition on the whole score matrix.

It measures seconds and the memory that each adds:

    python tests/benchmarks/bench_topk.py --queries 2000 --passages 50000 --dim 384 --depth 100
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np


def full_matrix(queries, passages, depth):
    scores = queries @ passages.T
    best = np.argpartition(-scores, depth, axis=1)[:, :depth]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def tiled(queries, passages, depth):
    from recipekit.search.topk import exact_top_k

    return exact_top_k(queries, passages, depth, similarity="dot").rows


def measure(name, options):
    random = np.random.default_rng(0)
    passages = random.standard_normal((options.passages, options.dim), dtype=np.float32)
    queries = random.standard_normal((options.queries, options.dim), dtype=np.float32)
    run = {"full_matrix": full_matrix, "tiled": tiled}[name]
    run(queries[:8], passages[:1000], min(options.depth, 999))  # imports and warms up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    rows = run(queries, passages, options.depth)
    seconds = time.perf_counter() - started
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        json.dumps(
            {
                "seconds": seconds,
                "added_mb": added,
                "checksum": int(np.sort(rows, axis=1).astype(np.int64).sum()),
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("queries", 2000), ("passages", 50_000), ("dim", 384), ("depth", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        return measure(options.only, options)
    results = {}
    for name in (
        "full_matrix",
        "tiled",
    ):  # in separate processes, because peak memory is per process
        child = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--only", name],
            check=True,
            capture_output=True,
            text=True,
        )
        results[name] = json.loads(child.stdout)
        print(
            f"{name:12} {results[name]['seconds']:8.2f} s  {results[name]['added_mb']:8.0f} MB  "
            f"checksum {results[name]['checksum']}"
        )
    ratio = results["tiled"]["seconds"] / results["full_matrix"]["seconds"]
    print(f"ratio        {ratio:8.2f}")


if __name__ == "__main__":
    main()
