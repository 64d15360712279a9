"""Embeddings on disk and in memory."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from sentence_transformers import SentenceTransformer

from recipekit.component import Ranks
from recipekit.encoding.embed import embed_table, embed_tokens, open_embeddings
from recipekit.encoding.tokens import tokenize_table
from recipekit.errors import ModelError
from recipekit.tables import PASSAGES, TextTable
from recipekit.testing import RecordingProgress

ALONE = Ranks()


def test_a_table_becomes_a_matrix_by_row(
    make_encoder, table, tiny_model: Path, tmp_path: Path
) -> None:
    progress = RecordingProgress()
    encoder = make_encoder(max_length=32)
    summary = embed_table(encoder, table, "passage", tmp_path / "out", ALONE, progress)
    embeddings = open_embeddings(tmp_path / "out")
    assert (
        embeddings.normalized and embeddings.matrix.dtype == np.float32 and len(embeddings) == 500
    )
    reference = SentenceTransformer(str(tiny_model), device="cpu")
    reference.max_seq_length = 32
    np.testing.assert_allclose(
        embeddings.matrix, reference.encode(table.texts(range(500))), atol=1e-5
    )
    assert (
        summary["texts"] == 500 and summary["truncated_share"] == summary["truncated"] / 500 > 0.3
    )
    assert progress.events == [{"event": "encoded", "side": "passage", **summary}]


def test_bf16_is_kept_as_float16(make_encoder, table, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        embed_table(
            make_encoder(precision=precision),
            table,
            "passage",
            tmp_path / precision,
            ALONE,
            RecordingProgress(),
        )
    exact, rounded = (
        open_embeddings(tmp_path / precision).matrix for precision in ("fp32", "bf16")
    )
    assert (
        rounded.dtype == np.float16
        and (tmp_path / "bf16" / "matrix").stat().st_size == 500 * 32 * 2
    )
    assert np.einsum("ij,ij->i", exact, rounded.astype(np.float32)).min() > 0.999


def test_a_table_that_is_tokenized_already_is_not_tokenized_again(
    make_encoder, table, tmp_path: Path
) -> None:
    encoder = make_encoder()
    tokens = tokenize_table(encoder, table, "passage", tmp_path / "tokens", RecordingProgress())
    embed_table(encoder, table, "passage", tmp_path / "alone", ALONE, RecordingProgress())
    encoder.tokenize = None
    embed_table(
        encoder, table, "passage", tmp_path / "given", ALONE, RecordingProgress(), tokens=tokens
    )
    np.testing.assert_array_equal(
        open_embeddings(tmp_path / "given").matrix, open_embeddings(tmp_path / "alone").matrix
    )


class Killed(KeyboardInterrupt):
    pass


def killing(encoder, after: int):
    """The encoder, which is killed in its forward pass after this many batches.

    `calls` counts them.
    """
    encoder.calls = 0

    def count(*_: object) -> None:
        encoder.calls += 1
        if encoder.calls > after:
            raise Killed

    encoder.register_forward_pre_hook(count)
    return encoder


def test_a_kill_costs_no_finished_block_and_changes_no_number(
    make_encoder, table, tmp_path: Path
) -> None:
    whole = killing(make_encoder(), after=10_000)
    embed_table(whole, table, "passage", tmp_path / "whole", ALONE, RecordingProgress())
    with pytest.raises(Killed):
        embed_table(
            killing(make_encoder(), after=37),
            table,
            "passage",
            tmp_path / "out",
            ALONE,
            RecordingProgress(),
        )
    with pytest.raises(FileNotFoundError):
        open_embeddings(tmp_path / "out")
    rest = killing(make_encoder(), after=10_000)
    embed_table(rest, table, "passage", tmp_path / "out", ALONE, RecordingProgress())
    assert rest.calls == whole.calls - 32, "two blocks of 16 batches were done"
    np.testing.assert_array_equal(
        open_embeddings(tmp_path / "out").matrix, open_embeddings(tmp_path / "whole").matrix
    )


def test_ranks_share_the_blocks_of_one_matrix(make_encoder, table, tmp_path: Path) -> None:
    alone = killing(make_encoder(), after=10_000)
    embed_table(alone, table, "passage", tmp_path / "alone", ALONE, RecordingProgress())
    barrier, encoders = (
        threading.Barrier(2, timeout=60),
        [killing(make_encoder(), after=10_000) for _ in range(2)],
    )
    summaries = {}

    def work(rank: int) -> None:
        ranks = Ranks(rank=rank, count=2, barrier=barrier.wait)
        summaries[rank] = embed_table(
            encoders[rank], table, "passage", tmp_path / "shared", ranks, RecordingProgress()
        )

    (tmp_path / "shared").mkdir()
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [encoder.calls > 16 for encoder in encoders] == [True, True]
    assert sum(encoder.calls for encoder in encoders) == alone.calls
    np.testing.assert_array_equal(
        open_embeddings(tmp_path / "shared").matrix, open_embeddings(tmp_path / "alone").matrix
    )
    assert {**summaries[0], "seconds": 0} == {**summaries[1], "seconds": 0}


def test_in_memory_in_the_order_of_the_rows(make_encoder, table, tmp_path: Path) -> None:
    encoder = make_encoder()
    embed_table(encoder, table, "passage", tmp_path / "out", ALONE, RecordingProgress())
    tokens = tokenize_table(encoder, table, "passage", tmp_path / "tokens", RecordingProgress())
    encoder.train()
    rows = np.array([400, 3, 3, 77])
    vectors = embed_tokens(encoder, tokens, rows, "passage", ALONE, max_tokens_per_batch=100)
    assert encoder.training, "its mode is as it was"
    np.testing.assert_allclose(vectors, open_embeddings(tmp_path / "out").matrix[rows], atol=1e-6)
    assert vectors.dtype == np.float32
    assert embed_tokens(encoder, tokens, rows[:0], "passage", ALONE).shape == (0, 32)


TWO_RANKS = """
import sys
import numpy as np
import torch
import torch.distributed as dist
from recipekit.component import Ranks
from recipekit.encoding.embed import embed_tokens
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.pipeline.worker import leave


class Encoder(torch.nn.Module):
    dimension, precision, max_tokens_per_batch = 4, "fp32", 20

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(1.0, 5.0))

    def collate(self, ids, side):
        return {"sums": torch.tensor([float(text.sum()) for text in ids])}

    def forward(self, features, side):
        return features["sums"][:, None] * self.weight


dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=int(sys.argv[2]), world_size=2)
tokens = TokenizedTexts(np.arange(1, 301, dtype=np.int32), np.arange(0, 301, 3), 0)
rows = np.arange(99, -1, -1)
shared = embed_tokens(Encoder(), tokens, rows, "query", Ranks(int(sys.argv[2]), 2, barrier=dist.barrier))
np.testing.assert_array_equal(shared, embed_tokens(Encoder(), tokens, rows, "query", Ranks()))
assert (shared != 0).all()
leave(0)
"""


def test_every_rank_has_all_rows_in_memory(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen([sys.executable, "-c", TWO_RANKS, str(tmp_path / "rendezvous"), str(rank)])
        for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]


def test_a_broken_encoder_is_no_artifact(make_encoder, table, tmp_path: Path) -> None:
    encoder = make_encoder()
    with torch.no_grad():
        encoder.towers["passage"][0].model.embeddings.word_embeddings.weight[-1] = float("nan")
        encoder.towers["passage"][0].model.embeddings.word_embeddings.weight[5] = float("nan")
    with pytest.raises(
        ModelError, match=r"NaN or infinity in float32 for passage \d+ \(row in the data set\)"
    ):
        embed_table(encoder, table, "passage", tmp_path / "out", ALONE, RecordingProgress())
    assert not (tmp_path / "out" / "embeddings.json").exists()


def test_no_texts_at_all(make_encoder, tmp_path: Path) -> None:
    empty = TextTable(pa.table([[]] * 4, schema=PASSAGES))
    embed_table(make_encoder(), empty, "query", tmp_path / "out", ALONE, RecordingProgress())
    assert open_embeddings(tmp_path / "out").matrix.shape == (0, 32)
