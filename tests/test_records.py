import numpy as np
import pyarrow as pa
import pytest

from recipekit.arrays import lookup_sorted, positions_in_groups
from recipekit.tables import PASSAGES, TextTable, read_table, write_table

ROWS, BATCH = 2000, 100


@pytest.fixture
def passages(tmp_path) -> TextTable:
    """Passages of about one kilobyte each, written in batches as collect writes them."""
    batches = [
        pa.record_batch(
            [
                [f"p{row}" for row in rows],
                [""] * BATCH,
                [f"{row} " * 250 for row in rows],
                ["s"] * BATCH,
            ],
            schema=PASSAGES,
        )
        for rows in (range(start, start + BATCH) for start in range(0, ROWS, BATCH))
    ]
    write_table(tmp_path / "passages.arrow", PASSAGES, batches)
    return TextTable(read_table(tmp_path / "passages.arrow"))


def test_rows_are_read_in_the_requested_order(passages):
    rows = np.random.default_rng(0).integers(0, ROWS, 500)
    assert passages.column("id", rows) == [f"p{row}" for row in rows]
    assert passages.column("id", [199, 0, 100, 99, 0]) == ["p199", "p0", "p100", "p99", "p0"]
    assert passages.column("id", []) == []
    assert [text for _, texts in passages.chunks(130) for text in texts] == [
        f"{row} ".strip() + f" {row}" * 249 + " " for row in range(ROWS)
    ]
    for beyond in (ROWS, -1):
        with pytest.raises(IndexError):
            passages.column("id", [0, beyond])


def test_reading_a_few_rows_copies_only_those_rows(passages):
    default = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(default)
    pa.set_memory_pool(counting)
    try:
        passages.texts([3, 1500, 777])
    finally:
        pa.set_memory_pool(default)
    assert counting.max_memory() < passages.table.nbytes / 50


def test_lookup_in_a_sorted_array() -> None:
    positions, found = lookup_sorted(np.array([2, 5, 9]), np.array([5, 4, 9, 10, 0]))
    assert found.tolist() == [True, False, True, False, False]
    assert positions[found].tolist() == [1, 2]
    assert not lookup_sorted(np.array([], dtype=np.int64), np.array([1, 2]))[1].any()


def test_positions_start_at_zero_for_every_group() -> None:
    assert positions_in_groups(np.array([0, 0, 0, 3, 7, 7])).tolist() == [0, 1, 2, 0, 0, 1]
    assert positions_in_groups(np.array([], dtype=np.int32)).tolist() == []
