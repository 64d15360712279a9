"""Indices that recipekit did not make: their state and their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from elasticsearch import Elasticsearch

from recipekit.engines.connection import Connection
from recipekit.engines.retry import Failure
from recipekit.errors import ComponentError
from recipekit.suggestions import did_you_mean

__all__ = ["check_fields", "fingerprint"]

TEXT_TYPES: Final = frozenset({"text", "match_only_text", "search_as_you_type"})
FINGERPRINTED: Final = (
    "indices.*.uuid",
    "indices.*.shards.*.seq_no.max_seq_no",
    "indices.*.shards.*.routing.primary",
)


def fingerprint(connection: Connection[Elasticsearch], index: str) -> dict[str, Any]:
    """A value that changes with an index: the indices behind the name, and each shard's last write.

    Raises:
        ComponentError: The index does not exist, or the request fails.
    """
    indices = connection.call(
        lambda client: client.indices.stats(
            index=index, metric="docs", level="shards", filter_path=FINGERPRINTED
        ),
        index,
    ).get("indices", {})
    if not indices:
        raise connection.error(Failure("missing", "no index of this name"), index)

    def last_writes(shards: Mapping[str, Any]) -> dict[str, int]:
        return {
            shard: max(copy.get("seq_no", {}).get("max_seq_no", -1) for copy in copies)
            for shard, copies in sorted(shards.items())
        }

    return {
        name: [stats["uuid"], last_writes(stats.get("shards", {}))]
        for name, stats in sorted(indices.items())
    }


def check_fields(
    connection: Connection[Elasticsearch],
    index: str,
    *,
    searched: Mapping[str, str | None],
    read: Mapping[str, str | None],
) -> None:
    """Check that an index has the fields that a recipe names.

    Args:
        connection: The cluster.
        index: An index or alias.
        searched: By recipe key, each field that is searched as text; None for no field.
        read: Likewise, each field whose value is read.

    Raises:
        ComponentError: The index or a field does not exist, or a field cannot be searched.
    """
    fields = connection.call(
        lambda client: client.field_caps(index=index, fields="*", filters="-metadata"), index
    )["fields"]
    for key, name in {**searched, **read}.items():
        if name is None:
            continue
        if name not in fields:
            known = ", ".join(sorted(fields)[:20]) or "none"
            raise ComponentError(
                f"{connection.named(index)} has no field '{name}' (`{key}`)."
                f"{did_you_mean(name, fields)} Its fields: {known}",
                code="RK267",
            )
        types = sorted(fields[name])
        if key in searched and not set(types) <= TEXT_TYPES:
            raise ComponentError(
                f"{connection.named(index)}: field '{name}' (`{key}`) has type "
                f"{', '.join(types)}, not text",
                code="RK267",
            )
