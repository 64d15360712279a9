"""Tokenized texts on disk: each text is tokenized once, and read back by row.

```
<folder>/ids.bin        int32, the token ids of all texts, one after the other
<folder>/offsets.npy    int64 (n + 1,), where each text's ids start
<folder>/tokens.json    {"texts", "tokens", "truncated"}, written last
```
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Ints, Rows
from recipekit.artifacts.store import write_json
from recipekit.component import Encoder, Progress
from recipekit.records import Side
from recipekit.tables import TextTable

__all__ = ["TokenizedTexts", "tokenize_table"]

CHUNK = 4096
"""Texts tokenized at a time: enough to use all of the tokenizer's threads, little in memory."""


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of texts by row, with the side's prompt and the special tokens, memory-mapped."""

    ids: Ints
    """All ids, one text after the other, int32 (n_tokens,)."""
    offsets: Rows
    """Where each text's ids start, and the end of the last, int64 (n + 1,)."""
    truncated: int | None
    """How many texts were cut at the encoder's maximal length; None where it is not counted."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Ints:
        """Tokens of each text, int32 (n,)."""
        return np.diff(self.offsets).astype(np.int32)

    @cached_property
    def shortest(self) -> Rows:
        """Row of the shortest text, int64 (1,), for a forward pass whose result is discarded."""
        return np.array([int(self.lengths.argmin())], dtype=np.int64)

    def take(self, rows: npt.NDArray[np.integer[Any]] | Sequence[int]) -> list[Ints]:
        """Return the token ids of some texts, in their order; views of the file, not copies."""
        at = np.asarray(rows, dtype=np.int64)
        return [
            self.ids[start:end]
            for start, end in zip(
                self.offsets[at].tolist(), self.offsets[at + 1].tolist(), strict=True
            )
        ]

    def subset(self, rows: Rows) -> TokenizedTexts:
        """Return some texts, in their order, as texts of their own; how many are cut is unknown."""
        ids = self.take(rows)
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        joined = np.concatenate(ids) if ids else np.empty(0, np.int32)
        return TokenizedTexts(joined, offsets, None)

    @classmethod
    def open(cls, folder: Path) -> TokenizedTexts:
        """Map the files that `tokenize_table` wrote.

        Raises:
            FileNotFoundError: `tokenize_table` did not finish in this folder.
        """
        summary = json.loads((folder / "tokens.json").read_text())
        count = summary["tokens"]
        ids: Ints = np.empty(0, np.int32)
        if count:  # an empty file cannot be mapped
            ids = np.memmap(folder / "ids.bin", dtype=np.int32, mode="r", shape=(count,))
        return cls(ids, np.load(folder / "offsets.npy", mmap_mode="r"), summary["truncated"])


def tokenize_table(
    encoder: Encoder, table: TextTable, side: Side, folder: Path, progress: Progress
) -> TokenizedTexts:
    """Tokenize a table into `folder`, streaming.

    Tokens that a finished call left there are opened instead. A call that was killed leaves no
    `tokens.json`, and starts again.
    """
    if (folder / "tokens.json").is_file():
        return TokenizedTexts.open(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lengths = np.zeros(len(table), dtype=np.int64)
    truncated = 0
    with (
        progress.track(f"tokenize {side}", total=len(table), unit="texts") as tracker,
        (folder / "ids.bin").open("wb") as file,
    ):
        for rows, texts in table.chunks(CHUNK):
            ids, cut = encoder.tokenize(texts, side)
            lengths[rows] = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
            np.concatenate(ids).astype(np.int32, copy=False).tofile(file)
            truncated += cut
            tracker.advance(len(texts))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    np.save(folder / "offsets.npy", offsets)
    summary = {"texts": len(table), "tokens": int(offsets[-1]), "truncated": truncated}
    write_json(folder / "tokens.json", summary)
    return TokenizedTexts.open(folder)
