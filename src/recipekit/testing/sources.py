"""The conformance check of sources."""

from __future__ import annotations

from typing import Any

from recipekit.component import Context, Source, SourceSpec
from recipekit.records import SPLITS, Label, Passage, Query
from recipekit.testing.promises import (
    build,
    conformance_check,
    expect,
    expect_json_map,
    expect_members,
    expect_methods,
    found,
    is_number,
    items,
    member,
    shown,
)
from recipekit.testing.specs import check_spec

__all__ = ["check_source"]

RECORDS = "it must yield Passage, Query and Label records"


@conformance_check
def check_source(spec: SourceSpec, context: Context) -> None:
    """Check a source: unique ids, labels of known texts, known splits, and equal passes.

    Raises:
        AssertionError: It breaks a promise.
    """
    check_spec(spec, "source")
    name = type(spec).__name__
    source = build(spec, Source, context)
    expect_methods(name, source, Source, "load")
    expect_members(name, source, Source, "located", "counts")
    records = _load(name, source)
    for record in records:
        _check_record(name, record)
    _check_located(name, source, records)
    ids = {kind: _check_ids(name, records, kind) for kind in (Passage, Query)}
    for record in records:
        if isinstance(record, Label):
            joined = record.query_id in ids[Query] and record.passage_id in ids[Passage]
            expect(
                joined,
                f"{name}.load(): a label refers to '{record.query_id}' and '{record.passage_id}', "
                "which are not both among the texts",
            )
    expect_json_map(f"{name}.counts", member(name, source, "counts", "it must be a mapping"))
    expect(
        _load(name, build(spec, Source, context)) == records,
        f"{name}.load() yields other records, or another order, in a second pass",
    )


def _load(name: str, source: Any) -> list[Any]:
    return items(f"{name}.load()", RECORDS, source.load)


def _check_record(name: str, record: object) -> None:
    """Expect a record of a known class, whose fields have the right types."""
    is_known = isinstance(record, Passage | Query | Label)
    expect(is_known, f"{name}.load() yields {found(record)}; {RECORDS}")
    texts = {
        Passage: ("id", "text", "title"),
        Query: ("id", "text"),
        Label: ("query_id", "passage_id"),
    }
    kind = next(kind for kind in texts if isinstance(record, kind))
    for field in texts[kind]:
        value = getattr(record, field)
        expect(
            isinstance(value, str),
            f"{name}.load() yields a {kind.__name__} whose {field} is {found(value)}; a str is "
            "expected",
        )
    if isinstance(record, Query):
        is_split = record.split is None or (
            isinstance(record.split, str) and record.split in SPLITS
        )
        expect(
            is_split,
            f"{name}.load(): query '{record.id}' has the split {shown(record.split)}, not one of "
            f"{SPLITS} or None",
        )
    if isinstance(record, Label):
        expect(
            is_number(record.grade),
            f"{name}.load(): the label of '{record.query_id}' and '{record.passage_id}' has the "
            f"grade {shown(record.grade)}; a finite number is expected",
        )


def _check_ids(name: str, records: list[Any], kind: type[Passage] | type[Query]) -> set[str]:
    """Expect unique ids of all records of a kind, and return them."""
    texts = [record for record in records if isinstance(record, kind)]
    ids = {record.id for record in texts}
    expect(texts, f"{name}.load() yields no {kind.__name__}; check it on data that has some")
    expect(len(ids) == len(texts), f"{name}.load() yields two {kind.__name__} records with one id")
    expect("" not in ids, f"{name}.load() yields a {kind.__name__} without an id")
    return ids


def _check_located(name: str, source: Any, records: list[Any]) -> None:
    """Expect the records of `load()`, each with its location, or nothing."""
    expected = "it must yield (location, record) pairs, or nothing"
    located = items(f"{name}.located()", expected, source.located)
    for pair in located:
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        expect(is_pair, f"{name}.located() yields {found(pair)}; {expected}")
    expect(
        not located or [record for _, record in located] == records,
        f"{name}.located() yields other records than load()",
    )
