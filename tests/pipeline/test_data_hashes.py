"""Content hashes of tables."""

import pyarrow as pa
import pytest

from recipekit.pipeline.data_hashes import table_hash

TEXTS = ["a", "", "bc", None, "déf"]


def table(texts: list[str | None] = TEXTS, numbers: list[int | None] | None = None) -> pa.Table:
    numbers = numbers or [3, None, 0, -1, 7]
    return pa.table(
        {"text": pa.array(texts, pa.large_string()), "n": pa.array(numbers, pa.int32())}
    )


def test_the_hash_does_not_depend_on_batches_or_slices() -> None:
    whole = table()
    batches = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 0), whole.slice(1)])
    assert batches["text"].num_chunks == 3
    assert table_hash(batches) == table_hash(whole)
    assert table_hash(pa.concat_tables([whole, whole]).slice(5)) == table_hash(whole)


@pytest.mark.parametrize(
    "other",
    [
        table(["a", "b", "c", None, "déf"]),
        table(["a", None, "bc", "", "déf"]),
        table(["ab", "", "c", None, "déf"]),
        table(numbers=[3, 0, None, -1, 7]),
        table(numbers=[3, None, 0, -1, 8]),
        table().slice(0, 4),
        table().rename_columns(["text", "m"]),
    ],
)
def test_the_hash_changes_with_any_value(other: pa.Table) -> None:
    assert table_hash(other) != table_hash(table())
