"""Texts are tokenized once and kept on disk."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recipekit.encoding import tokens as tokens_module
from recipekit.encoding.tokens import TokenizedTexts, tokenize_table
from recipekit.tables import PASSAGES, TextTable
from recipekit.testing import RecordingProgress


def test_a_table_is_tokenized_row_by_row(make_encoder, table, tmp_path: Path) -> None:
    encoder = make_encoder()
    tokens = tokenize_table(encoder, table, "passage", tmp_path / "tokens", RecordingProgress())
    whole, cut = encoder.tokenize(table.texts(range(500)), "passage")
    assert len(tokens) == 500 and tokens.truncated == cut > 0
    assert tokens.lengths.tolist() == [len(ids) for ids in whole]
    for row, ids in zip([7, 499, 0, 7], tokens.take([7, 499, 0, 7]), strict=True):
        np.testing.assert_array_equal(ids, whole[row])
    assert all(isinstance(part, np.memmap) for part in (tokens.ids, tokens.offsets))


def test_a_table_is_tokenized_once(make_encoder, table, tmp_path: Path) -> None:
    tokenize_table(make_encoder(), table, "passage", tmp_path / "tokens", RecordingProgress())
    again = tokenize_table(
        None, table, "passage", tmp_path / "tokens", RecordingProgress()
    )  # needs no encoder
    assert len(again) == 500


class Killed:
    """An encoder that is killed while it tokenizes its third chunk."""

    def __init__(self, encoder) -> None:
        self.encoder, self.chunks = encoder, 0

    def tokenize(self, texts, side):
        self.chunks += 1
        if self.chunks == 3:
            raise KeyboardInterrupt
        return self.encoder.tokenize(texts, side)


def test_an_interrupted_tokenization_is_never_taken_for_a_complete_one(
    make_encoder, table, tmp_path: Path, monkeypatch
) -> None:
    encoder, folder = make_encoder(), tmp_path / "tokens"
    whole = tokenize_table(encoder, table, "passage", tmp_path / "whole", RecordingProgress())
    monkeypatch.setattr(tokens_module, "CHUNK", 100)
    with pytest.raises(KeyboardInterrupt):
        tokenize_table(Killed(encoder), table, "passage", folder, RecordingProgress())
    with pytest.raises(FileNotFoundError):
        TokenizedTexts.open(folder)
    again = tokenize_table(encoder, table, "passage", folder, RecordingProgress())
    np.testing.assert_array_equal(again.ids, whole.ids)
    np.testing.assert_array_equal(again.offsets, whole.offsets)


def test_an_empty_table_is_tokenized(make_encoder, tmp_path: Path) -> None:
    empty = TextTable(pa.table([[]] * 4, schema=PASSAGES))
    tokens = tokenize_table(
        make_encoder(), empty, "query", tmp_path / "tokens", RecordingProgress()
    )
    assert len(tokens) == 0 and tokens.lengths.shape == (0,) and tokens.take([]) == []
