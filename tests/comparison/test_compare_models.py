"""Models with other prompts, similarities and modules, each measured by its own rules."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from comparison.conftest import write_pairs
from helpers.tiny_models import write_tiny_model

Compared = Callable[..., dict[str, Any]]


@pytest.mark.slow
def test_each_model_has_its_own_prompts_and_similarity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], compared: Compared
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"query": f"{a} {b}", "positive": f"{b} {c} {a}"}
        for a, b, c in zip(words, words[7:], words[13:], strict=False)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = write_tiny_model("bert", words, tmp_path / "plain")
    dense = write_tiny_model("t5", words, tmp_path / "dense")
    for folder, similarity in ((plain, "euclidean"), (dense, "dot")):
        file = folder / "config_sentence_transformers.json"
        config = json.loads(file.read_text())
        config["similarity_fn_name"] = similarity
        config["prompts"] = {"query": f"{words[0]} ", "document": f"{words[1]} "}
        file.write_text(json.dumps(config))
    (plain / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    command = ("./plain/model:precision=fp32", "./dense/model:precision=fp32")
    found = compared(*command, "--on", "pairs.jsonl", "--metric", "mrr@10")

    queries, passages = [row["query"] for row in rows], [row["positive"] for row in rows]
    for folder, facts in zip((plain, dense), found["models"], strict=True):
        model = SentenceTransformer(str(folder), device="cpu")
        vectors = model.encode_query(queries), model.encode_document(passages)
        scores = np.asarray(model.similarity(*vectors))
        own = np.diag(scores)[:, None]
        ranks = 1 + (scores > own).sum(axis=1)
        expected = np.where(ranks <= 10, 1 / ranks, 0).mean()
        (row,) = [row for row in found["figures"] if row["system"] == facts["name"]]
        assert row["value"] == pytest.approx(expected, abs=0.01)
        assert facts["similarity"] == model.similarity_fn_name
        assert facts["efficiency"]["dimension"] == model.get_embedding_dimension()
    assert [facts["licence"] for facts in found["models"]] == ["mit", None]
    assert found["measured"] == "retrieval on pairs.jsonl"


@pytest.mark.slow
def test_a_cached_model_of_the_hub_needs_no_network(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: Compared
) -> None:
    from huggingface_hub import constants

    commit = "a" * 40
    folder = tmp_path / "hub" / "models--owner--tiny"
    shutil.copytree(tiny_model, folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    rows = [{"query": f"river {n}", "positive": f"{n} moon"} for n in range(9)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = compared("owner/tiny", f"owner/tiny:revision={commit}", "--on", "pairs.jsonl")
    names = ["tiny", f"tiny revision={commit}"]
    assert [model["name"] for model in found["models"]] == names
    assert {test["difference"] for test in found["differences"]} == {0.0}
    assert {test["p_adjusted"] for test in found["differences"]} == {1.0}


@pytest.mark.slow
def test_the_command_ends_without_messages_of_libraries(
    tiny_model: Path, tmp_path: Path, words: list[str]
) -> None:
    write_pairs(tmp_path / "pairs.jsonl", words, seed=5)
    compared = ["bm25", str(tiny_model), "--on", "pairs.jsonl"]
    command = [sys.executable, "-m", "recipekit", "compare", *compared]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr
