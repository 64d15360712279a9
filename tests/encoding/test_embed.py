"""Embeddings on disk and in memory."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from sentence_transformers import SentenceTransformer

from helpers.ranks import FakeRanks
from recipekit.component import SingleProcess
from recipekit.encoding.embed import embed_table, embed_tokens, open_embeddings
from recipekit.encoding.tokens import TokenizedTexts, tokenize_table
from recipekit.errors import ModelError
from recipekit.tables import PASSAGES, TextTable
from recipekit.testing import RecordingProgress

ALONE = SingleProcess()


@pytest.fixture
def tokens(make_encoder, table, tmp_path: Path) -> TokenizedTexts:
    """The table's tokens."""
    return tokenize_table(
        make_encoder(), table, "passage", tmp_path / "tokens", RecordingProgress()
    )


def test_a_table_becomes_a_matrix_by_row(
    make_encoder, table, tiny_model: Path, tmp_path: Path
) -> None:
    progress = RecordingProgress()
    encoder = make_encoder(max_length=32)
    tokens = tokenize_table(encoder, table, "passage", tmp_path / "tokens", progress)
    summary = embed_table(encoder, tokens, "passage", tmp_path / "out", ALONE, progress)
    embeddings = open_embeddings(tmp_path / "out")
    assert embeddings.similarity == "cosine"
    assert embeddings.matrix.dtype == np.float32
    assert len(embeddings) == 500
    reference = SentenceTransformer(str(tiny_model), device="cpu")
    reference.max_seq_length = 32
    expected = reference.encode(table.texts(range(500)))
    np.testing.assert_allclose(embeddings.matrix, expected, atol=1e-5)
    assert summary["texts"] == 500
    assert summary["truncated_share"] == summary["truncated"] / 500 > 0.3
    assert progress.events == [{"event": "encoded", "side": "passage", **summary}]


def test_bf16_is_stored_as_float16(make_encoder, tokens, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        encoder = make_encoder(precision=precision)
        embed_table(encoder, tokens, "passage", tmp_path / precision, ALONE, RecordingProgress())
    exact, rounded = (
        open_embeddings(tmp_path / precision).matrix for precision in ("fp32", "bf16")
    )
    assert rounded.dtype == np.float16
    assert (tmp_path / "bf16" / "matrix").stat().st_size == 500 * 32 * 2
    assert np.einsum("ij,ij->i", exact, rounded.astype(np.float32)).min() > 0.999


class Killed(KeyboardInterrupt):
    """Simulates the end of the process."""


def killing(encoder, after: int):
    """Make an encoder raise `Killed` after this many batches, and count them as `calls`."""
    encoder.calls = 0

    def count(*_: object) -> None:
        encoder.calls += 1
        if encoder.calls > after:
            raise Killed

    encoder.register_forward_pre_hook(count)
    return encoder


def counting(encoder):
    """Make an encoder count its forward passes as `calls`."""
    return killing(encoder, after=10_000)


def test_a_kill_loses_no_finished_block_and_changes_no_number(
    make_encoder, tokens, tmp_path: Path
) -> None:
    whole = counting(make_encoder())
    embed_table(whole, tokens, "passage", tmp_path / "whole", ALONE, RecordingProgress())
    with pytest.raises(Killed):
        embed_table(
            killing(make_encoder(), after=37),
            tokens,
            "passage",
            tmp_path / "out",
            ALONE,
            RecordingProgress(),
        )
    with pytest.raises(FileNotFoundError):
        open_embeddings(tmp_path / "out")
    rest = counting(make_encoder())
    embed_table(rest, tokens, "passage", tmp_path / "out", ALONE, RecordingProgress())
    assert rest.calls == whole.calls - 32, "two blocks of 16 batches were done"
    np.testing.assert_array_equal(
        open_embeddings(tmp_path / "out").matrix, open_embeddings(tmp_path / "whole").matrix
    )


def test_ranks_share_the_blocks_of_one_matrix(make_encoder, tokens, tmp_path: Path) -> None:
    alone = counting(make_encoder())
    embed_table(alone, tokens, "passage", tmp_path / "alone", ALONE, RecordingProgress())
    barrier = threading.Barrier(2, timeout=60)
    encoders = [counting(make_encoder()) for _ in range(2)]
    summaries = {}

    def work(rank: int) -> None:
        ranks = FakeRanks(rank=rank, count=2, wait=barrier.wait)
        summaries[rank] = embed_table(
            encoders[rank], tokens, "passage", tmp_path / "shared", ranks, RecordingProgress()
        )

    (tmp_path / "shared").mkdir()
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    # One rank has a block more than the other, which makes as many passes over a short text.
    assert encoders[0].calls == encoders[1].calls
    assert alone.calls / 2 <= encoders[0].calls <= alone.calls / 2 + 16
    np.testing.assert_array_equal(
        open_embeddings(tmp_path / "shared").matrix, open_embeddings(tmp_path / "alone").matrix
    )
    assert {**summaries[0], "seconds": 0} == {**summaries[1], "seconds": 0}


def test_texts_are_embedded_in_memory_in_the_order_of_the_rows(
    make_encoder, tokens, tmp_path: Path
) -> None:
    encoder = make_encoder()
    embed_table(encoder, tokens, "passage", tmp_path / "out", ALONE, RecordingProgress())
    encoder.train()
    rows = np.array([400, 3, 3, 77])
    vectors = embed_tokens(encoder, tokens, rows, "passage", ALONE, max_tokens_per_batch=100)
    assert encoder.training, "its mode is restored"
    np.testing.assert_allclose(vectors, open_embeddings(tmp_path / "out").matrix[rows], atol=1e-6)
    assert vectors.dtype == np.float32
    assert embed_tokens(encoder, tokens, rows[:0], "passage", ALONE).shape == (0, 32)


def test_a_text_whose_embedding_is_not_finite_is_an_error(
    make_encoder, tokens, tmp_path: Path
) -> None:
    encoder = make_encoder()
    with torch.no_grad():
        weight = encoder.towers["passage"][0].model.embeddings.word_embeddings.weight
        weight[-1] = float("nan")
        weight[5] = float("nan")
    message = r"NaN or infinity in float32 for passage \d+ \(row in the data set\)"
    with pytest.raises(ModelError, match=message):
        embed_table(encoder, tokens, "passage", tmp_path / "out", ALONE, RecordingProgress())
    assert not (tmp_path / "out" / "embeddings.json").exists()


def test_an_empty_table_gives_an_empty_matrix(make_encoder, tmp_path: Path) -> None:
    empty = TextTable(pa.table([[]] * 4, schema=PASSAGES))
    encoder = make_encoder()
    tokens = tokenize_table(encoder, empty, "query", tmp_path / "tokens", RecordingProgress())
    embed_table(encoder, tokens, "query", tmp_path / "out", ALONE, RecordingProgress())
    assert open_embeddings(tmp_path / "out").matrix.shape == (0, 32)
