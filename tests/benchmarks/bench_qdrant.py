"""Loading and searching Qdrant, as a ratio to the bare client's own helpers on the same server:
`python bench_qdrant.py`.

Random unit vectors. Loading is timed until the exact count is whole, with indexing deferred on both
sides; searching goes over one collection with a graph. Each measurement has a process of its own,
whose peak memory is told. The bare client loads with `upload_collection`, in one process or two,
whichever is faster, and searches with `query_batch_points` on as many threads.
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


def client_of(given: argparse.Namespace):
    from qdrant_client import QdrantClient

    grpc = given.protocol == "grpc"
    return QdrantClient(
        url=given.url,
        prefer_grpc=grpc,
        grpc_port=given.grpc_port,
        timeout=60,
        check_compatibility=False,
    )


def bare_upload(given: argparse.Namespace, matrix: np.ndarray, parallel: int) -> float:
    from qdrant_client import models

    client, name = client_of(given), "bench-bare"
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


def ours(given: argparse.Namespace, matrix: np.ndarray, *, graph: bool):
    from recipekit.engines.qdrant import QdrantAddress, QdrantServer
    from recipekit.retrievers.engine import mark_of
    from recipekit.retrievers.qdrant_settings import CollectionSettings, Hnsw

    server = QdrantServer(
        QdrantAddress(given.url, protocol=given.protocol, grpc_port=given.grpc_port)
    )
    mark = mark_of("qdrant", graph, owner="bench", corpus="bench", rows=len(matrix))
    return (
        server,
        mark,
        CollectionSettings(DIMENSION, False, "dot", Hnsw(), not graph, None, False, 1, 1),
    )


def our_upload(given: argparse.Namespace, matrix: np.ndarray, *, graph: bool = False) -> float:
    from recipekit.retrievers.qdrant_load import load
    from recipekit.testing import RecordingProgress

    server, mark, settings = ours(given, matrix, graph=graph)
    server.client.delete_collection(mark.name)
    started = time.perf_counter()
    load(server, mark, matrix, settings, RecordingProgress(), concurrency=THREADS, batch=UPLOAD)
    return time.perf_counter() - started


def bare_search(given: argparse.Namespace, queries: np.ndarray, name: str) -> float:
    from qdrant_client import models

    client, params = client_of(given), models.SearchParams(hnsw_ef=256)

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


def our_search(given: argparse.Namespace, queries: np.ndarray, matrix: np.ndarray) -> float:
    from recipekit.component import QueryBatch
    from recipekit.retrievers.qdrant_search import QdrantRetriever, ServerPoints

    server, mark, settings = ours(given, matrix, graph=True)
    points = ServerPoints(server, mark.name, None, None, settings.hnsw, None, QUERY, THREADS)
    retriever = QdrantRetriever(points, queries, len(matrix), exact=False)
    server.check_version()  # imports and connects, which the bare client did before
    started = time.perf_counter()
    hits = retriever.search(QueryBatch(np.arange(len(queries)), [""] * len(queries)), DEPTH)
    assert (hits.rows >= 0).all()
    return time.perf_counter() - started


def measure(given: argparse.Namespace) -> None:
    """One measurement, in a process of its own."""
    matrix = np.memmap(given.matrix, np.float32, "r").reshape(-1, DIMENSION)
    queries = unit(given.queries, 2)
    _, mark, _ = ours(given, matrix, graph=True)
    seconds = {
        "bare upload, 1 process": lambda: bare_upload(given, matrix, 1),
        "bare upload, 2 processes": lambda: bare_upload(given, matrix, 2),
        "our upload": lambda: our_upload(given, matrix),
        "our upload and graph": lambda: our_upload(given, matrix, graph=True),
        "bare search": lambda: bare_search(given, queries, mark.name),
        "our search": lambda: our_search(given, queries, matrix),
    }[given.part]()
    count = given.queries if "search" in given.part else len(matrix)
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


def compare(given: argparse.Namespace, url: str, grpc_port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "matrix"
        unit(given.passages, 1).tofile(file)
        for protocol in ("rest", "grpc"):
            best: dict[str, list[int]] = {}
            for part in (
                (GRAPH, *PARTS * given.rounds) if protocol == "rest" else PARTS * given.rounds
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
                command += ["--protocol", protocol, "--queries", str(given.queries)]
                told = json.loads(
                    subprocess.run(command, check=True, capture_output=True, text=True).stdout
                )
                best[part] = max(best.get(part, [0, 0]), [told["per_second"], told["peak_mb"]])
            for part, (rate, peak) in best.items():
                print(f"{protocol}  {part:<26} {rate:>7,} a second, peak {peak:,} MB")
            upload = best["our upload"][0] / max(best[part][0] for part in PARTS[:2])
            print(
                f"{protocol}  upload ratio {upload:.2f}, search ratio {best['our search'][0] / best['bare search'][0]:.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many is told")
    parser.add_argument("--part", choices=(*PARTS, GRAPH), help=argparse.SUPPRESS)
    for hidden in ("--matrix", "--url", "--protocol"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--grpc-port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        measure(given)
        return
    from servers.qdrant_server import QdrantProcess

    with QdrantProcess(settings={"storage": {"wal": {"wal_capacity_mb": 32}}}) as server:
        compare(given, server.url, server.grpc_port)


if __name__ == "__main__":
    main()
