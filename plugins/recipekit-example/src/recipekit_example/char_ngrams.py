"""Retrieval by character n-grams."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from recipekit.component import Context, Hits, QueryBatch, Retriever, RetrieverSpec

__all__ = ["CharNgrams"]


class CharNgrams(RetrieverSpec):
    """TF-IDF over character n-grams: forgives typing errors, needs no word boundaries.

    The matrix is held in memory (about 1 KB a passage of 100 words), which suits up to a few
    hundred thousand passages.
    """

    shortest: int = Field(default=3, ge=1, le=8)
    """Characters of the shortest n-gram. 3 suits alphabets; 1 suits Chinese and Japanese."""
    longest: int = Field(default=5, ge=1, le=8)
    """Characters of the longest n-gram."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.longest < self.shortest:
            raise ValueError(f"longest {self.longest} is less than shortest {self.shortest}")
        return self

    def build(self, context: Context) -> Index:
        """Index all passages."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(
            analyzer="char_wb",
            ngram_range=(self.shortest, self.longest),
            sublinear_tf=True,
            dtype=np.float32,
        )
        texts = (text for _, chunk in context.dataset.passages.chunks() for text in chunk)
        return Index(vectorizer, vectorizer.fit_transform(texts))


class Index(Retriever):
    """See `CharNgrams`."""

    def __init__(self, vectorizer: Any, passages: Any) -> None:
        self.vectorizer = vectorizer
        self.passages = passages  # sparse (n_passages, n_grams), unit rows

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages of highest cosine that share an n-gram with the query."""
        rows = np.full((len(queries), depth), -1, dtype=np.int32)
        scores = np.full((len(queries), depth), -np.inf, dtype=np.float32)
        found = (self.vectorizer.transform(queries.texts) @ self.passages.T).tocsr()
        for place, (start, end) in enumerate(zip(found.indptr[:-1], found.indptr[1:], strict=True)):
            passage, score = found.indices[start:end], found.data[start:end]
            best = np.lexsort((passage, -score))[:depth]  # ties by the lower row
            rows[place, : len(best)], scores[place, : len(best)] = passage[best], score[best]
        return Hits(rows, scores)
