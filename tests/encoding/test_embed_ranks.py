"""Ranks embed a table together."""

import json
from pathlib import Path

import pytest

from helpers.ranks import run_on_cpu_ranks


@pytest.mark.slow
def test_two_processes_make_equal_numbers_of_forward_passes(tmp_path: Path) -> None:
    run_on_cpu_ranks(2, "embed_on_ranks", [tmp_path])
    counts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert counts[0] == counts[1]
    assert counts[0]["in memory"] == 8, "15 batches over two ranks"
    assert counts[0]["on disk"] == 16 + 4, "one rank has two of three blocks, of 16, 16 and 4"
