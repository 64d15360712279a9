"""`recipekit search`: a run's passages, before and after training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from helpers.in_process import call_in_process

pytestmark = pytest.mark.slow


def pairs(folder: Path) -> list[dict[str, str]]:
    """The pairs of the recipe's data."""
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]


def searched(folder: Path, *arguments: str, queries: str = "") -> list[dict[str, Any]]:
    """What `recipekit search --json` prints."""
    ended = call_in_process(folder, "search", *arguments, "--json", stdin=queries)
    assert "encode" not in ended.stderr  # the embeddings of the run are used
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_scores_are_those_of_the_exported_model(finished_copy: Path, tiny_model: Path) -> None:
    texts = [pair["positive"] for pair in pairs(finished_copy)]
    query = "river mountain unheard"
    # Without dev evaluation, the last weights are kept, which differ from the first.
    call_in_process(finished_copy, "run", "recipe.yaml", "--set", "train.eval_every_epochs=null")
    (result,) = searched(finished_copy, "tiny", query, "--k", "5")
    assert not result["labelled"]
    assert list(result["systems"]) == ["before training", "after training"]
    before, after = result["systems"].values()
    assert [hit["score"] for hit in before] != [hit["score"] for hit in after]
    assert not result["kept_initial"]
    exported = finished_copy / "runs/tiny/latest/stages/export/model"
    for system, model in (("before training", tiny_model), ("after training", exported)):
        loaded = SentenceTransformer(str(model), device="cpu")
        loaded.max_seq_length = 32
        scores = loaded.similarity(loaded.encode_query([query]), loaded.encode_document(texts))[0]
        found = result["systems"][system]
        best = np.sort(scores.numpy())[::-1][:5]
        np.testing.assert_allclose([hit["score"] for hit in found], best, atol=1e-5)
        for hit in found:
            assert hit["score"] == pytest.approx(float(scores[texts.index(hit["text"])]), abs=1e-5)
            assert hit["label"] == ""


def test_one_argument_that_is_no_run_is_a_query_for_recipe_yaml(finished_copy: Path) -> None:
    (result,) = searched(finished_copy, "river mountain", "--k", "1")
    assert result["query"] == "river mountain"
    (result,) = searched(finished_copy, "--k", "1", queries="river\n")
    assert result["query"] == "river"
    ended = call_in_process(finished_copy, "search", "other.yaml", status=2)
    assert "no run 'other.yaml'" in ended.stderr


def test_labels_are_shown_for_a_query_of_the_data(finished_copy: Path) -> None:
    pair = pairs(finished_copy)[0]
    (result,) = searched(finished_copy, "recipe.yaml", pair["query"], "--k", "80")
    assert result["labelled"]
    for found in result["systems"].values():
        assert len(found) == 80
        labels = {hit["text"]: hit["label"] for hit in found}
        assert labels[pair["positive"]] == "positive"
        assert set(labels.values()) <= {"positive", "negative", "ignore", ""}


def test_queries_are_read_from_stdin_line_by_line(finished_copy: Path) -> None:
    results = searched(finished_copy, "tiny", "--k", "1", queries="river\n\n  ocean \nriver\n")
    assert [result["query"] for result in results] == ["river", "ocean", "river"]
    assert results[0] == results[2]


def test_tables_fit_a_line_and_name_both_systems(finished_copy: Path) -> None:
    printed = call_in_process(finished_copy, "search", "tiny", "river mountain", "--k", "3").stdout
    lines = printed.splitlines()
    titles = [line for line in lines if line.endswith(" training")]
    assert titles == ["Before training", "After training"]
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith(("1 ", "2 ", "3 ")) for line in lines) == 6


def test_untrained_weights_that_were_kept_are_stated(finished_copy: Path) -> None:
    note = "Both are equal: training did not improve the dev metric"
    training = finished_copy / "runs/tiny/latest/stages/train/training.json"
    values = json.loads(training.read_text())
    for kept_step in (0, 7):
        values["dev"]["summary"]["kept_step"] = kept_step
        training.write_text(json.dumps(values))
        printed = call_in_process(finished_copy, "search", "tiny", "river", "--k", "1").stdout
        assert (note in printed) == (kept_step == 0)


def test_what_cannot_be_searched_is_one_line(finished_copy: Path) -> None:
    def error(*arguments: str, status: int = 1) -> str:
        ended = call_in_process(finished_copy, "search", *arguments, status=status)
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        return ended.stderr

    assert "the query is empty" in error("tiny", " ")
    assert error("nobody", "river", status=2).startswith("no run 'nobody'")
    next((finished_copy / ".recipekit/cache/train").glob("*/manifest.json")).unlink()
    assert "stages/train: the artifact is no longer in the cache" in error("tiny", "river")
