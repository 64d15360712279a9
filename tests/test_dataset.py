"""A data set that several stages contributed to."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from recipekit.dataset import Dataset
from recipekit.records import SPLITS
from recipekit.tables import LABELS, QUERIES, write_table


def add_queries(folder: Path, texts: list[str], labels: list[tuple[int, int, float]]) -> Path:
    """Write what a stage after collect adds: training queries and their labels."""
    folder.mkdir()
    ids = [f"added{i}" for i in range(len(texts))]
    columns = [ids, texts, [SPLITS.index("train")] * len(texts), ["generated"] * len(texts)]
    write_table(folder / "queries.arrow", QUERIES, [pa.table(columns, schema=QUERIES)])
    columns = [list(column) for column in zip(*labels, strict=True)]
    write_table(folder / "labels.arrow", LABELS, [pa.table(columns, schema=LABELS)])
    return folder


def test_added_queries_and_labels_follow_the_collected_ones(
    make_dataset: Callable[..., Dataset], tmp_path: Path
):
    collected = make_dataset(
        [("q0", "river", "train"), ("q1", "moon", "test")],
        [("p0", "a river"), ("p1", "the moon")],
        {(0, 0): 1.0, (1, 1): 2.0},
    )
    added = add_queries(tmp_path / "added", ["star", "sun"], [(0, 1, 1.0), (1, 0, 0.0)])
    dataset = Dataset(collected.path, "both", [added])

    assert dataset.queries.texts([2, 0, 3]) == ["star", "river", "sun"]
    assert dataset.queries.column("source", [0, 2]) == ["test", "generated"]
    assert dataset.rows("train").tolist() == [0, 2, 3]
    assert dataset.labels.to_pydict() == {
        "query": [0, 1, 2, 3],
        "passage": [0, 1, 1, 0],
        "grade": [1.0, 2.0, 1.0, 0.0],
    }
    assert dataset.positives["query"].to_pylist() == [0, 1, 2]
    assert len(dataset.passages) == 2


def test_passages_are_in_one_file_and_queries_in_one_per_stage(tiny_dataset: Dataset):
    more = tiny_dataset.path / "more"
    both = Dataset(tiny_dataset.path, "both", [more])
    assert both.files("passage") == tiny_dataset.files("passage")
    assert both.files("query") == [*tiny_dataset.files("query"), more / "queries.arrow"]
