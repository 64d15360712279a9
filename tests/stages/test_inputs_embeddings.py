"""Stages share embeddings, which are computed once."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.ranks import ThreadRanks
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import Ranks, SingleProcess, Slot
from recipekit.dataset import Dataset
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.registry import resolve
from recipekit.stages.inputs import StageInputs
from recipekit.tables import LABELS, PASSAGES, write_table
from recipekit.testing import RecordingProgress


@pytest.fixture
def make_inputs(
    tiny_model: Path, tiny_dataset: Dataset, tmp_path: Path
) -> Callable[..., StageInputs]:
    """`make_inputs(ranks, **fields)`: the inputs of a stage of a new run, with one cache."""

    def make(ranks: Ranks | None = None, **fields: Any) -> StageInputs:
        slot = Slot(use="bi_encoder")
        slot.bind(
            resolve("encoder", "bi_encoder"),
            BiEncoderSpec(**{"model": str(tiny_model), "precision": "fp32", **fields}),
        )
        collected = Artifact("collect", tiny_dataset.key, tiny_dataset.path)
        return StageInputs(
            recipe_name="test",
            seed=13,
            artifacts={"collect": collected},
            encoders={"student": slot},
            trained=None,
            store=Store(tmp_path / "store"),
            hashes=FileHashes(),
            progress=RecordingProgress(),
            ranks=ranks or SingleProcess(),
        )

    return make


def encoded(inputs: StageInputs) -> int:
    """The number of tables that were encoded."""
    return sum(event["event"] == "encoded" for event in inputs.progress.events)


def test_each_side_is_encoded_once(make_inputs) -> None:
    first, second = make_inputs(), make_inputs(max_tokens_per_batch=77)
    vectors = first.embeddings("student", "passage")
    assert vectors.matrix.shape == (36, 32) and not (vectors.path.parent / "scratch").exists()
    assert second.embeddings("student", "passage").path == vectors.path
    assert (encoded(first), encoded(second)) == (1, 0), (
        "the token budget is not part of the identity"
    )
    used = ("embeddings", vectors.path.parent.name)
    assert second.by_products == [used]
    assert [kind for kind, _ in first.by_products] == ["embeddings", "tokens"]
    assert first.by_products[0] == used


def test_another_prompt_is_another_artifact(make_inputs) -> None:
    plain, prompted = make_inputs(), make_inputs(passage_prompt="river ")
    assert (
        plain.embeddings("student", "passage").path
        != prompted.embeddings("student", "passage").path
    )


def test_labels_do_not_change_the_key_of_embeddings(make_inputs, tiny_dataset, tmp_path) -> None:
    first, made = make_inputs(), []
    vectors = first.embeddings("student", "passage")
    index = first.artifact("bm25", {"k1": 0.9}, made.append)
    relabelled = tmp_path / "relabelled"
    shutil.copytree(tiny_dataset.path, relabelled)
    write_table(relabelled / "labels.arrow", LABELS, [tiny_dataset.labels.slice(1)])
    second = make_inputs()
    second.artifacts = {"collect": Artifact("collect", "another-key", relabelled)}
    assert second.embeddings("student", "passage").path == vectors.path and encoded(second) == 0
    assert second.artifact("bm25", {"k1": 0.9}, made.append) == index and len(made) == 1
    corpora = {inputs.context(tmp_path / "scratch").corpus for inputs in (first, second)}
    assert len(corpora) == 1
    assert second.store.reachable({("bm25", index.name)}) == {("bm25", index.name)}, (
        "it does not refer to a data set"
    )


def test_other_passages_are_encoded_again(make_inputs, tiny_dataset, tmp_path) -> None:
    first, second, made = make_inputs(), make_inputs(), []
    fewer = tmp_path / "fewer"
    shutil.copytree(tiny_dataset.path, fewer)
    write_table(fewer / "passages.arrow", PASSAGES, [tiny_dataset.passages.table.slice(1)])
    second.artifacts = {"collect": Artifact("collect", tiny_dataset.key, fewer)}
    assert first.artifact("bm25", {"k1": 0.9}, made.append) != second.artifact(
        "bm25", {"k1": 0.9}, made.append
    )
    assert first.context(tmp_path / "scratch").corpus != second.context(tmp_path / "scratch").corpus


def test_two_ranks_build_one_artifact_together(make_inputs) -> None:
    barrier, sent, found = threading.Barrier(2, timeout=60), [], {}
    ranks = [
        make_inputs(ThreadRanks(rank=rank, count=2, wait=barrier.wait, sent=sent))
        for rank in range(2)
    ]

    def work(rank: int) -> None:
        found[rank] = [ranks[rank].embeddings("student", "query") for _ in range(2)]

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [encoded(rank) for rank in ranks] == [1, 0], "the main rank logs it once"
    for embeddings in (*found[0], *found[1]):
        np.testing.assert_array_equal(
            embeddings.matrix, make_inputs().embeddings("student", "query").matrix
        )
