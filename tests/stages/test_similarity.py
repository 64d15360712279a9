"""The model's own similarity applies in every stage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from helpers.train_inputs import BOTH_HALVES, IN_BATCH, bind, train_inputs, train_section
from recipekit.component import PairBatch, QueryBatch, Slot
from recipekit.dataset import Dataset
from recipekit.errors import RecipeError, RunError
from recipekit.records import Verdict
from recipekit.stages.evaluate.evaluate import evaluate
from recipekit.stages.evaluate.section import EvaluateSection
from recipekit.stages.recipe import load_recipe
from recipekit.stages.train.train import train

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`models("dot")`: the tiny model without Normalize, stating a similarity."""
    folder = tmp_path_factory.mktemp("models")

    def make(similarity: str) -> Path:
        if not (folder / similarity).is_dir():
            bert = Transformer(str(tiny_model), max_seq_length=64)
            # Without this, the vectors of a random BERT have almost the same length.
            with torch.no_grad():
                bert.model.encoder.layer[-1].output.LayerNorm.weight.mul_(torch.linspace(0, 3, 32))
                bert.model.encoder.layer[-1].output.LayerNorm.bias.copy_(torch.linspace(-1, 1, 32))
            SentenceTransformer(
                modules=[bert, Pooling(32)], device="cpu", similarity_fn_name=similarity
            ).save(str(folder / similarity), create_model_card=False)
        return folder / similarity

    return make


def reference(model: Path, dataset: Dataset) -> np.ndarray:
    """sentence-transformers' own scores of all queries and passages."""
    theirs = SentenceTransformer(str(model), device="cpu")
    queries = theirs.encode(dataset.queries.texts(range(len(dataset.queries))))
    passages = theirs.encode(dataset.passages.texts(range(len(dataset.passages))))
    return theirs.similarity(queries, passages).numpy()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_search_and_the_margin_score_as_sentence_transformers_does(
    similarity: str, models: Callable[[str], Path], tiny_dataset: Dataset, tmp_path: Path
) -> None:
    scores = reference(models(similarity), tiny_dataset)
    context = train_inputs(tmp_path, models(similarity), tiny_dataset).context(tmp_path / "scratch")

    retriever = bind(Slot(use="exact", encoder="student"), "retriever").build(context)
    rows = np.arange(len(tiny_dataset.queries))
    hits = retriever.search(QueryBatch(rows, tiny_dataset.queries.texts(rows)), 5)
    np.testing.assert_allclose(hits.scores, -np.sort(-scores, axis=1)[:, :5], atol=1e-4)
    np.testing.assert_allclose(
        np.take_along_axis(scores, hits.rows, axis=1), hits.scores, atol=1e-4
    )
    assert retriever.counts == {"similarity": similarity}

    margin = bind(
        Slot(use="margin", encoder="student", relative_margin=None, absolute_margin=0.0), "judge"
    ).build(context)
    passage = np.array([0, 1, 2, 3], np.int32)
    batch = PairBatch(
        np.zeros(4, np.int32), passage, passage == 0, np.full(4, Verdict.UNJUDGED), passage > 0
    )
    [verdicts] = margin.judge([batch])
    np.testing.assert_allclose(
        verdicts.confidence, np.abs(scores[0, 1:4] - scores[0, 0]), atol=1e-4
    )
    assert margin.counts == {"similarity": similarity}


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_evaluation_ranks_by_the_models_similarity_and_says_so(
    similarity: str, models: Callable[[str], Path], tiny_dataset: Dataset, tmp_path: Path
) -> None:
    inputs = train_inputs(tmp_path, models(similarity), tiny_dataset)
    trained = tmp_path / "trained"
    section = EvaluateSection(
        evaluators={"held_out": {"use": "retrieval", "metrics": ["mrr@100"]}}, baselines={}
    )
    bind(section.evaluators["held_out"], "evaluator")
    (tmp_path / "out").mkdir()
    summary = evaluate(inputs, section, tmp_path / "out")
    assert summary["similarity"] == {"untrained": similarity}
    scores = reference(models(similarity), tiny_dataset)
    ranks = [1 + (scores[row] > scores[row, row]).sum() for row in tiny_dataset.rows("test")]
    [row] = json.loads((tmp_path / "out/metrics.json").read_text())
    assert row["value"] == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-6)
    assert not trained.exists()


def test_a_cosine_model_is_trained_on_cosines_and_saved_with_its_normalization(
    models: Callable[[str], Path], tiny_dataset: Dataset, tmp_path: Path
) -> None:
    weights = {}
    for name, fields in (("stated", {}), ("asked", {"similarity": "cosine"})):
        model = models("cosine" if name == "stated" else "dot")
        inputs = train_inputs(tmp_path / name, model, tiny_dataset, **fields)
        (tmp_path / name / "out").mkdir(parents=True)
        summary = train(inputs, train_section(), tmp_path / name / "out")
        assert summary["similarity"] == "cosine"
        saved = SentenceTransformer(str(tmp_path / name / "out/encoder"), device="cpu")
        assert saved.similarity_fn_name == "cosine"
        weights[name] = saved.encode(["river mountain", "violin"])
    np.testing.assert_array_equal(weights["stated"], weights["asked"])
    np.testing.assert_allclose(np.linalg.norm(weights["stated"], axis=1), 1, atol=1e-6)


EUCLIDEAN = {"temperature": 2.0}
MATRYOSHKA = {"use": "matryoshka", "dimensions": [32, 8]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "phase",
    [
        {**BOTH_HALVES, "loss": {"use": "exact_softmax", **EUCLIDEAN}},
        {**BOTH_HALVES, "loss": {**MATRYOSHKA, "loss": {"use": "exact_softmax", **EUCLIDEAN}}},
        {**IN_BATCH, "epochs": 6, "loss": {"use": "infonce", "directions": "both", **EUCLIDEAN}},
    ],
    ids=["both-halves", "matryoshka", "in-batch"],
)
def test_a_euclidean_model_is_trained_and_saved_as_one(
    phase: dict[str, Any], models: Callable[[str], Path], tiny_dataset: Dataset, tmp_path: Path
) -> None:
    inputs = train_inputs(tmp_path, models("euclidean"), tiny_dataset)
    section = train_section(phase, learning_rate=3e-3, keep_weights="last")
    summary = train(inputs, section, tmp_path / "out")
    assert summary["similarity"] == "euclidean"
    saved = SentenceTransformer(str(tmp_path / "out/encoder"), device="cpu")
    assert saved.similarity_fn_name == "euclidean"
    lengths = np.linalg.norm(saved.encode(["river mountain", "violin"]), axis=1)
    assert not np.allclose(lengths, 1, atol=1e-3)

    def loss_of(model: Path) -> float:
        """The mean of -log softmax over the passages, of the train queries' own passages."""
        scores = torch.from_numpy(reference(model, tiny_dataset)[tiny_dataset.rows("train")])
        scores = -scores.square() / (2 * EUCLIDEAN["temperature"])
        own = torch.from_numpy(tiny_dataset.rows("train"))
        return float(torch.nn.functional.cross_entropy(scores, own))

    assert loss_of(tmp_path / "out/encoder") < 0.7 * loss_of(models("euclidean"))


@pytest.mark.parametrize("phase", [None, IN_BATCH])
def test_a_loss_refuses_a_similarity_that_it_cannot_train(
    phase: dict[str, Any] | None,
    models: Callable[[str], Path],
    tiny_dataset: Dataset,
    tmp_path: Path,
) -> None:
    inputs = train_inputs(tmp_path, models("manhattan"), tiny_dataset)
    use = "infonce" if phase else "exact_softmax"
    message = (
        f"'{use}' compares by cosine, dot or euclidean, but the similarity of the trained encoder "
        "is manhattan: set `similarity: cosine` for the encoder, or use another loss"
    )
    with pytest.raises(RunError) as raised:
        train(inputs, train_section(*([phase] if phase else [])), tmp_path)
    assert raised.value.message == message
    assert not list(tmp_path.glob("encoder"))


def test_validate_refuses_it_if_the_models_files_are_here(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(models("manhattan"), tmp_path / "model")
    recipe = """\
recipe: 1
name: refused
encoders:
  student: {use: bi_encoder, model: ./model}
collect:
  sources: {own: {use: pairs, file: pairs.jsonl}}
train:
  phases: {only: {use: in_batch}}
"""
    (tmp_path / "recipe.yaml").write_text(recipe)
    with pytest.raises(RecipeError, match="compares by cosine, dot or euclidean, but"):
        load_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_text(
        recipe.replace("model: ./model", "model: ./model, similarity: dot")
    )
    assert load_recipe(tmp_path / "recipe.yaml").encoders["student"].spec.known_similarity() == (
        "dot"
    )
