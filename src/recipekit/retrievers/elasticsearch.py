"""BM25 on an Elasticsearch cluster: for corpora beyond one machine, or indices that exist."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from recipekit.component import Context, NotIdentity, Remote, Retriever, RetrieverSpec
from recipekit.engines.elasticsearch.access import ElasticsearchAccess
from recipekit.retrievers.estimates import elasticsearch_work
from recipekit.retrievers.segmentation import words
from recipekit.suggestions import did_you_mean

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from recipekit.component import Sizes
    from recipekit.engines.connection import Connection
    from recipekit.engines.elasticsearch.search import SearchTarget

__all__ = ["LANGUAGES", "ElasticsearchRetrieverSpec"]

ANALYZERS: Final = (
    "arabic", "armenian", "basque", "bengali", "brazilian", "bulgarian", "catalan", "czech",
    "danish", "dutch", "english", "estonian", "finnish", "french", "galician", "german",
    "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "latvian", "lithuanian",
    "norwegian", "persian", "portuguese", "romanian", "russian", "serbian", "sorani", "spanish",
    "swedish", "thai", "turkish",
)  # fmt: skip
"""Languages with a built-in analyzer of the same name."""
ANALYZER_OF: Final = {
    **{name: name for name in ANALYZERS},
    "chinese": "cjk",
    "japanese": "cjk",
    "korean": "cjk",
    "none": "standard",
}
LANGUAGES: Final = (*sorted(ANALYZER_OF.keys() - {"none"}), "none")
OWN_INDEX_KEYS: Final = (
    "k1",
    "b",
    "language",
    "analyzer",
    "fields",
    "tokenization",
    "number_of_shards",
)
EXISTING_INDEX_KEYS: Final = ("id_field", "title_field", "text_field", "source")


class ElasticsearchRetrieverSpec(ElasticsearchAccess, RetrieverSpec):
    """BM25 on an Elasticsearch cluster (server 8 or 9).

    Without `index`, the passages are indexed once. The index is named after its passages, its
    settings and the cache; later runs reuse it, and `recipekit cache gc --recipe` removes it when
    no run needs it. With `index`, that index is searched as it is and never written to; its own
    settings then replace `k1`, `b`, `language`, `analyzer`, `fields`, `tokenization` and
    `number_of_shards`.

    A query is a bag of words: operators and quotes are text. Queries with more words than the
    server accepts (about 8,000) are truncated and counted. Scores are those of `bm25` times k1 + 1,
    with statistics over all shards.
    """

    live: ClassVar[bool] = True

    k1: float = Field(default=0.9, ge=0, allow_inf_nan=False)
    """Term-frequency saturation. 0.9 is the value of Anserini's published baselines."""
    b: float = Field(default=0.4, ge=0, le=1)
    """Length normalization, 0 to 1. 0.4 is Anserini's value."""
    language: str = Field(default="english", json_schema_extra={"enum": list(LANGUAGES)})
    """The language of the passages. It decides the analyzer, which splits, stems and removes stop
    words; `none` has no stemmer and no stop words."""
    analyzer: str | None = Field(default=None, min_length=1)
    """An analyzer of the server by name instead of the language's, for example one of a plugin
    (`smartcn`, `nori`).
    """
    fields: Literal["text", "title_and_text"] = "text"
    """`text`: title and text are one field, as in `bm25`. `title_and_text`: two fields whose scores
    are added, as in Anserini's `multifield` baselines."""
    tokenization: Literal["words", "analyzer"] = "words"
    """`words`: split into runs of letters and digits, as `bm25` does, before the analyzer sees the
    text. `analyzer`: leave splitting to the analyzer, as in Lucene's published baselines. It keeps
    `os.path` and `read_table` whole, which costs a quarter of nDCG@10 on code."""
    number_of_shards: int = Field(default=1, ge=1, le=1024)
    """Shards of the index. One serves up to about 50 GB, more than 50 million paragraphs."""
    number_of_replicas: Annotated[int, NotIdentity, Field(ge=0, le=10)] = 0
    """Additional copies of each shard when the index is created.

    None by default, because a lost index can be created again.
    """
    query_batch_size: Annotated[int, NotIdentity, Field(ge=1, le=10_000)] = 64
    """Queries per request."""

    index: str | None = Field(default=None, min_length=1)
    """An existing index or alias to search."""
    id_field: str | None = Field(default=None, min_length=1)
    """With `index`: the field with a passage's id; by default the document's `_id`."""
    title_field: str | None = Field(default=None, min_length=1)
    """With `index`: a second field to search, whose score is added."""
    text_field: str = Field(default="text", min_length=1)
    """With `index`: the field to search."""
    source: str | None = Field(default=None, min_length=1)
    """With `index`: the recipe's source whose ids the index has, if there are several sources."""
    max_unknown_ids: float = Field(default=0.01, ge=0, le=1)
    """With `index`: the largest accepted share of hits that were not collected, 0 to 1.

    Unknown hits are dropped; more of them are an error.
    """

    @field_validator("language")
    @classmethod
    def _check_language(cls, value: str) -> str:
        if value not in LANGUAGES:
            raise ValueError(
                f"unknown '{value}'.{did_you_mean(value, LANGUAGES)} Choose from "
                f"{', '.join(LANGUAGES)}, or name an `analyzer` that your server has."
            )
        return value

    @model_validator(mode="after")
    def _check_one_kind_of_index(self) -> Self:
        misplaced = OWN_INDEX_KEYS if self.index else EXISTING_INDEX_KEYS
        for name in misplaced:
            if getattr(self, name) == type(self).model_fields[name].default:
                continue
            if self.index:
                raise ValueError(
                    f"`{name}` configures an index that recipekit creates, but '{self.index}' "
                    "exists and has its own settings"
                )
            raise ValueError(f"`{name}` describes an existing index: name the index as `index`")
        return self

    def fingerprint(self) -> Any:
        """The state of an existing index.

        None for recipekit's own index, which follows from data set and settings.
        """
        if self.index is None:
            return None
        from recipekit.engines.elasticsearch.existing import fingerprint

        with closing(self.connect_briefly()) as connection:
            return fingerprint(connection, self.index)

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """Bytes of recipekit's own index, and hours to index and search, at measured rates."""
        return elasticsearch_work(sizes, loaded=self.index is None)

    def build(self, context: Context) -> Retriever:
        """Index the passages if that is not done yet, or open the existing index.

        Only the main rank talks to the server, because only it searches.
        """
        from recipekit.engines.elasticsearch.client import check_version
        from recipekit.engines.elasticsearch.search import ElasticsearchRetriever, SearchTarget

        connection = self.connect(context.progress.warn)
        target = SearchTarget("", (), 0)
        if context.ranks.is_main:
            check_version(connection)
            if self.index is None:
                target = self._own_index(connection, context)
            else:
                target = self._existing_index(connection, self.index, context)
        return ElasticsearchRetriever(
            connection, target, self.query_batch_size, self.concurrency, context.progress
        )

    def remote(self) -> Remote | None:
        """Recipekit's indices on this cluster; None if an existing index is searched."""
        from recipekit.engines.elasticsearch.index import ElasticsearchIndices

        return None if self.index else ElasticsearchIndices(self.connect_briefly())

    def _own_index(self, connection: Connection[Elasticsearch], context: Context) -> SearchTarget:
        from recipekit.engines.elasticsearch.index import IndexSettings, ensure_index
        from recipekit.engines.elasticsearch.search import SearchTarget
        from recipekit.engines.tags import OwnershipTag

        settings = IndexSettings(
            self.k1,
            self.b,
            self.analyzer or ANALYZER_OF[self.language],
            self.fields,
            self.tokenization,
            self.number_of_shards,
            self.version,
        )
        passages = context.dataset.passages
        prepare = _split_into_words if self.tokenization == "words" else str
        name = ensure_index(
            connection,
            OwnershipTag.for_index(context, "elasticsearch", settings.identity, rows=len(passages)),
            settings,
            passages,
            prepare,
            number_of_replicas=self.number_of_replicas,
            concurrency=self.concurrency,
            progress=context.progress,
        )
        return SearchTarget(name, settings.columns, len(passages), prepare)

    def _existing_index(
        self, connection: Connection[Elasticsearch], index: str, context: Context
    ) -> SearchTarget:
        from recipekit.engines.elasticsearch.existing import check_fields, fingerprint
        from recipekit.engines.elasticsearch.search import SearchTarget
        from recipekit.engines.hits import ExternalIds

        searched = {"text_field": self.text_field, "title_field": self.title_field}
        check_fields(connection, index, searched=searched, read={"id_field": self.id_field})
        passages = context.dataset.passages
        ids = ExternalIds(
            passages,
            source=self.source,
            index=connection.named(index),
            max_unknown_ids=self.max_unknown_ids,
        )
        return SearchTarget(
            index,
            [field for field in searched.values() if field],
            len(passages),
            ids=ids,
            id_field=self.id_field,
            fingerprint=fingerprint(connection, index),
        )


def _split_into_words(text: str) -> str:
    return " ".join(words(text))
