"""The components that docs/plugins.md shows keep the promises of their kind."""

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

import recipekit
from helpers.markdown import ROOT
from helpers.module_from_file import module_from_file
from helpers.tiny_models import static
from recipekit.component import Embeddings, System
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.testing import (
    bind,
    check_encoder,
    check_evaluator,
    check_exporter,
    check_judge,
    check_loss,
    check_phase,
    check_retriever,
    check_source,
    context,
    small_dataset,
)
from recipekit.testing.datasets import WORDS

EXAMPLES = ROOT / "docs" / "examples"


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a file of docs/examples."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return module_from_file(EXAMPLES / f"{name}.py", monkeypatch)


def save_words(folder: Path) -> Path:
    """Save a StaticEmbedding whose vocabulary is the words of the tests' texts."""
    texts = [*WORDS, "how", "to", "the", "take", "it", "start", "stop", "clean", "find", "draw"]
    static([*texts, "How", "To"], folder).save(str(folder))
    return folder


@pytest.mark.parametrize("name", ["prefix_loss", "relative_loss", "simcse", "headings"])
def test_a_wrapping_loss_a_phase_and_a_source_take_at_most_forty_lines(name):
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 40


def test_the_shared_words_retriever_is_conformant(tmp_path, monkeypatch):
    dataset = small_dataset(tmp_path / "dataset")
    shared_words = example("shared_words", monkeypatch)
    check_retriever(shared_words.SharedWordsSpec(), context(tmp_path / "scratch", dataset=dataset))


def test_the_headings_source_is_conformant(tmp_path, monkeypatch):
    headings = example("headings", monkeypatch)
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a.md").write_text(
        "# A\n\n## How to start\n\nPress start.\n\n## How to stop\n\nStop.\n"
    )
    check_source(headings.HeadingsSpec(folder=folder), context(tmp_path / "scratch"))


def test_the_prefix_loss_contains_another_loss_and_is_conformant(tmp_path, monkeypatch):
    prefix_loss = example("prefix_loss", monkeypatch)
    fields = {"inner": {"use": "infonce"}, "dimensions": [2, 4, 8]}
    check_loss(bind(prefix_loss.PrefixLossSpec, fields), context(tmp_path))


@pytest.mark.parametrize(
    "inner",
    [
        {"use": "exact_softmax", "label_smoothing": 0.1},
        {"use": "matryoshka", "loss": {"use": "exact_softmax"}, "dimensions": [8, 4]},
    ],
    ids=lambda inner: inner["use"],
)
def test_the_relative_loss_contains_a_loss_over_the_corpus_and_is_conformant(
    tmp_path, monkeypatch, inner
):
    relative_loss = example("relative_loss", monkeypatch)
    check_loss(bind(relative_loss.RelativeLossSpec, {"inner": inner}), context(tmp_path))


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_the_simcse_phase_is_conformant(tmp_path, tiny_model, monkeypatch):
    simcse = example("simcse", monkeypatch)
    dataset = small_dataset(tmp_path / "dataset")
    encoder = BiEncoderSpec(model=str(tiny_model), precision="fp32").build(context(tmp_path / "e"))
    check_phase(simcse.SimCSESpec(), encoder, context(tmp_path / "scratch", dataset=dataset))


def test_the_word_overlap_judge_is_conformant(tmp_path, monkeypatch):
    word_overlap = example("word_overlap", monkeypatch)
    dataset = small_dataset(tmp_path / "dataset")
    check_judge(word_overlap.WordOverlapSpec(), context(tmp_path / "scratch", dataset=dataset))


def test_the_pairwise_loss_is_conformant(tmp_path, monkeypatch):
    pairwise = example("pairwise", monkeypatch)
    check_loss(pairwise.PairwiseSpec(temperature=0.5), context(tmp_path))


def test_the_prefix_loss_can_contain_the_pairwise_loss(tmp_path, monkeypatch):
    prefix_loss = example("prefix_loss", monkeypatch)
    inner = {"use": f"{EXAMPLES}/pairwise.py:PairwiseSpec", "temperature": 0.5}
    check_loss(
        bind(prefix_loss.PrefixLossSpec, {"inner": inner, "dimensions": [4, 8]}), context(tmp_path)
    )


def test_the_word_vectors_encoder_is_conformant(tmp_path, monkeypatch):
    word_vectors = example("word_vectors", monkeypatch)
    model = save_words(tmp_path / "words")
    check_encoder(word_vectors.WordVectorsSpec(model=model), context(tmp_path / "scratch"))


def test_the_success_evaluator_is_conformant(tmp_path, monkeypatch):
    success, shared_words = (example(name, monkeypatch) for name in ("success", "shared_words"))
    made = context(tmp_path / "scratch", dataset=small_dataset(tmp_path / "dataset"))
    systems = [System("words", lambda: shared_words.SharedWordsSpec().build(made))]
    check_evaluator(success.SuccessSpec(split="test", depth=3), made, systems)


def test_the_vectors_exporter_is_conformant(tmp_path, monkeypatch):
    vectors = example("vectors", monkeypatch)
    dataset = small_dataset(tmp_path / "dataset")

    def embeddings(name: str, side: str, *, weights: str) -> Embeddings:
        assert (name, side, weights) == ("student", "passage", "trained")
        return Embeddings(tmp_path, np.eye(36, dtype=np.float32), "cosine")

    made = context(tmp_path / "scratch", dataset=dataset, embeddings=embeddings)
    card = {"name": "demo", "base_model": "some/model", "metrics": []}
    exporter = bind(vectors.VectorsSpec, {"encoder": "student"})
    check_exporter(exporter, made, {"collect": dataset.path}, card)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_recipe_that_uses_an_example_of_every_kind_runs(tmp_path, monkeypatch):
    for file in filter(Path.is_file, EXAMPLES.iterdir()):
        shutil.copy(file, tmp_path)
    save_words(tmp_path / "words")
    (tmp_path / "pages").mkdir()
    sections = [
        f"## How to {verb} the {name}\n\nTo {verb} the {name}, take it.\n"
        for name in WORDS[:8]
        for verb in ("start", "stop", "clean", "find", "draw")
    ]
    (tmp_path / "pages" / "all.md").write_text("# All\n\n" + "\n".join(sections))

    recipe = yaml.safe_load((EXAMPLES / "all_kinds.yaml").read_text())
    used = {text.split(".py")[0] for text in re.findall(r"\w+\.py", str(recipe))}
    # With vectors from outside, an encoder embeds queries alone, so that no phase trains passages.
    others = {"json_vectors"}
    assert {file.stem for file in EXAMPLES.glob("*.py")} == used | others, "every example is used"

    finished = recipekit.run(tmp_path / "all_kinds.yaml", allow_local_code=True)
    measured = {row["system"]: row["value"] for row in finished.metric_rows}
    assert set(measured) == {"bm25", "untrained", "trained"}
    assert min(measured.values()) > 0
    training = json.loads((finished.path / "stages" / "train" / "training.json").read_text())
    exact = {part["part"]: part["exact_loss"] for part in training["parts"]}
    assert set(exact) == {"", "query 1", "passage 1"}
    assert exact["passage 1"] < exact["query 1"] < exact[""], "both half-phases train"
    folder = finished.path / "stages" / "export" / "vectors"
    ids = json.loads((folder / "ids.json").read_text())
    vectors = np.load(folder / "vectors.npy")
    assert len(vectors) == len(ids) == 40
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-3)
    initial = SentenceTransformer(str(tmp_path / "words"), device="cpu")
    text = "To start the river, take it."
    untrained = initial.encode_document([text], normalize_embeddings=True)[0]
    exported = vectors[ids.index("all.md#0")]
    assert not np.allclose(untrained, exported, atol=1e-3), "the exported weights are trained"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_an_example_is_short(file: Path):
    longest = 80 if file.stem == "word_vectors" else 45  # an encoder has more methods
    assert len(file.read_text().splitlines()) <= longest
