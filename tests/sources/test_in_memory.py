from pathlib import Path

import pyarrow as pa
import pytest

from recipekit.errors import DataError
from recipekit.records import Label
from recipekit.sources.in_memory import is_table, store_table, with_stored_tables
from recipekit.sources.pairs import PairsSpec
from recipekit.testing import context

COLUMNS = {"query": ["a", "b", "b"], "positive": ["x", "y", None], "label": [2, 0, 1]}


def pandas_frame():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(COLUMNS)


def filtered_pandas_frame():
    frame = pandas_frame()
    return frame[frame["label"] >= 0].set_index("query")


def polars_frame():
    return pytest.importorskip("polars").DataFrame(COLUMNS)


def lazy_polars_frame():
    return polars_frame().lazy()


def hub_dataset():
    import datasets

    return datasets.Dataset.from_dict(COLUMNS)


def shuffled_hub_dataset():
    return hub_dataset().select([2, 1, 0]).select([2, 1, 0])


def arrow_table():
    return pa.concat_tables([pa.table(COLUMNS).slice(0, 1), pa.table(COLUMNS).slice(1)])


TABLES = [
    pandas_frame,
    filtered_pandas_frame,
    polars_frame,
    lazy_polars_frame,
    hub_dataset,
    shuffled_hub_dataset,
    arrow_table,
]


@pytest.mark.parametrize("make", TABLES, ids=lambda make: make.__name__)
def test_a_table_in_memory_is_a_source(tmp_path: Path, make):
    assert is_table(make())
    recipe = {"use": "pairs", "file": make(), "label": "label"}
    fields = with_stored_tables(recipe, tmp_path / "tables")
    del fields["use"]
    source = PairsSpec(**fields).build(context(tmp_path / "scratch"))
    records = list(source.load())
    texts = {record.id: record.text for record in records if not isinstance(record, Label)}
    labels = [
        (texts[record.query_id], texts[record.passage_id], record.grade)
        for record in records
        if isinstance(record, Label)
    ]
    assert labels == [("a", "x", 2.0), ("b", "y", 0.0)]
    assert source.counts["rows"] == 3


def test_equal_tables_are_one_file_and_other_tables_another(tmp_path: Path):
    paths = [store_table(make(), tmp_path) for make in TABLES if make is not filtered_pandas_frame]
    assert len(set(paths)) == 1, "the library and the division into batches do not matter"
    other = pa.table({**COLUMNS, "label": [2, 0, 2]})
    assert store_table(other, tmp_path) not in paths
    assert len(list(tmp_path.iterdir())) == 2


def test_tables_are_replaced_by_paths_and_the_recipe_is_not_changed(tmp_path: Path):
    table = arrow_table()
    recipe = {"collect": {"sources": {"a": {"use": "pairs", "file": table}}}, "seed": [1, "x"]}
    stored = with_stored_tables(recipe, tmp_path)
    assert recipe["collect"]["sources"]["a"]["file"] is table
    assert stored["collect"]["sources"]["a"]["file"] == str(store_table(table, tmp_path))
    assert stored["seed"] == [1, "x"]


def test_large_tables_and_empty_tables_are_stored(tmp_path: Path):
    import datasets

    rows = 70_000
    table = pa.table({"query": [str(row) for row in range(rows)]})
    path = store_table(table, tmp_path)
    with pa.memory_map(str(path)) as source:
        assert pa.ipc.open_file(source).read_all()["query"].to_pylist()[-1] == str(rows - 1)
    assert store_table(datasets.Dataset(table), tmp_path) == path
    empty = store_table(table.slice(0, 0), tmp_path)
    assert store_table(datasets.Dataset(table.slice(0, 0)), tmp_path) == empty


def test_values_that_are_not_one_table_are_refused_with_their_path(tmp_path: Path):
    import datasets

    splits = datasets.DatasetDict({"train": hub_dataset(), "test": hub_dataset()})
    for value, message in (
        (splits, r"collect.sources.a.file: the datasets.DatasetDict has several splits \(train"),
        (hub_dataset().to_iterable_dataset(), "IterableDataset cannot be read twice"),
        (pandas_frame()["query"], "is one column"),
        (pandas_frame().assign(query=[1, "b", ["c"]]), "cannot be written as Arrow"),
    ):
        with pytest.raises(DataError, match=message):
            with_stored_tables({"collect": {"sources": {"a": {"file": value}}}}, tmp_path)
    assert list(tmp_path.iterdir()) == []
    for value in ("text", 5, None, [1], {"a": 1}, Path("x")):
        assert not is_table(value)
