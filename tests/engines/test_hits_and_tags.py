"""External ids, hits and ownership tags, without a server."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recipekit.engines.hits import ExternalIds, assemble_hits
from recipekit.engines.tags import OwnershipTag
from recipekit.errors import ComponentError
from recipekit.tables import TextTable
from recipekit.testing import context

TAG = OwnershipTag("me", "corpus", "settings", 3)


def external_ids(*ids: str, source: str | None = None, max_unknown_ids: float = 1.0) -> ExternalIds:
    sources = pa.array([id.partition("/")[0] for id in ids], pa.large_string())
    table = pa.table({"id": pa.array(ids, pa.large_string()), "source": sources})
    return ExternalIds(
        TextTable(table),
        source=source,
        index="Engine at x, index 'y'",
        max_unknown_ids=max_unknown_ids,
    )


def test_ids_map_to_rows():
    ids = external_ids("b", "", "a", "ü", "B", "a1")
    wanted = ["a", "b", "a1", "ü", "zz", "", "A", "a"]
    assert ids.rows(wanted).tolist() == [2, 0, 5, 3, -1, 1, -1, 2]
    assert ids.rows([]).tolist() == []


def test_ids_of_one_source_among_several_map_to_rows():
    ids = external_ids("books/1", "wiki/1", "wiki/2", source="wiki")
    assert ids.rows(["1", "2", "3"]).tolist() == [1, 2, -1]
    with pytest.raises(ComponentError, match="source 'wikis' has no passages; there are: books, w"):
        external_ids("books/1", "wiki/1", source="wikis")


def test_every_id_of_many_is_found():
    ids = [f"d{(i * 7919) % 5000}" for i in range(5000)]
    assert external_ids(*ids).rows(ids).tolist() == list(range(5000))


def test_unknown_ids_are_counted_and_too_many_are_an_error():
    ids = external_ids("a", "b", "c", max_unknown_ids=0.25)
    ids.rows(["a", "b", "c", "d"])
    assert (ids.hits, ids.unknown) == (4, 1)
    with pytest.raises(
        ComponentError,
        match=r"index 'y': 2 of 5 hits are passages that were not collected, for example 'e'; "
        r"max_unknown_ids allows 25%",
    ):
        ids.rows(["e"])


def test_a_tag_survives_the_server_and_invalid_metadata_has_none():
    complete = replace(TAG, complete=True)
    assert OwnershipTag.from_metadata(TAG.metadata(complete=True)) == complete
    for metadata in (None, {}, {"recipekit": None}, {"recipekit": {"cache_id": "me"}}):
        assert OwnershipTag.from_metadata(metadata) is None


def test_a_tag_matches_the_same_index_complete_or_not():
    assert TAG.matches(replace(TAG, complete=True))
    assert not TAG.matches(replace(TAG, corpus_hash="another"))
    assert not TAG.matches(None)


def test_names_differ_if_content_settings_engine_or_cache_do(tmp_path, tiny_dataset):
    def name(engine="elasticsearch", settings=0.9, owner="me", corpus="d"):
        run_context = context(tmp_path, dataset=tiny_dataset, owner=owner, _corpus=lambda: corpus)
        return OwnershipTag.for_index(run_context, engine, settings, rows=3).name

    names = [
        name(),
        name(settings=1.2),
        name(owner="you"),
        name(corpus="e"),
        name(engine="qdrant"),
    ]
    assert len(set(names)) == 5
    assert name() == name()
    assert all(one.startswith("recipekit-") for one in names)


def test_hits_are_sorted_deduplicated_and_padded_and_ties_go_to_the_lower_row():
    query = np.array([2, 0, 0, 0, 2, 2])
    rows = np.array([5, 3, 3, 1, -1, 4])
    hits = assemble_hits(3, 3, query, rows, np.array([1, 2, 1, 2, 9, 1], np.float32))
    assert hits.rows.tolist() == [[1, 3, -1], [-1, -1, -1], [4, 5, -1]]
    assert hits.scores.tolist() == [[2, 2, -np.inf], [-np.inf] * 3, [1, 1, -np.inf]]
    best = assemble_hits(3, 1, query, rows, np.ones(6, np.float32))
    assert best.rows.tolist() == [[1], [-1], [4]]
