"""A retriever that ranks passages by the words that they share with the query."""

from pydantic import Field

from recipekit.component import Context, Hits, QueryBatch, Retriever, RetrieverSpec


class SharedWordsSpec(RetrieverSpec):
    """Ranks passages by the number of words that they share with the query."""

    min_length: int = Field(default=3, ge=1)
    """Ignore shorter words."""

    def build(self, context: Context) -> "SharedWords":
        """Read every passage once."""
        return SharedWords(context.dataset.passages, self.min_length)


class SharedWords(Retriever):
    def __init__(self, passages, min_length):
        self.min_length = min_length
        self.words = [self.split(text) for _, chunk in passages.chunks() for text in chunk]

    def split(self, text: str) -> set[str]:
        return {word for word in text.lower().split() if len(word) >= self.min_length}

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        import numpy as np

        rows = np.full((len(queries), depth), -1, np.int32)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        for number, text in enumerate(queries.texts):
            query = self.split(text)
            shared = np.array([len(query & words) for words in self.words])
            best = np.argsort(-shared, kind="stable")[:depth]  # ties by the lower row
            best = best[shared[best] > 0]
            rows[number, : len(best)], scores[number, : len(best)] = best, shared[best]
        return Hits(rows, scores)
