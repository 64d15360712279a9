"""recipekit's own indices: creating, loading, resuming, reusing, listing and removing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from elasticsearch import Elasticsearch

from recipekit.component import Progress, RemoteIndex
from recipekit.engines.connection import Connection
from recipekit.engines.elasticsearch.load import load_missing
from recipekit.engines.tags import PREFIX, OwnershipTag
from recipekit.errors import ComponentError
from recipekit.tables import TextTable

__all__ = ["ElasticsearchIndices", "IndexSettings", "ensure_index"]


@dataclass(frozen=True)
class IndexSettings:
    """Everything that decides what an index returns."""

    k1: float
    b: float
    analyzer: str
    fields: Literal["text", "title_and_text"]
    tokenization: Literal["words", "analyzer"]
    number_of_shards: int
    version: int

    @property
    def identity(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields that are searched."""
        return ("text",) if self.fields == "text" else ("title", "text")

    def properties(self) -> dict[str, dict[str, Any]]:
        """The fields of the mapping.

        A bag of words needs no positions, and `row` breaks ties.
        """
        text = {"type": "text", "analyzer": self.analyzer, "index_options": "freqs"}
        return {"row": {"type": "integer", "index": False}, **dict.fromkeys(self.columns, text)}


def ensure_index(
    connection: Connection[Elasticsearch],
    tag: OwnershipTag,
    settings: IndexSettings,
    passages: TextTable,
    prepare: Callable[[str], str],
    *,
    number_of_replicas: int,
    concurrency: int,
    progress: Progress,
) -> str:
    """Create the index, or complete or reuse the existing one, and return its name.

    Args:
        connection: The cluster.
        tag: Describes the index.
        settings: What the index is made of.
        passages: What it must hold.
        prepare: Applied to each text before it is sent.
        number_of_replicas: Copies of each shard, if the index is created.
        concurrency: Parallel requests.
        progress: Shows the passages indexed.

    Raises:
        ComponentError: The server fails, the name belongs to someone else's index, or the index
            does not hold what it should.
    """
    name = tag.name
    stored = _stored_tag(connection, tag)
    if stored and stored.complete and _count(connection, name) != tag.rows:
        progress.warn(f"{connection.named(name)} was changed by someone else: it is created again")
        connection.try_call(lambda client: client.indices.delete(index=name), name)
        stored = None
    if stored and stored.complete:
        return name
    if stored is None:
        _create(connection, tag, settings, number_of_replicas)
    load_missing(
        connection,
        name,
        passages,
        settings.columns,
        prepare,
        is_new=stored is None,
        concurrency=concurrency,
        progress=progress,
    )
    _complete(connection, tag)
    return name


def _stored_tag(connection: Connection[Elasticsearch], tag: OwnershipTag) -> OwnershipTag | None:
    """The tag stored with the index, None if there is no index.

    Raises:
        ComponentError: The index has another tag, or none.
    """
    name = tag.name
    reply = connection.try_call(lambda client: client.indices.get_mapping(index=name), name)
    if reply is None:
        return None
    stored = OwnershipTag.from_metadata(reply[name]["mappings"].get("_meta"))
    if not tag.matches(stored):
        raise ComponentError(
            f"{connection.named(name)} was not made by recipekit for these passages: "
            "rename or remove it",
            code="RK269",
        )
    return stored


def _count(connection: Connection[Elasticsearch], name: str) -> int:
    return int(connection.call(lambda client: client.count(index=name), name)["count"])


def _create(
    connection: Connection[Elasticsearch],
    tag: OwnershipTag,
    settings: IndexSettings,
    number_of_replicas: int,
) -> None:
    index_settings = {
        "number_of_shards": settings.number_of_shards,
        "number_of_replicas": number_of_replicas,
        "refresh_interval": "-1",  # documents become searchable at the end
        "max_result_window": max(10_000, tag.rows),
        "similarity": {"default": {"type": "BM25", "k1": settings.k1, "b": settings.b}},
    }
    mappings = {
        "dynamic": "strict",
        "_source": {"enabled": False},  # the data set has the texts
        "_meta": tag.metadata(complete=False),
        "properties": settings.properties(),
    }
    # An index that exists was created by an attempt whose reply was lost, or by a parallel run,
    # which loads the same documents.
    connection.try_call(
        lambda client: client.indices.create(
            index=tag.name, settings=index_settings, mappings=mappings
        ),
        tag.name,
        accept="exists",
    )


def _complete(connection: Connection[Elasticsearch], tag: OwnershipTag) -> None:
    """Check the index and its exact count, then mark it as complete."""
    name = tag.name
    _stored_tag(connection, tag)  # a bulk request creates a deleted index again, with other fields
    held = _count(connection, name)
    if held != tag.rows:
        raise ComponentError(
            f"{connection.named(name)} holds {held} passages instead of {tag.rows}: "
            "remove it, then run again",
            code="RK269",
        )
    usual_refresh = {"index": {"refresh_interval": None}}
    connection.call(
        lambda client: client.indices.put_settings(index=name, settings=usual_refresh), name
    )
    metadata = tag.metadata(complete=True)
    connection.call(lambda client: client.indices.put_mapping(index=name, meta=metadata), name)


class ElasticsearchIndices:
    """The indices that recipekit made on a cluster."""

    def __init__(self, connection: Connection[Elasticsearch]) -> None:
        self._connection = connection

    @property
    def server(self) -> str:
        """The name of the cluster."""
        return self._connection.server

    def indices(self) -> Sequence[RemoteIndex]:
        """Every index with an ownership tag."""
        tags = self._tags(f"{PREFIX}*")
        if not tags:
            return []
        size = "indices.*.total.store.size_in_bytes"
        stats = self._connection.call(
            lambda client: client.indices.stats(
                index=f"{PREFIX}*", metric="store", filter_path=size
            )
        ).get("indices", {})
        sizes = {name: int(one["total"]["store"]["size_in_bytes"]) for name, one in stats.items()}
        return [
            tag.describe(name, rows=tag.rows, size=sizes.get(name, 0))
            for name, tag in sorted(tags.items())
        ]

    def remove(self, name: str) -> None:
        """Remove an index.

        Raises:
            ComponentError: It has no ownership tag.
        """
        if any(wildcard in name for wildcard in "*,?") or name not in self._tags(name):
            raise ComponentError(
                f"{self._connection.named(name)} was not made by recipekit, and is not removed",
                code="RK269",
            )
        self._connection.try_call(lambda client: client.indices.delete(index=name), name)

    def _tags(self, pattern: str) -> dict[str, OwnershipTag]:
        reply = self._connection.try_call(
            lambda client: client.indices.get_mapping(index=pattern).body
        )
        tags = {}
        for name, index in (reply or {}).items():
            tag = OwnershipTag.from_metadata(index["mappings"].get("_meta"))
            if tag is not None:
                tags[name] = tag
        return tags
