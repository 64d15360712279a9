"""BM25 by an Elasticsearch cluster: for corpora that outgrow one machine, or indices that exist."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from recipekit.component import Context, NotIdentity, Remote, Retriever, RetrieverSpec, Sizes
from recipekit.engines.elasticsearch import Cluster, ElasticsearchAccess, index_fingerprint
from recipekit.errors import ComponentError
from recipekit.retrievers.estimates import elasticsearch_work
from recipekit.suggestions import did_you_mean

__all__ = ["LANGUAGES", "ElasticsearchRetrieverSpec"]

ANALYZERS: Final = (
    "arabic", "armenian", "basque", "bengali", "brazilian", "bulgarian", "catalan", "czech", "danish", "dutch", "english", "estonian",
    "finnish", "french", "galician", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "latvian", "lithuanian",
    "norwegian", "persian", "portuguese", "romanian", "russian", "serbian", "sorani", "spanish", "swedish", "thai", "turkish",
)  # fmt: skip
"""Languages that Elasticsearch has an analyzer of the same name for."""
ANALYZER_OF: Final = {
    **{name: name for name in ANALYZERS},
    "chinese": "cjk",
    "japanese": "cjk",
    "korean": "cjk",
    "none": "standard",
}
LANGUAGES: Final = (*sorted(ANALYZER_OF.keys() - {"none"}), "none")


class ElasticsearchRetrieverSpec(ElasticsearchAccess, RetrieverSpec):
    """BM25 by an Elasticsearch cluster (server 8 or 9), over an index made from the collected
    passages, or over one that exists.

    Without `index`, the passages are indexed once: the index is named and marked by its passages,
    the settings below and the cache that it is for; the next run finds it, and `recipekit cache gc`
    removes it once no run needs it. With `index`, that index is searched as it is and never written
    to; `k1`, `b`, `language`, `analyzer`, `fields`, `words` and `shards` are then its own affair.

    A query is a bag of words, whatever stands in it; one of more words than the server takes (8,192
    or so) is cut at its end, and told. Scores are those of `bm25` times k1 + 1, as the server has
    it, over the statistics of all shards.
    """

    live: ClassVar[bool] = True

    k1: float = Field(default=0.9, ge=0, allow_inf_nan=False)
    """How slowly more occurrences of a term stop counting. 0.9 is what Anserini's published
    baselines use with Lucene.
    """
    b: float = Field(default=0.4, ge=0, le=1)
    """How much long passages are discounted, 0 to 1. 0.4 is Anserini's too."""
    language: str = Field(default="english", json_schema_extra={"enum": list(LANGUAGES)})
    """The language of the passages: decides the analyzer, which splits texts into words, stems them
    and leaves out stop words. `none` has no stemmer and no stop words."""
    analyzer: str | None = Field(default=None, min_length=1)
    """An analyzer of the server by name, instead of the language's: one that a plugin brings
    (`smartcn`, `nori`), for example.
    """
    fields: Literal["text", "title_and_text"] = "text"
    """Whether title and text are joined to one field, as `bm25` has it, or are two whose scores are
    added, as Anserini's `multifield` baselines have it."""
    words: Literal["letters_and_digits", "analyzer"] = "letters_and_digits"
    """What a word is. `letters_and_digits`: runs of them, as in `bm25`, found before the analyzer
    sees the text. `analyzer`: what it finds itself, as in Lucene's published baselines; it keeps
    `os.path` and `read_table` whole, which costs a quarter of nDCG@10 on code."""
    shards: int = Field(default=1, ge=1, le=1024)
    """Parts that the index is divided into.

    One serves up to some 50 GB, more than 50 million passages of a paragraph each.
    """
    replicas: Annotated[int, NotIdentity, Field(ge=0, le=10)] = 0
    """Copies of each shard beside the first, when the index is made.

    What is lost can be made again: none by default.
    """
    batch: Annotated[int, NotIdentity, Field(ge=1, le=10_000)] = 64
    """Queries in one request."""

    index: str | None = Field(default=None, min_length=1)
    """An index or alias that exists, to search instead of one of our own."""
    id_field: str | None = Field(default=None, min_length=1)
    """With `index`: the field in which a passage's id stands; by default it is the document's
    `_id`.
    """
    title_field: str | None = Field(default=None, min_length=1)
    """With `index`: a field that is searched too, its score added."""
    text_field: str = Field(default="text", min_length=1)
    """With `index`: the field that is searched."""
    source: str | None = Field(default=None, min_length=1)
    """With `index`, where a recipe has several sources: which of them the index's ids are of."""
    max_unknown: float = Field(default=0.01, ge=0, le=1)
    """With `index`: the share of hits that may be of passages that were not collected, 0 to 1.

    They are dropped; more are an error.
    """

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        if value not in LANGUAGES:
            hint = (
                f"Choose from {', '.join(LANGUAGES)}, or name an `analyzer` that your server has."
            )
            raise ValueError(f"unknown '{value}'.{did_you_mean(value, LANGUAGES)} {hint}")
        return value

    @model_validator(mode="after")
    def _one_index(self) -> Self:
        own, existing = (
            ("k1", "b", "language", "analyzer", "fields", "words", "shards"),
            ("id_field", "title_field", "text_field", "source"),
        )
        misplaced = own if self.index else existing
        written = [
            name
            for name in misplaced
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if written and self.index:
            raise ValueError(
                f"`{written[0]}` is a setting of an index that recipekit makes; '{self.index}' exists, and has its own"
            )
        if written:
            raise ValueError(
                f"`{written[0]}` says something of an index that exists: name it as `index`"
            )
        return self

    def fingerprint(self) -> Any:
        """The state of an index that exists.

        None for one of ours, which follows from data set and settings.
        """
        return index_fingerprint(self.cluster(patient=False), self.index) if self.index else None

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """Bytes of an index of our own, and hours to make and search it, at measured rates."""
        return elasticsearch_work(sizes, made=self.index is None)

    def build(self, context: Context) -> Retriever:
        """Index the passages where that is not done yet (by the main rank), or open the index that
        exists.
        """
        from recipekit.retrievers.elasticsearch_search import ElasticsearchRetriever

        cluster = self.cluster(context.progress.warn)
        if not context.ranks.is_main:  # it never searches
            return ElasticsearchRetriever(
                cluster, self._own("", context), self.batch, self.concurrency, context.progress
            )
        cluster.check_version()
        if self.index is None:
            target, fingerprint = self._own(self._ready(cluster, context), context), None
        else:
            target, fingerprint = (
                self._existing(cluster, self.index, context),
                index_fingerprint(cluster, self.index),
            )
        return ElasticsearchRetriever(
            cluster, target, self.batch, self.concurrency, context.progress, fingerprint
        )

    def remote(self) -> Remote | None:
        """Our indices on this cluster; None where an index that exists is searched."""
        from recipekit.retrievers.elasticsearch_index import ElasticsearchRemote

        return None if self.index else ElasticsearchRemote(self.cluster(patient=False))

    def _layout(self) -> Any:
        from recipekit.retrievers.elasticsearch_index import Layout

        analyzer = self.analyzer or ANALYZER_OF[self.language]
        return Layout(self.k1, self.b, analyzer, self.fields, self.words, self.shards, self.version)

    def _ready(self, cluster: Cluster, context: Context) -> str:
        from recipekit.retrievers.elasticsearch_index import ready
        from recipekit.retrievers.engine import mark_of

        layout, passages = self._layout(), context.dataset.passages
        mark = mark_of(
            "elasticsearch",
            layout.identity,
            owner=context.owner,
            corpus=context.corpus,
            rows=len(passages),
        )
        return ready(
            cluster,
            mark,
            layout,
            passages,
            replicas=self.replicas,
            concurrency=self.concurrency,
            progress=context.progress,
        )

    def _own(self, name: str, context: Context) -> Any:
        from recipekit.retrievers.elasticsearch_search import Target

        layout = self._layout()
        return Target(
            name, layout.columns, len(context.dataset.passages), as_indexed=layout.as_indexed
        )

    def _existing(self, cluster: Cluster, index: str, context: Context) -> Any:
        from recipekit.engines.elasticsearch import check_fields
        from recipekit.retrievers.elasticsearch_search import ExistingIds, Target
        from recipekit.retrievers.engine import IdRows, UnknownIds

        searched = [self.text_field, *([self.title_field] if self.title_field else [])]
        check_fields(
            cluster,
            index,
            searched={"text_field": self.text_field, "title_field": self.title_field},
            read={"id_field": self.id_field},
        )
        passages = context.dataset.passages
        if self.source and self.source not in passages.table["source"].unique().to_pylist():
            sources = ", ".join(passages.table["source"].unique().to_pylist())
            raise ComponentError(
                f"source '{self.source}': there is no passage of it; there are: {sources}",
                code="RK267",
            )
        ids = ExistingIds(
            IdRows(passages, self.source),
            UnknownIds(cluster.named(index), self.max_unknown),
            self.id_field,
        )
        return Target(index, searched, len(passages), ids)
