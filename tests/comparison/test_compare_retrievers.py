"""`recipekit compare` with retrievers: plain BM25, and those of a recipe."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from recipekit.comparison.arguments import parse_argument
from recipekit.comparison.retrievers import RetrieverOwner, retriever_of
from recipekit.stages.recipe import load_recipe

Compared = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

DENSE = {"use": "exact", "encoder": "student"}
RECIPE: dict[str, Any] = {
    "recipe": 1,
    "name": "both",
    "encoders": {"student": {"use": "bi_encoder", "model": "owner/any"}},
    "collect": {"sources": {"own": {"use": "python_code"}}},
    "mine": {"retrievers": {"lexical": {"use": "bm25", "k1": 2.0}, "dense": DENSE}},
    "evaluate": {
        "evaluators": {"test": {"use": "retrieval"}},
        "baselines": {"bm25": {"use": "bm25", "k1": 0.5}, "lexical": {"use": "bm25", "k1": 0.6}},
    },
}


def test_a_recipe_names_baselines_before_retrievers_of_mining() -> None:
    owner = RetrieverOwner(load_recipe(RECIPE))
    k1 = {name: getattr(slot.spec, "k1", None) for name, slot in owner.retrievers().items()}
    assert k1 == {"bm25": 0.5, "lexical": 0.6, "dense": None}
    for text, value in (("bm25", 0.5), ("bm25:k1=1.2", 1.2), ("lexical:b=1", 0.6)):
        found = retriever_of(parse_argument(text), [owner])
        assert found is not None and found.slot.spec.k1 == value
    plain = retriever_of(parse_argument("bm25"), [])
    assert plain is not None and plain.slot.spec.k1 == 0.9
    assert retriever_of(parse_argument("lexical"), []) is None


@pytest.fixture
def pairs(tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of pairs in the current folder."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"query": f"{first} {second}", "positive": f"the {first} of {second} {first}"}
        for first, second in pairwise(words)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_bm25_is_compared_with_other_settings_of_it(pairs: Path, compared: Compared) -> None:
    found = compared("bm25", "bm25:k1=0,b=0", "--on", pairs.name, "--metric", "mrr@10")
    assert [model["name"] for model in found["models"]] == ["bm25", "bm25 k1=0 b=0"]
    for model in found["models"]:
        known = {key: value for key, value in model["efficiency"].items() if value is not None}
        assert set(known) == {"index_bytes", "search_ms_per_query"}
        assert (model["what"], model["vectors"]) == ("retriever", None)
    (test,) = found["differences"]
    assert (test["reference"], test["verdict"]) == ("bm25", "not significant")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("bm26", "and a model on the Hub is named OWNER/NAME. Did you mean 'bm25'? [RK672]"),
        ("bm25:k1=no", "bm25:k1=no: k1: Input should be a valid number"),
        ("bm25:k1=-1", "k1: Input should be greater than or equal to 0 [RK673]"),
        ("bm25:precision=int8", "'bm25' is a retriever of a recipe, whose vectors and weights"),
        ("bm25:before", "'bm25' is a retriever of a recipe"),
        ("bm25:k=1", "unknown option 'k'"),
    ],
)
def test_a_wrong_retriever_is_named(
    pairs: Path, refused: Refused, argument: str, message: str
) -> None:
    assert message in refused("bm25:b=1", argument, "--on", pairs.name)


def test_columns_that_cannot_be_guessed_are_named_with_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("a,b,c\nsome words,more words,other words\n")
    assert refused("bm25", "bm25:b=1", "--on", "x.csv") == (
        "x.csv: cannot tell which column holds the queries and which the passages that answer "
        "them; columns: a, b, c; use --recipe RECIPE, a recipe that names the columns, in place "
        "of --on [RK305]"
    )
    assert refused("bm25", "bm25:b=1", "--on", ".") == (
        ".: is a folder with neither corpus.jsonl (BEIR layout) nor Python files; to use one of "
        "its files: --on x.csv [RK302]"
    )


def test_a_folder_without_a_model_is_named(pairs: Path, refused: Refused) -> None:
    (pairs.parent / "notes").mkdir()
    message = (
        "notes: contains neither a model (modules.json or config.json), nor a run (run.json), "
    )
    assert refused("bm25", "notes", "--on", pairs.name).startswith(message)
    assert refused("bm25", "./notes", "--on", pairs.name).startswith(f"./{message}")


def test_a_retriever_needs_an_evaluator_that_searches(tmp_path: Path, refused: Refused) -> None:
    trained = {"use": "exact", "encoder": "trained"}
    phases = {"p": {"use": "in_batch", "loss": {"use": "infonce"}, "epochs": 1}}
    recipe = {**RECIPE, "train": {"phases": phases}, "evaluate": {
        "evaluators": {"test": {"use": "retrieval"}}, "baselines": {"after": trained}}}  # fmt: skip
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe))
    assert refused("bm25", "after", "--recipe", str(file)) == (
        "after: this retriever searches with the trained encoder of recipe 'both': compare it with "
        "a run of the recipe [RK672]"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_retrievers_of_a_run_are_compared_with_its_model(
    project: Path, compared: Compared, refused: Refused
) -> None:
    recipe = next(project.glob("runs/tiny/2*/recipe.resolved.yaml"))
    hybrid = (
        "{fused: {use: hybrid, retrievers: {a: {use: bm25}, b: {use: exact, encoder: trained}}}}"
    )
    recipe.write_text(recipe.read_text().replace("baselines: {}", f"baselines: {hybrid}"))
    found = compared("bm25", "tiny", "fused", "tiny:before")
    same = compared("bm25", "tiny", "fused", "tiny:before", "--recipe", str(recipe))
    assert same["figures"] == found["figures"]

    assert [model["name"] for model in found["models"]] == ["bm25", "tiny", "fused", "tiny before"]
    costs = {model["name"]: model["efficiency"] for model in found["models"]}
    assert costs["fused"]["index_bytes"] == (
        costs["bm25"]["index_bytes"] + costs["tiny"]["index_bytes"]
    )
    assert costs["bm25"]["dimension"] is costs["fused"]["parameters"] is None
    by_evaluator = {(test["evaluator"], test["model"]) for test in found["differences"]}
    assert by_evaluator == {("held_out", name) for name in ("tiny", "fused", "tiny before")}
    assert {row["system"] for row in found["figures"] if row["evaluator"] == "scored"} == {
        "tiny",
        "tiny before",
    }
    assert "regression" not in {test["verdict"] for test in found["differences"]}
    assert refused("tiny:k1=2", "bm25").startswith(
        "tiny:k1=2: 'k1' is an option of the retriever bm25"
    )
