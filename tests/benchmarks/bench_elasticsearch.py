"""Compare the elasticsearch retriever with the bare client on synthetic passages.

It measures passages indexed and queries searched per second, and memory. Without `--url` it starts
a server:

    python tests/benchmarks/bench_elasticsearch.py --passages 100000 --queries 5000
    python tests/benchmarks/bench_elasticsearch.py --url http://localhost:9200 --passages 1000000
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipekit.component import QueryBatch
from recipekit.dataset import Dataset
from recipekit.retrievers.elasticsearch import ElasticsearchRetrieverSpec
from recipekit.tables import PASSAGES, write_table
from recipekit.testing import context
from servers.elasticsearch_server import ElasticsearchServer

VOCABULARY = 50_000
DEPTH = 100
MAPPINGS = {
    "dynamic": "strict",
    "_source": {"enabled": False},
    "properties": {
        "row": {"type": "integer", "index": False},
        "text": {"type": "text", "analyzer": "english", "index_options": "freqs"},
    },
}
SETTINGS = {
    "number_of_replicas": 0,
    "refresh_interval": "-1",
    "similarity": {"default": {"type": "BM25", "k1": 0.9, "b": 0.4}},
}


def words() -> list[str]:
    """Words of two to ten letters."""
    random = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    return [
        "".join(random.choice(letters, length)) for length in random.integers(2, 11, VOCABULARY)
    ]


def synthetic(n: int, mean: float, seed: int) -> Iterator[list[str]]:
    """Yield lists of 1000 texts, with Zipf-distributed words and log-normal lengths."""
    random, vocabulary = np.random.default_rng(seed), np.array(words(), object)
    chances = 1 / np.arange(1, VOCABULARY + 1)
    edges = np.cumsum(chances / chances.sum())
    for start in range(0, n, 1000):
        lengths = np.maximum(
            1, random.lognormal(np.log(mean) - 0.125, 0.5, min(1000, n - start)).astype(int)
        )
        drawn = vocabulary[
            np.minimum(np.searchsorted(edges, random.random(lengths.sum())), VOCABULARY - 1)
        ]
        yield [" ".join(part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]


def write_corpus(folder: Path, n: int) -> None:
    def batches() -> Iterator[pa.Table]:
        row = 0
        for texts in synthetic(n, 56, 1):
            yield pa.table(
                [
                    [str(row + i) for i in range(len(texts))],
                    [""] * len(texts),
                    texts,
                    ["b"] * len(texts),
                ],
                schema=PASSAGES,
            )
            row += len(texts)

    write_table(folder / "passages.arrow", PASSAGES, batches())


def ours(url: str, dataset: Dataset, queries: list[str], scratch: Path) -> tuple[float, float]:
    owner = uuid.uuid4().hex
    spec = ElasticsearchRetrieverSpec(url=url, concurrency=4)
    started = time.perf_counter()
    retriever = spec.build(context(scratch, dataset=dataset, owner=owner))
    built = time.perf_counter()
    for start in range(0, len(queries), 1024):  # as `mine` does
        retriever.search(
            QueryBatch(
                np.arange(start, min(start + 1024, len(queries))), queries[start : start + 1024]
            ),
            DEPTH,
        )
    searched = time.perf_counter()
    for index in spec.remote().indices():
        if index.owner == owner:
            spec.remote().remove(index.name)
    return built - started, searched - built


def bare(url: str, dataset: Dataset, queries: list[str], scratch: Path) -> tuple[float, float]:
    """`helpers.parallel_bulk` and `msearch`, with four threads each."""
    from concurrent.futures import ThreadPoolExecutor

    import elasticsearch
    from elasticsearch import helpers

    name = f"bench-{uuid.uuid4().hex}"
    with elasticsearch.Elasticsearch(url, request_timeout=60) as client:
        started = time.perf_counter()
        client.indices.create(index=name, mappings=MAPPINGS, settings=SETTINGS)
        documents = (
            {"_op_type": "create", "_index": name, "_id": str(row), "row": row, "text": text}
            for rows, texts in dataset.passages.chunks(1000)
            for row, text in zip(rows.tolist(), texts, strict=True)
        )
        for done, item in helpers.parallel_bulk(client, documents, thread_count=4, chunk_size=1000):
            assert done, item
        client.indices.refresh(index=name)
        built = time.perf_counter()

        def search(texts: list[str]) -> list[list[tuple[str, float]]]:
            searches = []
            for text in texts:
                searches += [
                    {},
                    {
                        "query": {"match": {"text": text}},
                        "size": DEPTH,
                        "_source": False,
                        "track_total_hits": False,
                    },
                ]
            replies = client.msearch(index=name, searches=searches)["responses"]
            return [
                [(hit["_id"], hit["_score"]) for hit in reply["hits"]["hits"]] for reply in replies
            ]

        with ThreadPoolExecutor(4) as pool:
            for start in range(0, len(queries), 1024):
                batch = queries[start : start + 1024]
                list(pool.map(search, [batch[at : at + 64] for at in range(0, len(batch), 64)]))
        searched = time.perf_counter()
        client.indices.delete(index=name)
    return built - started, searched - built


def measure(options: argparse.Namespace) -> None:
    queries = [text for part in synthetic(options.queries, 6, 2) for text in part]
    dataset = Dataset(options.folder, "bench")
    with tempfile.TemporaryDirectory() as scratch:
        index, search = {"bare": bare, "ours": ours}[options.only](
            options.url, dataset, queries, Path(scratch)
        )
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "index": index,
                "search": search,
                "cpu": used.ru_utime + used.ru_stime,
                "peak_mb": peak_mb(),
            }
        )
    )


def peak_mb() -> float:
    """The peak memory of this process, including mapped pages of the corpus.

    `ru_maxrss` would include the parent's.
    """
    status = Path("/proc/self/status").read_text()
    return (
        int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
        / 1024
    )


def compare(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder), options.passages)
        results: dict[str, dict[str, float]] = {}
        for round in range(options.rounds):
            for name in (
                ("bare", "ours") if round % 2 == 0 else ("ours", "bare")
            ):  # in separate processes, for separate peaks
                command = [
                    sys.executable,
                    __file__,
                    "--only",
                    name,
                    "--url",
                    options.url,
                    "--folder",
                    folder,
                    "--queries",
                    str(options.queries),
                ]
                found = json.loads(
                    subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                )
                index, search = options.passages / found["index"], options.queries / found["search"]
                rates = f"index {index:6.0f} passages/s  search {search:5.0f} queries/s"
                print(
                    f"{name}  {rates}  peak {found['peak_mb']:4.0f} MB  "
                    f"client's CPU {found['cpu']:.1f} s",
                    flush=True,
                )
                best = results.setdefault(name, found)
                results[name] = {part: min(best[part], found[part]) for part in found}
    ratio = {part: results["bare"][part] / results["ours"][part] for part in ("index", "search")}
    print(
        f"ours to bare, best of {options.rounds}: index {ratio['index']:.2f}, "
        f"search {ratio['search']:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--url", help="a running server; by default one is started")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(options)
    elif options.url:
        compare(options)
    else:
        with ElasticsearchServer(quick=False) as server:
            options.url = server.url
            compare(options)


if __name__ == "__main__":
    main()
