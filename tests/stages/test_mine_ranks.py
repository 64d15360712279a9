"""Ranks share the queries of mining, and find what one process finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.mine_on_ranks import mine_into
from helpers.ranks import run_on_cpu_ranks
from recipekit.component import SingleProcess
from recipekit.dataset import Dataset
from recipekit.stages.mine import retrieval

pytestmark = pytest.mark.slow


def test_ranks_share_the_queries_of_local_retrievers_and_find_what_one_process_finds(
    tmp_path: Path, tiny_model: Path, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "BATCH", 4)
    expected = mine_into(tmp_path / "1", tiny_model, tiny_dataset.path, SingleProcess())
    alone = (tmp_path / "1/mined/candidates.arrow").read_bytes()
    for count in (2, 3):
        out = tmp_path / str(count)
        run_on_cpu_ranks(count, "mine_on_ranks", [tiny_model, tiny_dataset.path, out])
        assert (out / "mined/candidates.arrow").read_bytes() == alone
        ranks = [json.loads((out / f"{rank}.json").read_text()) for rank in range(count)]
        assert {**ranks[0]["summary"], "seconds": 0} == {**expected, "seconds": 0}
        searched = [rank["searched"] for rank in ranks]
        # The hybrid searches again with both. 18 queries are searched, 4 for each rank at once.
        shares = {2: [18, 18], 3: [12, 12, 12]}[count]
        assert [one["_ExactRetriever"] for one in searched] == shares
        assert [one["Bm25Retriever"] for one in searched] == shares
        assert [one["Server"] for one in searched] == [18, *[0] * (count - 1)]
