import numpy as np
import pyarrow as pa
import pytest

from recipekit.errors import ComponentError
from recipekit.retrievers.engine import IdRows, OwnershipTag, UnknownIds, hits_of, mark_of
from recipekit.tables import TextTable


def table(*ids: str) -> TextTable:
    return TextTable(pa.table({"id": pa.array(ids, pa.large_string())}))


def test_ids_become_rows():
    rows = IdRows(table("b", "", "a", "ü", "B", "a1"))
    assert rows.of(["a", "b", "a1", "ü", "zz", "", "A", "a"]).tolist() == [2, 0, 5, 3, -1, 1, -1, 2]
    assert rows.of([]).tolist() == []


def test_ids_of_one_source_among_several():
    rows = IdRows(table("books/1", "wiki/1", "wiki/2"), source="wiki")
    assert rows.of(["1", "2", "3"]).tolist() == [1, 2, -1]


def test_every_id_of_many_is_found():
    ids = [f"d{(i * 7919) % 5000}" for i in range(5000)]
    assert IdRows(table(*ids)).of(ids).tolist() == list(range(5000))


def test_a_mark_survives_the_server_and_strangers_have_none():
    mark = mark_of("elasticsearch", {"k1": 0.9}, owner="me", corpus="d", rows=3)
    assert OwnershipTag.read(mark.as_json()) == mark
    assert (
        OwnershipTag.read(None)
        is OwnershipTag.read({})
        is OwnershipTag.read({"made_by": "recipekit"})
        is OwnershipTag.read({**mark.as_json(), "made_by": "you"})
        is None
    )


def test_names_differ_where_content_or_owner_does():
    def name(engine="elasticsearch", identity=0.9, owner="me", corpus="d"):
        return mark_of(engine, identity, owner=owner, corpus=corpus, rows=3).name

    names = [name(), name(identity=1.2), name(owner="you"), name(corpus="e"), name(engine="qdrant")]
    assert len(set(names)) == 5
    assert name() == name()
    assert all(one.startswith("recipekit-") for one in names)


def test_unknown_ids_are_counted_and_too_many_are_an_error():
    unknown = UnknownIds("Engine at x, index 'y'", 0.25)
    unknown.add(["a", "b", "c", "d"], np.array([0, 1, 2, -1]))
    assert (unknown.hits, unknown.unknown) == (4, 1)
    with pytest.raises(
        ComponentError,
        match=r"index 'y': 2 of 5 hits are passages that were not collected, 'e' for one; max_unknown allows 25%",
    ):
        unknown.add(["e"], np.array([-1]))


def test_hits_are_sorted_deduplicated_padded_and_ties_go_to_the_lower_row():
    query = np.array([2, 0, 0, 0, 2, 2])
    rows = np.array([5, 3, 3, 1, -1, 4])
    hits = hits_of(3, 3, query, rows, np.array([1, 2, 1, 2, 9, 1], np.float32))
    assert hits.rows.tolist() == [[1, 3, -1], [-1, -1, -1], [4, 5, -1]]
    assert hits.scores.tolist() == [[2, 2, -np.inf], [-np.inf] * 3, [1, 1, -np.inf]]
    assert hits_of(3, 1, query, rows, np.ones(6, np.float32)).rows.tolist() == [[1], [-1], [4]]
