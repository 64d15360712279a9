"""Compare loading and searching Qdrant with the bare client on the same server.

    python tests/benchmarks/bench_qdrant.py --passages 100000 --queries 2000

The vectors are random unit vectors. The script starts a server. Loading is timed until the exact
count is right, with indexing deferred on both sides; searching uses one collection with a graph.
Each measurement runs in a separate process and reports its peak memory. The bare client loads with
`upload_collection`, in one process or two, whichever is faster, and searches with
`query_batch_points` on as many threads.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

DIMENSION, DEPTH = 384, 100
THREADS, UPLOAD, QUERY = 4, 256, 64


def unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def client_of(options: argparse.Namespace):
    from qdrant_client import QdrantClient

    grpc = options.protocol == "grpc"
    return QdrantClient(
        url=options.url,
        prefer_grpc=grpc,
        grpc_port=options.grpc_port,
        timeout=60,
        check_compatibility=False,
    )


def bare_upload(options: argparse.Namespace, matrix: np.ndarray, parallel: int) -> float:
    from qdrant_client import models

    client, name = client_of(options), "bench-bare"
    client.delete_collection(name)
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=DIMENSION, distance=models.Distance.DOT),
        hnsw_config=models.HnswConfigDiff(m=0),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
    )
    started = time.perf_counter()
    client.upload_collection(
        name, vectors=matrix, ids=range(len(matrix)), batch_size=UPLOAD, parallel=parallel
    )
    while client.count(name, exact=True).count < len(matrix):
        time.sleep(0.01)
    return time.perf_counter() - started


def connect(options: argparse.Namespace):
    from recipekit.engines.qdrant.access import QdrantAccess

    return QdrantAccess(
        url=options.url, protocol=options.protocol, grpc_port=options.grpc_port
    ).connect()


def tag_of(rows: int, *, graph: bool):
    from recipekit.engines.tags import OwnershipTag

    return OwnershipTag("bench", "bench", f"graph={graph}", rows)


def our_upload(options: argparse.Namespace, matrix: np.ndarray, *, graph: bool = False) -> float:
    from recipekit.engines.qdrant.index import ensure_collection
    from recipekit.engines.qdrant.settings import CollectionSettings, Hnsw
    from recipekit.testing import RecordingProgress

    connection, tag = connect(options), tag_of(len(matrix), graph=graph)
    hnsw = Hnsw() if graph else None
    settings = CollectionSettings(DIMENSION, False, "dot", False, hnsw, None, 1, 1)
    connection.client.delete_collection(tag.name)
    started = time.perf_counter()
    ensure_collection(
        connection,
        tag,
        matrix,
        settings,
        batch_size=UPLOAD,
        concurrency=THREADS,
        use_grpc=options.protocol == "grpc",
        progress=RecordingProgress(),
    )
    return time.perf_counter() - started


def bare_search(options: argparse.Namespace, queries: np.ndarray, name: str) -> float:
    from qdrant_client import models

    client, params = client_of(options), models.SearchParams(hnsw_ef=256)

    def search(start: int) -> list:
        vectors = queries[start : start + QUERY].tolist()
        return client.query_batch_points(
            name,
            [models.QueryRequest(query=vector, limit=DEPTH, params=params) for vector in vectors],
        )

    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        answers = [
            answer for batch in pool.map(search, range(0, len(queries), QUERY)) for answer in batch
        ]
    assert all(len(answer.points) == DEPTH for answer in answers)
    return time.perf_counter() - started


def our_search(options: argparse.Namespace, queries: np.ndarray, matrix: np.ndarray) -> float:
    from recipekit.component import QueryBatch
    from recipekit.engines.qdrant.search import QdrantRetriever
    from recipekit.engines.qdrant.settings import Hnsw, SearchSettings

    connection, tag = connect(options), tag_of(len(matrix), graph=True)
    settings = SearchSettings(exact=False, hnsw=Hnsw(), quantization=None)
    retriever = QdrantRetriever(
        connection,
        tag.name,
        queries,
        len(matrix),
        settings,
        QUERY,
        THREADS,
        options.protocol == "grpc",
    )
    started = time.perf_counter()
    hits = retriever.search(QueryBatch(np.arange(len(queries)), [""] * len(queries)), DEPTH)
    assert (hits.rows >= 0).all()
    return time.perf_counter() - started


def measure(options: argparse.Namespace) -> None:
    """Make one measurement."""
    matrix = np.memmap(options.matrix, np.float32, "r").reshape(-1, DIMENSION)
    queries = unit(options.queries, 2)
    graph = tag_of(len(matrix), graph=True).name
    seconds = {
        "bare upload, 1 process": lambda: bare_upload(options, matrix, 1),
        "bare upload, 2 processes": lambda: bare_upload(options, matrix, 2),
        "our upload": lambda: our_upload(options, matrix),
        "our upload and graph": lambda: our_upload(options, matrix, graph=True),
        "bare search": lambda: bare_search(options, queries, graph),
        "our search": lambda: our_search(options, queries, matrix),
    }[options.part]()
    count = options.queries if "search" in options.part else len(matrix)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << 20 if sys.platform == "darwin" else 1 << 10
    )
    print(json.dumps({"per_second": round(count / seconds), "peak_mb": round(peak)}))


PARTS = (
    "bare upload, 1 process",
    "bare upload, 2 processes",
    "our upload",
    "bare search",
    "our search",
)
GRAPH = "our upload and graph"


def compare(options: argparse.Namespace, url: str, grpc_port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "matrix"
        unit(options.passages, 1).tofile(file)
        for protocol in ("rest", "grpc"):
            best: dict[str, list[int]] = {}
            for part in (
                (GRAPH, *PARTS * options.rounds) if protocol == "rest" else PARTS * options.rounds
            ):
                command = [
                    sys.executable,
                    __file__,
                    "--part",
                    part,
                    "--matrix",
                    str(file),
                    "--url",
                    url,
                    "--grpc-port",
                    str(grpc_port),
                ]
                command += ["--protocol", protocol, "--queries", str(options.queries)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                result = json.loads(output)
                best[part] = max(best.get(part, [0, 0]), [result["per_second"], result["peak_mb"]])
            for part, (rate, peak) in best.items():
                print(f"{protocol}  {part:<26} {rate:>7,} per second, peak {peak:,} MB")
            upload = best["our upload"][0] / max(best[part][0] for part in PARTS[:2])
            search = best["our search"][0] / best["bare search"][0]
            print(f"{protocol}  upload ratio {upload:.2f}, search ratio {search:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1, help="the best one counts")
    parser.add_argument("--part", choices=(*PARTS, GRAPH), help=argparse.SUPPRESS)
    for hidden in ("--matrix", "--url", "--protocol"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--grpc-port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        measure(options)
        return
    from servers.qdrant_server import QdrantProcess

    with QdrantProcess(settings={"storage": {"wal": {"wal_capacity_mb": 32}}}) as server:
        compare(options, server.url, server.grpc_port)


if __name__ == "__main__":
    main()
