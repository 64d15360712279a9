"""Indices in Elasticsearch: what ours are made of, their marks, and finding, making and removing
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from recipekit.component import Progress, RemoteIndex
from recipekit.engines.elasticsearch import Cluster
from recipekit.engines.elasticsearch_failures import failure_of
from recipekit.errors import ComponentError
from recipekit.retrievers.elasticsearch_load import load_missing
from recipekit.retrievers.engine import PREFIX, OwnershipTag
from recipekit.retrievers.segmentation import words
from recipekit.tables import TextTable

__all__ = ["ElasticsearchRemote", "Layout", "ready"]

META: Final = "recipekit"
"""Our mark's place in a mapping's `_meta`."""


@dataclass(frozen=True)
class Layout:
    """What decides what our index gives."""

    k1: float
    b: float
    analyzer: str
    fields: Literal["text", "title_and_text"]
    words: Literal["letters_and_digits", "analyzer"]
    shards: int
    version: int

    @property
    def identity(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields that are searched."""
        return ("text",) if self.fields == "text" else ("title", "text")

    def as_indexed(self, text: str) -> str:
        """A text as the analyzer is given it, of a passage or a query."""
        return text if self.words == "analyzer" else " ".join(words(text))

    def settings(self, replicas: int) -> dict[str, Any]:
        """The index's settings while it is loaded: nothing is made searchable before all is there."""
        return {
            "index": {
                "number_of_shards": self.shards,
                "number_of_replicas": replicas,
                "refresh_interval": "-1",
                "similarity": {"default": {"type": "BM25", "k1": self.k1, "b": self.b}},
            }
        }

    def mappings(self, mark: OwnershipTag) -> dict[str, Any]:
        """The index's mapping.

        Texts are neither stored nor given positions: the data set has them, and a bag of words
        needs none. `row` breaks ties.
        """
        text = {"type": "text", "analyzer": self.analyzer, "index_options": "freqs"}
        return {
            "dynamic": "strict",
            "_source": {"enabled": False},
            "_meta": {META: mark.as_json()},
            "properties": {
                "row": {"type": "integer", "index": False},
                **{name: text for name in self.columns},
            },
        }


def ready(
    cluster: Cluster,
    mark: OwnershipTag,
    layout: Layout,
    passages: TextTable,
    *,
    replicas: int,
    concurrency: int,
    progress: Progress,
) -> str:
    """The name of the index that holds all passages, made or completed where that is not done yet.

    Raises:
        ComponentError: The server cannot be asked or fails, an index of this name is not ours, or
            it does not hold what it should.
    """
    found = _mapping(cluster, mark.name)
    kept = OwnershipTag.read(found.get("_meta", {}).get(META)) if found is not None else None
    if found is not None and (kept is None or replace(kept, complete=mark.complete) != mark):
        raise ComponentError(
            f"{cluster.named(mark.name)} was not made by recipekit for these passages: rename or remove it",
            code="RK269",
        )
    if (
        kept is not None
        and found is not None
        and (not _same_fields(found, layout, mark) or _damaged(cluster, kept))
    ):
        progress.warn(
            f"{cluster.named(mark.name)} was changed since recipekit made it: it is made anew"
        )
        cluster.ask(
            lambda client: client.options(ignore_status=404).indices.delete(index=mark.name),
            mark.name,
        )
        kept = None
    if kept is not None and kept.complete:
        return mark.name
    if kept is None:
        _create(cluster, mark, layout, replicas)
    load_missing(
        cluster,
        mark.name,
        passages,
        layout.columns,
        layout.as_indexed,
        fresh=kept is None,
        concurrency=concurrency,
        progress=progress,
    )
    _complete(cluster, mark)
    return mark.name


def _mapping(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """An index's mapping; None where there is no such index."""
    try:
        reply = cluster.ask(lambda client: client.indices.get_mapping(index=name), name)
    except ComponentError as error:
        if error.code == "RK264":
            return None
        raise
    mapping: dict[str, Any] = reply[name]["mappings"]
    return mapping


def _same_fields(found: dict[str, Any], layout: Layout, mark: OwnershipTag) -> bool:
    wanted = layout.mappings(mark)["properties"]
    properties = found.get("properties", {})
    return properties.keys() == wanted.keys() and all(
        properties[name].get("type") == field["type"]
        and properties[name].get("analyzer") == field.get("analyzer")
        for name, field in wanted.items()
    )


def _damaged(cluster: Cluster, kept: OwnershipTag) -> bool:
    """Whether a complete index does not hold what it held once."""
    return kept.complete and _count(cluster, kept.name) != kept.rows


def _count(cluster: Cluster, name: str) -> int:
    return int(cluster.ask(lambda client: client.count(index=name), name)["count"])


def _create(cluster: Cluster, mark: OwnershipTag, layout: Layout, replicas: int) -> None:
    settings, mappings = layout.settings(replicas), layout.mappings(mark)
    try:
        cluster.ask(
            lambda client: client.indices.create(
                index=mark.name, settings=settings, mappings=mappings
            ),
            mark.name,
        )
    except ComponentError as error:
        failure = failure_of(error.__cause__) if isinstance(error.__cause__, Exception) else None
        text = failure.text if failure else ""
        if "resource_already_exists" in text:
            return  # an attempt that was given up had made it, or another run does now: the documents are the same
        if "analyzer" in text and "not been configured" in text:
            fix = f"name one that the server has as `analyzer`, or install the plugin that brings '{layout.analyzer}'"
            raise ComponentError(
                f"{cluster.place} has no analyzer '{layout.analyzer}': {fix}", code="RK267"
            ) from error
        raise


def _complete(cluster: Cluster, mark: OwnershipTag) -> None:
    """Check that the count is exact, and set the mark's last word."""
    held = _count(cluster, mark.name)
    if held != mark.rows:
        raise ComponentError(
            f"{cluster.named(mark.name)} holds {held} passages instead of {mark.rows}: remove it, then run again",
            code="RK269",
        )
    cluster.ask(
        lambda client: client.indices.put_settings(
            index=mark.name, settings={"index": {"refresh_interval": None}}
        ),
        mark.name,
    )
    meta = {META: replace(mark, complete=True).as_json()}
    cluster.ask(lambda client: client.indices.put_mapping(index=mark.name, meta=meta), mark.name)


class ElasticsearchRemote:
    """What recipekit made on a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def server(self) -> str:
        """The cluster, as it is called."""
        return self._cluster.place

    def indices(self) -> Sequence[RemoteIndex]:
        """Every index that bears our mark."""
        marks = self._marks(f"{PREFIX}*")
        if not marks:
            return []
        stats = self._cluster.ask(
            lambda client: client.indices.stats(
                index=f"{PREFIX}*",
                metric="store",
                filter_path="indices.*.total.store.size_in_bytes",
            )
        ).get("indices", {})
        sizes = {
            name: int(found["total"]["store"]["size_in_bytes"]) for name, found in stats.items()
        }
        return [
            RemoteIndex(name, mark.owner, mark.corpus, mark.rows, sizes.get(name, 0))
            for name, mark in sorted(marks.items())
        ]

    def remove(self, name: str) -> None:
        """Remove one of ours; one that is gone already is no error."""
        if any(sign in name for sign in "*,?") or not self._marks(name).get(name):
            raise ComponentError(
                f"{self._cluster.named(name)} was not made by recipekit, and is not removed",
                code="RK269",
            )
        self._cluster.ask(
            lambda client: client.options(ignore_status=404).indices.delete(index=name), name
        )

    def _marks(self, pattern: str) -> dict[str, OwnershipTag]:
        found = self._cluster.ask(
            lambda client: client.options(ignore_status=404).indices.get_mapping(index=pattern)
        ).body
        marks = {}
        for name, index in found.items():
            mark = (
                OwnershipTag.read(index["mappings"].get("_meta", {}).get(META))
                if isinstance(index, dict) and "mappings" in index
                else None
            )
            if mark is not None:
                marks[name] = mark
        return marks
