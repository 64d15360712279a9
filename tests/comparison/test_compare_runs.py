"""`recipekit compare` on a run, its starting model, and variants of their vectors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipekit.cli.main import invoke
from recipekit.encoding import embed, embed_texts

Compared = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]


def value(found: dict[str, Any], model: str, metric: str = "ndcg@10") -> float:
    rows = [r for r in found["figures"] if (r["system"], r["metric"]) == (model, metric)]
    (row,) = rows
    return row["value"]


def without_search_time(model: dict[str, Any]) -> dict[str, Any]:
    assert model["efficiency"].pop("search_ms_per_query") > 0
    return model


def test_a_run_is_compared_with_its_starting_model_and_nothing_is_encoded_twice(
    project: Path, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("tiny:before", "tiny", "tiny:dimensions=8", "tiny:precision=int8")
    found = compared(*arguments)
    published = json.loads(next(project.glob("runs/tiny/2*/metrics.json")).read_text())
    names = {"untrained": "tiny before", "trained": "tiny"}
    assert len(published) == 2 * 4
    for row in published:
        mine = value(found, names[row["system"]], row["metric"])
        assert mine == pytest.approx(row["value"], abs=1e-6)

    sizes = {model["name"]: model for model in found["models"]}
    assert list(sizes) == ["tiny before", "tiny", "tiny first-8", "tiny int8"]
    costs = {name: model["efficiency"] for name, model in sizes.items()}
    assert [each["bytes_per_vector"] for each in costs.values()] == [128, 128, 32, 32]
    assert costs["tiny int8"]["index_bytes"] == 60 * 32
    assert sizes["tiny"]["max_length"] == 32
    assert costs["tiny"]["passages_per_second"] > 0
    assert costs["tiny"]["precision"] == "fp32"

    tests = found["differences"]
    assert len(tests) == 3 * 4, "three models, two metrics of each evaluator"
    for test in tests:
        assert test["low"] <= test["difference"] <= test["high"]
        assert test["p_value"] <= test["p_adjusted"] <= 1
    assert {query["model"] for query in found["queries"]} <= {"tiny", "tiny first-8", "tiny int8"}

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("something is encoded again")

    monkeypatch.setattr(embed, "embed_table", refuse)
    monkeypatch.setattr(embed_texts, "embed_texts", refuse)
    monkeypatch.setattr("recipekit.comparison.efficiency.embed_texts", refuse)
    again = compared(*arguments)
    assert again["figures"] == found["figures"]
    assert [without_search_time(model) for model in again["models"]] == [
        without_search_time(model) for model in found["models"]
    ]


def test_cut_vectors_rank_as_truncate_dim_of_sentence_transformers(
    project: Path, compared: Compared
) -> None:
    from sentence_transformers import SentenceTransformer

    found = compared("tiny", "tiny:dimensions=8")
    encoder = next(project.glob("runs/tiny/2*")) / "stages" / "train" / "encoder"
    model = SentenceTransformer(str(encoder), truncate_dim=8, device="cpu")
    searched = [query for query in found["queries"] if query["evaluator"] == "held_out"]
    for query in searched:
        texts = [passage["text"] for passage in query["passages"]]
        vectors = model.encode_document(texts, normalize_embeddings=True)
        scores = vectors @ model.encode_query([query["query"]], normalize_embeddings=True)[0]
        assert np.all(np.diff(scores) <= 1e-5), "the passages are in the order of their scores"
    assert searched


def test_terminal_and_page_show_words_for_verdicts(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "tiny:before", "tiny", "tiny:precision=binary", "--cpu", "-o", "a/b.html"]
    assert invoke(command) == 0
    printed = capsys.readouterr().out
    assert "against tiny before:" in printed
    assert "tiny binary" in printed
    assert "page: a/b.html" in printed
    page = (project / "a" / "b.html").read_text()
    assert page.count("<svg") == 5, "values of two evaluators; speed, dimensions and bytes"
    assert "not significant" in page
    assert "Lost most by tiny binary" in page
    assert str(project) not in page


def test_runs_with_other_data_need_a_choice(
    project: Path, words: list[str], refused: Refused, compared: Compared
) -> None:
    text = (project / "recipe.yaml").read_text()
    lines = (project / "pairs.jsonl").read_text().splitlines(keepends=True)
    (project / "pairs.jsonl").write_text("".join(lines[:-2]))
    (project / "other.yaml").write_text(text.replace("name: tiny", "name: other"))
    assert invoke(["run", "other.yaml", "--cpu", "--quiet", "--until", "collect"]) == 0
    assert refused("tiny", "other:before") == (
        "runs/other/latest and runs/tiny/latest have different data: choose what is measured, with "
        "--recipe or --on [RK675]"
    )
    found = compared("tiny", "other:before", "--recipe", "other.yaml")
    assert [model["name"] for model in found["models"]] == ["tiny", "other before"]
    assert {row["queries"] for row in found["figures"] if row["evaluator"] == "held_out"} == {28}


def test_a_damaged_run_is_named(project: Path, refused: Refused) -> None:
    run = next(project.glob("runs/tiny/2*"))
    link = run / "stages" / "train"
    artifact = link.resolve()
    artifact.rename(artifact.with_name("gone"))
    assert refused("tiny:before", "tiny") == (
        "runs/tiny/latest/stages/train: the artifact is no longer in the cache; run the recipe "
        "again [RK628]"
    )
    (run / "run.json").write_text("{")
    assert "run.json: damaged" in refused("tiny:before", "tiny")
