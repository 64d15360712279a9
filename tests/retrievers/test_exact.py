from pathlib import Path

import numpy as np

from recipekit.component import Embeddings, QueryBatch
from recipekit.dataset import Dataset
from recipekit.retrievers.exact import ExactSpec
from recipekit.testing import context


def test_passages_are_ranked_by_inner_product_of_the_named_encoder(
    tmp_path: Path, tiny_dataset: Dataset
):
    random = np.random.default_rng(1)
    matrices = {}
    for side, count in (("query", 24), ("passage", 36)):
        np.save(tmp_path / f"{side}.npy", random.standard_normal((count, 16)).astype(np.float16))
        matrices[side] = np.load(tmp_path / f"{side}.npy", mmap_mode="r")
    requested = []

    def embeddings(name, side):
        requested.append((name, side))
        return Embeddings(tmp_path, matrices[side], similarity="dot")

    retriever = ExactSpec(encoder="teacher", depth=3).build(
        context(tmp_path / "scratch", dataset=tiny_dataset, embeddings=embeddings)
    )
    rows = np.array([5, 2, 23])
    hits = retriever.search(QueryBatch(rows, tiny_dataset.queries.texts(rows)), 3)

    scores = matrices["query"][rows].astype(np.float32) @ matrices["passage"].astype(np.float32).T
    assert requested == [("teacher", "query"), ("teacher", "passage")]
    np.testing.assert_array_equal(hits.rows, np.argsort(-scores, axis=1)[:, :3])
    np.testing.assert_allclose(hits.scores, -np.sort(-scores, axis=1)[:, :3], rtol=1e-6)


def test_importing_the_spec_imports_no_torch(assert_light):
    assert_light("recipekit.retrievers.exact", "torch", "transformers")
