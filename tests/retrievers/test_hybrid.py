"""Several retrievers fused into one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recipekit.component import Hits, QueryBatch, Sizes, Slot
from recipekit.dataset import Dataset
from recipekit.registry import load, resolve
from recipekit.retrievers.hybrid import HybridSpec
from recipekit.testing import check_retriever, context


def slot(use: str, **fields: Any) -> Slot[Any]:
    bound, entry = Slot(use=use, **fields), resolve("retriever", use)
    bound.bind(entry, load(entry).model_validate(fields))
    return bound


def hybrid(**fields: Any) -> HybridSpec:
    lists = {"lexical": slot("bm25", depth=4), "again": slot("bm25", k1=2.0, b=0.9, depth=30)}
    return HybridSpec.model_construct(
        **{**HybridSpec.model_validate({"retrievers": {"a": {"use": "x"}, "b": {"use": "x"}}})
        .__dict__, "retrievers": lists, **fields}
    )  # fmt: skip


def test_it_keeps_the_promises_of_a_retriever(tiny_dataset: Dataset, tmp_path: Path):
    check_retriever(hybrid(), context(tmp_path, dataset=tiny_dataset))


@pytest.mark.parametrize("weights", [{}, {"again": 3.0}])
def test_rankings_are_fused_by_reciprocal_rank(
    tiny_dataset: Dataset, tmp_path: Path, weights: dict[str, float]
):
    made = context(tmp_path, dataset=tiny_dataset)
    spec = hybrid(fusion_weights=weights)
    rows = np.array([0, 5, 17])
    batch = QueryBatch(rows, tiny_dataset.queries.texts(rows))
    found = spec.build(made).search(batch, 6)

    lists: dict[str, Hits] = {
        name: each.build(made).search(batch, max(6, each.spec.depth))
        for name, each in spec.retrievers.items()
    }
    for query in range(3):
        scores: dict[int, float] = {}
        for name, hits in lists.items():
            for rank, passage in enumerate(hits.rows[query].tolist(), start=1):
                if passage >= 0:
                    points = weights.get(name, 1.0) / (60 + rank)
                    scores[passage] = scores.get(passage, 0.0) + points
        expected = sorted(scores, key=lambda passage: (-np.float32(scores[passage]), passage))[:6]
        kept = found.rows[query][found.rows[query] >= 0]
        assert kept.tolist() == expected
        assert np.allclose(found.scores[query][: len(kept)], [scores[p] for p in expected])


def test_one_retriever_is_no_hybrid_and_weights_have_a_retriever():
    with pytest.raises(ValidationError, match="at least 2 items"):
        HybridSpec.model_validate({"retrievers": {"a": {"use": "bm25"}}})
    both = {"a": {"use": "bm25"}, "b": {"use": "bm25"}}
    with pytest.raises(ValidationError, match=r"no retriever 'c' \(there are: a, b\)"):
        HybridSpec.model_validate({"retrievers": both, "fusion_weights": {"c": 2}})


def test_its_estimate_is_that_of_its_retrievers_together():
    sizes = Sizes({"test": 10}, 1000, ["a query"], ["a passage of some length"])
    one = slot("bm25").spec.estimate(sizes, 0)["bytes of index"]
    assert hybrid().estimate(sizes, 0) == {"bytes of index": 2 * one}


def test_importing_the_spec_imports_nothing_heavy(assert_light):
    assert_light("recipekit.retrievers.hybrid", "torch", "numpy", "pyarrow")
