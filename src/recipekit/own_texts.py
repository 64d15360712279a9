"""Passages with a query's own text.

Symmetric data (a answers b, b answers a) has every query among the passages. Such a passage is
the most similar one to its query, and no answer to it. Unless the pair is labelled, it is neither a
candidate, nor a negative, nor a hit of an evaluation.

Texts are compared as they were collected, after `clean_text`; a passage's title and text are
joined, as models see them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Rows, pair_keys
from recipekit.dataset import Dataset
from recipekit.query_pairs import QueryPairs

__all__ = ["own_texts"]

PASSAGES_PER_BLOCK = 1 << 18
"""Passages that are compared at once, so that not all texts are in memory."""


def own_texts(dataset: Dataset) -> QueryPairs:
    """Find the unlabelled pairs of a query and a passage with the query's own text.

    Returns:
        The pairs, by row of the query; most queries have none.
    """
    n_queries, n_passages = len(dataset.queries), len(dataset.passages)
    unique, text_of_query = _unique_texts(dataset.queries.table["text"])
    by_text = QueryPairs.from_pairs(text_of_query, np.arange(n_queries), len(unique))
    keys = [np.empty(0, dtype=np.int64)]
    for first, texts in _passage_blocks(dataset.passages.table):
        found = pc.index_in(texts, value_set=unique)
        is_found = pc.is_valid(found).to_numpy(zero_copy_only=False)
        passages = first + np.flatnonzero(is_found)
        if len(passages):
            local, at = by_text.of(pc.drop_null(found).to_numpy().astype(np.int64))
            keys.append(pair_keys(by_text.passage[at], passages[local], n_passages))
    labels = dataset.labels
    labelled = pair_keys(labels["query"].to_numpy(), labels["passage"].to_numpy(), n_passages)
    unlabelled = np.setdiff1d(np.concatenate(keys), labelled)
    return QueryPairs.from_sorted(unlabelled // n_passages, unlabelled % n_passages, n_queries)


def _unique_texts(texts: pa.ChunkedArray) -> tuple[pa.Array, Rows]:
    """Return the different texts, and the position in them of every text, (n,)."""
    unique = pc.unique(texts)
    return unique, pc.index_in(texts, value_set=unique).to_numpy().astype(np.int64)


def _passage_blocks(table: pa.Table) -> Iterator[tuple[int, pa.Array]]:
    """Yield the passages' whole texts, as (first row, texts)."""
    for first in range(0, table.num_rows, PASSAGES_PER_BLOCK):
        block = table.slice(first, PASSAGES_PER_BLOCK).combine_chunks()
        title, text = (block[name].combine_chunks() for name in ("title", "text"))
        joined = pc.utf8_trim_whitespace(
            pc.binary_join_element_wise(title, text, pa.scalar(" ", text.type))
        )
        yield first, pc.if_else(pc.equal(title, ""), text, joined)
