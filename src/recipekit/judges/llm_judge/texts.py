"""The texts of a data set as the model sees them: printable, and cut to a number of tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.component import PairBatch
from recipekit.judges.llm_judge.fences import printable
from recipekit.llm.token_counter import TokenCounter
from recipekit.tables import TextTable

__all__ = ["PromptText", "QueryTexts", "TextCutter", "prompt_text", "read_queries"]

CACHED_TEXTS = 1 << 14


@dataclass(frozen=True)
class PromptText:
    """A text as it appears in a prompt."""

    text: str
    cut: bool
    """Whether it is shorter than the text of the data set."""


@dataclass(frozen=True)
class QueryTexts:
    """A query with the passages to judge, best first."""

    row: int
    query: PromptText
    passages: tuple[PromptText, ...]
    passage_rows: tuple[int, ...]
    strata: tuple[int, ...]
    """For each passage, the previous verdict if verdicts select the pairs, else 0. Passages of
    different strata do not share a call."""
    references: tuple[str, ...] = ()
    """Source positives that are shown as examples of relevant passages."""


class TextCutter:
    """The prompt texts of one side, by row.

    Recently used texts stay in memory, since queries share many candidates.
    """

    def __init__(self, table: TextTable, counter: TokenCounter, max_tokens: int) -> None:
        self._table, self._counter, self._max_tokens = table, counter, max_tokens
        self._recent: OrderedDict[int, PromptText] = OrderedDict()

    def get(self, rows: npt.NDArray[Any] | Iterable[int]) -> dict[int, PromptText]:
        """The texts of some rows; missing ones are read together."""
        wanted = dict.fromkeys(int(row) for row in rows)
        found = {row: self._recent[row] for row in wanted if row in self._recent}
        missing = [row for row in wanted if row not in found]
        if missing:
            texts = self._table.texts(np.array(missing, dtype=np.int64))
            for row, text in zip(missing, texts, strict=True):
                found[row] = prompt_text(text, self._counter, self._max_tokens)
        for row in wanted:
            self._recent[row] = found[row]
            self._recent.move_to_end(row)
        while len(self._recent) > CACHED_TEXTS:
            self._recent.popitem(last=False)
        return found


def prompt_text(text: str, counter: TokenCounter, max_tokens: int) -> PromptText:
    """A text, printable and cut."""
    start, cut = counter.cut(printable(text), max_tokens)
    return PromptText(start.strip(), cut)


def read_queries(
    batches: Iterable[PairBatch],
    queries: TextCutter,
    passages: TextCutter,
    *,
    num_references: int,
    by_verdict: bool,
) -> Iterator[QueryTexts]:
    """Every query with wanted pairs, with its texts.

    Args:
        batches: The pairs, whole queries together, each query's best candidate first.
        queries: The queries' texts.
        passages: The passages' texts.
        num_references: How many source positives to show. Control pairs are never shown.
        by_verdict: Whether previous verdicts select the pairs, and so separate the strata.
    """
    for batch in batches:
        starts = np.flatnonzero(np.diff(batch.query, prepend=-1))
        ends = np.append(starts[1:], len(batch))
        spans = [
            (start, end)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
            if batch.wanted[start:end].any()
        ]
        if not spans:
            continue
        shown = batch.source_positive & ~batch.wanted
        references = [
            np.flatnonzero(shown[start:end])[:num_references] + start for start, end in spans
        ]
        wanted = [np.flatnonzero(batch.wanted[start:end]) + start for start, end in spans]
        query_texts = queries.get(batch.query[[start for start, _ in spans]])
        passage_texts = passages.get(batch.passage[np.concatenate([*wanted, *references])])
        for (start, _), pairs, examples in zip(spans, wanted, references, strict=True):
            row = int(batch.query[start])
            passage_rows = tuple(batch.passage[pairs].tolist())
            strata = (0,) * len(passage_rows)
            if by_verdict:
                strata = tuple(np.asarray(batch.previous_verdict)[pairs].tolist())
            yield QueryTexts(
                row,
                query_texts[row],
                tuple(passage_texts[passage] for passage in passage_rows),
                passage_rows,
                strata,
                tuple(passage_texts[p].text for p in batch.passage[examples].tolist()),
            )
