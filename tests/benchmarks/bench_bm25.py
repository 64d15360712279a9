"""Compare the bm25 retriever with bare bm25s on a BEIR folder.

It measures the seconds to index and to search, and the memory that each adds:

    python tests/benchmarks/bench_bm25.py ../shared/data/scifact --depth 100
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from recipekit.component import QueryBatch
from recipekit.dataset import Dataset
from recipekit.retrievers.bm25 import Bm25Spec
from recipekit.tables import PASSAGES, write_table
from recipekit.testing import context


def read(folder, name):
    for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz"):
        if path.exists():
            with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
                return [
                    f"{entry.get('title') or ''} {entry['text']}".strip()
                    for entry in map(json.loads, file)
                ]
    sys.exit(f"no {name}.jsonl in {folder}")


def ours(passages, queries, depth, scratch):
    n = len(passages)
    write_table(
        scratch / "passages.arrow",
        PASSAGES,
        [pa.table([map(str, range(n)), [""] * n, passages, ["b"] * n], schema=PASSAGES)],
    )
    started = time.perf_counter()
    retriever = Bm25Spec(depth=depth).build(
        context(scratch / "index", dataset=Dataset(scratch, "bench"))
    )
    built = time.perf_counter()
    retriever.search(QueryBatch(np.arange(len(queries)), queries), depth)
    return built - started, time.perf_counter() - built


def bare(passages, queries, depth, scratch):
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    started = time.perf_counter()
    index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    index.index(
        bm25s.tokenize(passages, stopwords="en", stemmer=stemmer, show_progress=False),
        show_progress=False,
    )
    index.save(scratch)
    built = time.perf_counter()
    index.retrieve(
        bm25s.tokenize(queries, stopwords="en", stemmer=stemmer, show_progress=False),
        k=depth,
        show_progress=False,
    )
    return built - started, time.perf_counter() - built


def measure(name, options):
    passages = read(options.folder, "corpus") * options.times
    queries = read(options.folder, "queries")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as scratch:
        index, search = {"bare": bare, "ours": ours}[name](
            passages, queries, options.depth, Path(scratch)
        )
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        json.dumps(
            {
                "index": index,
                "search": search,
                "added_mb": added,
                "passages": len(passages),
                "queries": len(queries),
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument(
        "--times", type=int, default=1, help="index the corpus this many times over"
    )
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        return measure(options.only, options)
    results = {}
    for name in ("bare", "ours"):  # in separate processes, because peak memory is per process
        child = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--only", name],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        results[name] = found = json.loads(child.stdout)
        rate = found["queries"] / found["search"]
        print(
            f"{name:6} index {found['index']:7.2f} s  search {rate:7.0f} queries/s  "
            f"{found['added_mb']:6.0f} MB"
        )
    ratios = {
        part: results["ours"][part] / results["bare"][part]
        for part in ("index", "search", "added_mb")
    }
    print("ratio ", "  ".join(f"{part} {ratio:.2f}" for part, ratio in ratios.items()))


if __name__ == "__main__":
    main()
