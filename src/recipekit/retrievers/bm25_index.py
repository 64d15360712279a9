"""A BM25 index on disk, written and read by bm25s."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from bm25s.tokenization import Tokenized, Tokenizer

from recipekit.arrays import Floats, Ints
from recipekit.component import Hits, Progress, QueryBatch, Retriever
from recipekit.errors import DataError
from recipekit.tables import TextTable

__all__ = ["Analysis", "Bm25Retriever", "write_index"]


@dataclass(frozen=True)
class Analysis:
    """How passages and queries become terms."""

    split: Callable[[str], list[str]]
    stop_words: str | Sequence[str]
    """The name of one of bm25s' lists, or the stop words themselves."""
    stemmer: str | None
    """A Snowball algorithm, or None."""

    def tokenizer(self) -> Tokenizer:
        """A tokenizer with an empty vocabulary."""
        stemmer = Stemmer.Stemmer(self.stemmer) if self.stemmer else None
        return Tokenizer(
            lower=False, splitter=self.split, stopwords=self.stop_words or None, stemmer=stemmer
        )


@dataclass
class _TokenRows:
    """The term ids of all passages in 4 bytes each, as a sequence of lists, which bm25s reads."""

    ids: array[int] = field(default_factory=lambda: array("i"))
    ends: array[int] = field(default_factory=lambda: array("q", [0]))

    def append(self, ids: Sequence[int]) -> None:
        self.ids.extend(ids)
        self.ends.append(len(self.ids))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[list[int]]:
        for row in range(len(self)):
            yield self.ids[self.ends[row] : self.ends[row + 1]].tolist()


def write_index(
    folder: Path, passages: TextTable, analysis: Analysis, k1: float, b: float, progress: Progress
) -> None:
    """Index all passages into a folder of .npy and .json files, reading them in chunks.

    Raises:
        DataError: The passages have no term.
    """
    tokenizer, rows = analysis.tokenizer(), _TokenRows()
    with progress.track("bm25 index", total=len(passages), unit="passages") as tracker:
        for _, texts in passages.chunks():
            for ids in tokenizer.streaming_tokenize(texts, update_vocab=True, allow_empty=False):
                rows.append(ids)
            tracker.advance(len(texts))
    if not rows.ids:
        raise DataError(
            f"bm25: no words to index in {len(passages)} passages: they are empty, or contain only "
            "stop words",
            code="RK345",
        )
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    index.index(
        Tokenized(rows, tokenizer.get_vocab_dict()), create_empty_token=False, show_progress=False
    )
    index.save(folder)
    tokenizer.save_vocab(folder)


class Bm25Retriever(Retriever):
    """Searches an index that `write_index` wrote, memory-mapped."""

    def __init__(self, folder: Path, analysis: Analysis) -> None:
        self._index = bm25s.BM25.load(folder, mmap=True, load_vocab=False)
        # As plain arrays over the same pages: slicing a numpy.memmap takes longer than scoring the
        # posting lists.
        self._index.scores = {name: np.asarray(part) for name, part in self._index.scores.items()}
        self._tokenizer = analysis.tokenizer()
        self._tokenizer.load_vocab(folder)

    @property
    def searches_on_all_ranks(self) -> bool:
        """All ranks map the index."""
        return True

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages of highest BM25 score; a query without a term of the corpus has no hits."""
        found = Hits(
            np.full((len(queries), depth), -1, np.int32),
            np.full((len(queries), depth), -np.inf, np.float32),
        )
        terms = self._tokenizer.streaming_tokenize(
            queries.texts, update_vocab=False, allow_empty=False
        )
        for i, ids in enumerate(terms):
            if ids:
                rows, scores = _best(self._index.get_scores_from_ids(ids), depth)
                found.rows[i, : len(rows)], found.scores[i, : len(rows)] = rows, scores
        return found


def _best(scores: Floats, depth: int) -> tuple[Ints, Floats]:
    """Rows and scores of the `depth` best positive scores (N,), ties by the lower row."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > depth:
        # bm25s' own selection takes any of several equal scores at the edge. Keep them all until
        # they are sorted.
        rows = rows[scores[rows] >= np.partition(scores[rows], -depth)[-depth]]
    rows = rows[np.argsort(-scores[rows], kind="stable")[:depth]]
    return rows.astype(np.int32), scores[rows]
