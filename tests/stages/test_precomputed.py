"""An encoder whose vectors of both sides exist already searches, judges and is evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.train_inputs import bind, train_inputs
from recipekit.component import Slot
from recipekit.dataset import Dataset
from recipekit.encoders.precomputed import PrecomputedSpec
from recipekit.errors import ComponentError, DataError, RecipeError, RunError
from recipekit.pipeline.search_run import recipe_encoder
from recipekit.search.similarity import pair_scores
from recipekit.stages.evaluate.evaluate import evaluate
from recipekit.stages.evaluate.section import EvaluateSection
from recipekit.stages.inputs import StageInputs
from recipekit.stages.mine.mine import mine
from recipekit.stages.mine.section import MineSection
from recipekit.stages.recipe import load_recipe
from recipekit.tables import read_table
from recipekit.testing import check_encoder, context

PASSAGES = np.random.default_rng(3).normal(size=(36, 5)).astype(np.float32)
QUERIES = PASSAGES[:24] * 2 + np.random.default_rng(4).normal(size=(24, 5)).astype(np.float32)
"""Vectors of the 24 queries, near those of their only positives."""

Made = Callable[..., StageInputs]


def expected_scores(similarity: str) -> np.ndarray:
    """The scores of all queries and passages, by the definition of the similarity."""
    queries, passages = QUERIES, PASSAGES
    if similarity == "cosine":
        queries, passages = (
            rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, passages)
        )
    return pair_scores(queries[:, None], passages[None], similarity)


@pytest.fixture
def made(tiny_model: Path, tiny_dataset: Dataset, tmp_path: Path) -> Made:
    """`made(query_ids=..., similarity=...)`: inputs with an encoder `old`."""

    def make(
        query_ids: list[str] | None = None,
        similarity: str = "cosine",
        vectors: np.ndarray = QUERIES,
        **keys: Any,
    ) -> StageInputs:
        ids = query_ids or list(tiny_dataset.queries.ids)
        kept = [list(tiny_dataset.queries.ids).index(one) for one in ids]
        np.save(tmp_path / "queries.npy", vectors[kept])
        np.save(tmp_path / "passages.npy", PASSAGES)
        (tmp_path / "ids.txt").write_text("".join(f"{one}\n" for one in ids))
        queries, passages = str(tmp_path / "queries.npy"), str(tmp_path / "passages.npy")
        file = {"use": "vectors_file", "path": queries, "ids": str(tmp_path / "ids.txt"), **keys}
        old = Slot(
            use="precomputed",
            query_vectors=file,
            passage_vectors={"use": "vectors_file", "path": passages, "similarity": similarity},
        )
        inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
        inputs.encoders = {**inputs.encoders, "old": bind(old, "encoder")}
        return inputs

    return make


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_queries_are_compared_as_the_passages_are(made: Made, similarity: str) -> None:
    inputs = made(similarity=similarity)
    queries, passages = (inputs.embeddings("old", side) for side in ("query", "passage"))
    assert queries.similarity == passages.similarity == similarity
    np.testing.assert_allclose(
        pair_scores(queries.matrix[:, None], passages.matrix[None], similarity),
        expected_scores(similarity),
        rtol=1e-5,
        atol=1e-5,
    )


def test_the_queries_that_are_asked_about_need_vectors_alone(
    made: Made, tiny_dataset: Dataset
) -> None:
    test = tiny_dataset.rows("test")
    ids = list(tiny_dataset.queries.ids)
    inputs = made(query_ids=[*(ids[row] for row in test[::-1]), ids[0]], similarity="dot")
    found = inputs.embeddings("old", "query", rows=test)
    np.testing.assert_array_equal(found.take(test), QUERIES[test])
    assert not [event for event in inputs.progress.events if "left out" in str(event)]
    with pytest.raises(DataError) as error:
        inputs.embeddings("old", "query", rows=tiny_dataset.rows("train"))
    named = ", ".join(f"'{one}'" for one in ids[1:4])
    assert str(error.value).startswith(
        f"file queries.npy: 11 of 12 queries have no vector: {named} and 8 more. Add them"
    )
    with pytest.raises(DataError, match="17 of 24 queries have no vector"):
        inputs.embeddings("old", "query")


def test_vectors_of_all_queries_are_read_once(made: Made, tiny_dataset: Dataset) -> None:
    inputs = made(similarity="dot")
    whole = inputs.embeddings("old", "query")
    some = inputs.embeddings("old", "query", rows=tiny_dataset.rows("test"))
    assert whole.path == some.path
    assert some.rows is None
    other = made(similarity="euclidean").embeddings("old", "query")
    assert other.path != whole.path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query_ids": ["q0", "q1", "q0"]}, "several vectors have the same query id: 'q0'"),
        (
            {"vectors": QUERIES[:, :4]},
            "has vectors of 4 dimensions, and those of the passages, file passages.npy, have 5",
        ),
        ({"vectors": QUERIES * np.inf}, "'q0', 'q1', 'q2' and 21 more: the vector has NaN or inf"),
        ({"vectors": QUERIES * 0}, "'q0', 'q1', 'q2' and 21 more: the vector is zero"),
    ],
)
def test_vectors_of_queries_that_cannot_be_used_are_named(
    made: Made, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        made(**options).embeddings("old", "query")


def test_a_source_without_queries_is_named(made: Made) -> None:
    with pytest.raises(ComponentError, match="source 'other' has no queries; there are: "):
        made(source="other").embeddings("old", "query")


def test_it_mines_with_the_vectors_of_the_mined_queries(
    made: Made, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    train = tiny_dataset.rows("train")
    ids = [tiny_dataset.queries.ids[row] for row in train]
    inputs = made(query_ids=ids, similarity="euclidean")
    section = MineSection(
        retrievers={"old": {"use": "exact", "encoder": "old", "depth": 4}}, splits=("train",)
    )
    bind(section.retrievers["old"], "retriever")
    mine(inputs, section, tmp_path)
    table = read_table(tmp_path / "candidates.arrow")
    ranked = np.argsort(-expected_scores("euclidean"), axis=1, kind="stable")[train, :4]
    rows = table.filter(table["rank.old"].is_valid())
    assert rows["query"].to_numpy().reshape(-1, 4)[:, 0].tolist() == train.tolist()
    np.testing.assert_array_equal(rows["passage"].to_numpy().reshape(-1, 4), ranked)


def test_mining_still_encodes_all_queries_for_later_stages(
    made: Made, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    inputs = made()
    section = MineSection(
        retrievers={"dense": {"use": "exact", "encoder": "student", "depth": 4}}, splits=("train",)
    )
    bind(section.retrievers["dense"], "retriever")
    mine(inputs, section, tmp_path)
    found = inputs.embeddings("student", "query", rows=tiny_dataset.rows("test"))
    assert found.rows is None, "mining encoded them"


def test_it_is_a_system_next_to_the_encoder(
    made: Made, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    test = tiny_dataset.rows("test")
    inputs = made(query_ids=[tiny_dataset.queries.ids[row] for row in test], similarity="dot")
    section = EvaluateSection(
        evaluators={"held_out": {"use": "retrieval", "metrics": ["mrr@100"]}},
        baselines={"old": {"use": "exact", "encoder": "old"}},
    )
    bind(section.evaluators["held_out"], "evaluator")
    bind(section.baselines["old"], "retriever")
    (tmp_path / "out").mkdir()
    summary = evaluate(inputs, section, tmp_path / "out")
    assert summary["systems"] == ["old", "untrained"]
    rows = {row["system"]: row for row in json.loads((tmp_path / "out/metrics.json").read_text())}
    scores = expected_scores("dot")
    ranks = [1 + (scores[row] > scores[row, row]).sum() for row in test]
    assert rows["old"]["value"] == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-6)
    # The index is that of the passages: 36 vectors of 5 float32 numbers.
    costs = json.loads((tmp_path / "out/rankings/held_out/efficiency.json").read_text())
    assert costs["old"]["index_bytes"] == 36 * 5 * 4
    assert list(rows["untrained"]["differences"]) == ["old"]


def test_it_embeds_no_text(made: Made) -> None:
    with pytest.raises(ComponentError, match="'precomputed' embeds no text") as error:
        made().encoder("old")
    assert error.value.code == "RK646"


RECIPE = """\
recipe: 1
name: old-alone
encoders:
  old:
    use: precomputed
    query_vectors: {use: vectors_file, path: queries.npy}
    passage_vectors: {use: vectors_file, path: passages.npy}
collect:
  sources: {own: {use: pairs, file: pairs.jsonl}}
evaluate:
  evaluators: {held_out: {use: retrieval}}
  baselines: {old: {use: exact, encoder: old}}
"""


def test_a_recipe_can_measure_it_alone(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    load_recipe(tmp_path / "recipe.yaml")
    with pytest.raises(RunError, match="this recipe has no encoder that embeds texts"):
        recipe_encoder(tmp_path, load_recipe(tmp_path / "recipe.yaml"))
    (tmp_path / "recipe.yaml").write_text(f"{RECIPE}  encoder: old\n")
    with pytest.raises(RecipeError, match=r"embeds no text: measure it as a baseline, `\{use: ex"):
        load_recipe(tmp_path / "recipe.yaml")
    trained = f"{RECIPE}train: {{encoder: old, phases: {{only: {{use: in_batch}}}}}}\n"
    (tmp_path / "recipe.yaml").write_text(trained)
    with pytest.raises(RecipeError, match=r"'old' .* cannot be trained"):
        load_recipe(tmp_path / "recipe.yaml")


def test_an_encoder_that_embeds_no_text_has_vectors_of_both_sides(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec: Any = made().encoders["old"].spec
    check_encoder(spec, context(tmp_path / "check"))
    monkeypatch.setattr(PrecomputedSpec, "stored_queries", lambda self: None)
    with pytest.raises(AssertionError, match=r"stored_queries\(\) and stored_passages\(\) must"):
        check_encoder(spec, context(tmp_path / "check"))
