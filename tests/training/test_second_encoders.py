"""`in_batch` with a guide or a teacher, on texts, against the library's own classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as library
from sentence_transformers.sentence_transformer.modules import Dense, Normalize

from helpers.killed import KilledAfter
from helpers.teachers import with_negatives
from helpers.train_inputs import train_inputs, train_section
from recipekit.component import ExampleForm
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.phases.in_batch import InBatchSpec
from recipekit.records import Verdict
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.train import train
from recipekit.tables import CANDIDATES, JUDGMENTS
from recipekit.testing import RecordingProgress, bind, check_phase
from recipekit.testing.phases import training_context
from recipekit.training.example_batches import ExampleEpochs
from recipekit.training.in_batch import InBatchExamples
from recipekit.training.labels import LabelSelection, training_labels


@pytest.fixture(scope="module")
def guide(tiny_model: Path, tmp_path_factory) -> Path:
    """The tiny model with other weights and a Dense layer to 24 dimensions."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    torch.manual_seed(3)
    modules = [model[0], model[1], Dense(32, 24), Normalize()]
    guide = SentenceTransformer(modules=modules, device="cpu")
    with torch.no_grad():
        for parameter in guide.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("guide")
    guide.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="module")
def teacher(tiny_model: Path, tmp_path_factory) -> Path:
    """The tiny model with other weights, and 32 dimensions."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("teacher")
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def dataset(make_dataset, words) -> Dataset:
    """8 queries with a positive and two source negatives each."""
    return with_negatives(make_dataset, words, steps=(3, 4))


def phase(inputs: StageInputs, folder: Path, *, decided: bool = True, **fields: Any):
    """The phase over 4 queries a step, with or without a decision about its hard negatives."""
    loss = {"use": "sentence_transformers", **fields.pop("loss")}
    spec = bind(InBatchSpec, {"batch_size": 4, "loss": loss, **fields})
    context = training_context(spec, inputs.encoder("student"), inputs.context(folder))
    labels = context.training.labels
    if not decided:
        undecided = np.zeros(len(labels.negative), dtype=np.bool_)
        labels = replace(labels, is_decided=undecided)
    return spec.build(replace(context, _training=replace(context.training, labels=labels)))


def columns(dataset: Dataset, phase: InBatchExamples) -> list[list[str]]:
    """The texts of step 0, as the columns of the library's data set."""
    batch, _ = phase.examples.at(0)
    query = phase.training.labels.queries[batch.queries][batch.examples.query.numpy()]
    passage = batch.passages[batch.examples.passage.numpy()]
    found = [list(dataset.passages.column("text", column)) for column in passage.T]
    return [list(dataset.queries.column("text", query)), *found]


def assert_equal_gradients(encoder: torch.nn.Module, model: SentenceTransformer) -> None:
    """Compare the gradients of all weights, which both register in the same order."""
    ours, theirs = (
        [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        for module in (encoder, model)
    )
    assert len(ours) == len(theirs) > 30
    for own, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("max_tokens_per_batch", [512, 24])
@pytest.mark.parametrize("num_hard_negatives", [0, 1])
def test_gist_equals_the_librarys_class_on_the_same_texts(
    dataset, tiny_model, guide, tmp_path, num_hard_negatives, max_tokens_per_batch
):
    inputs = train_inputs(tmp_path, tiny_model, dataset, models={"large": guide})
    built = phase(
        inputs,
        tmp_path / "scratch",
        decided=False,
        num_hard_negatives=num_hard_negatives,
        loss={"loss": "GISTEmbedLoss", "guide": "large", "options": {"temperature": 0.2}},
    )
    built.training.forward.max_tokens_per_batch = max_tokens_per_batch
    result = built.gradient(0)
    model, large = (
        SentenceTransformer(str(folder), device="cpu") for folder in (tiny_model, guide)
    )
    theirs = library.GISTEmbedLoss(model, large, temperature=0.2)
    texts = columns(dataset, built)
    expected = theirs([model.preprocess(column) for column in texts], None)
    expected.backward()
    assert float(result.loss) == pytest.approx(expected.item(), rel=1e-5)
    assert_equal_gradients(inputs.encoder("student"), model)
    unguided = library.GISTEmbedLoss(model, large, temperature=0.2, margin=-3.0)
    assert unguided([model.preprocess(column) for column in texts], None) != expected


def test_judged_negatives_stay_although_the_guide_would_leave_them_out(
    dataset, tiny_model, guide, tmp_path
):
    losses = {}
    for decided in (True, False):
        inputs = train_inputs(tmp_path, tiny_model, dataset, models={"large": guide})
        options = {"temperature": 1.0, "margin": 2.0}  # above every similarity
        built = phase(
            inputs,
            tmp_path / str(decided),
            decided=decided,
            loss={"loss": "GISTEmbedLoss", "guide": "large", "options": options},
        )
        losses[decided] = float(built.gradient(0).loss)
        batch, _ = built.examples.at(0)
        stay = built.examples.decided_negatives(batch)
        own = stay[batch.examples.query.numpy(), batch.examples.passage.numpy()[:, 1]]
        assert own.all() if decided else not own.any()
    assert losses[False] == pytest.approx(0, abs=1e-6) and losses[True] > 0.1


@pytest.mark.parametrize("targets_from", ["each_text", "query"])
def test_distillation_equals_the_librarys_class_on_the_same_texts(
    dataset, tiny_model, teacher, tmp_path, targets_from
):
    progress = RecordingProgress()
    inputs = train_inputs(
        tmp_path, tiny_model, dataset, models={"large": teacher}, progress=progress
    )
    loss = {"loss": "MSELoss", "teacher": "large", "targets_from": targets_from}
    negatives = 2 if targets_from == "each_text" else 0
    built = phase(inputs, tmp_path / "scratch", num_hard_negatives=negatives, loss=loss)
    result = built.gradient(0)
    model, large = (
        SentenceTransformer(str(folder), device="cpu") for folder in (tiny_model, teacher)
    )
    texts = columns(dataset, built)
    targets = torch.stack([large.encode(column, convert_to_tensor=True) for column in texts], 1)
    labels = targets if targets_from == "each_text" else targets[:, 0]
    expected = library.MSELoss(model)([model.preprocess(column) for column in texts], labels)
    expected.backward()
    assert float(result.loss) == pytest.approx(expected.item(), rel=1e-4)
    assert_equal_gradients(inputs.encoder("student"), model)
    embedded = [event["side"] for event in progress.events if event["event"] == "encoded"]
    assert embedded == (["query", "passage"] if targets_from == "each_text" else ["query"])


def test_the_passages_that_training_reads_alone_are_embedded(dataset, tiny_model, guide, tmp_path):
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path, tiny_model, dataset, models={"large": guide}, progress=progress)
    loss = {"loss": "GISTEmbedLoss", "guide": "large"}
    built = phase(inputs, tmp_path / "scratch", num_hard_negatives=0, loss=loss)
    texts = {event["side"]: event["texts"] for event in progress.events if "texts" in event}
    assert texts == {"query": 8, "passage": 8}
    assert built.second_encoder.sides["passage"].rows.tolist() == list(range(8))


def test_all_texts_of_all_batches_are_among_those_that_are_embedded(dataset):
    labels = training_labels(dataset)
    examples = ExampleEpochs(labels, ExampleForm("tuples", contrasts=True), 1, 4, [13], 20)
    texts = examples.texts()
    seen = np.concatenate([examples.at(step)[0].passages for step in range(40)])
    assert np.unique(seen).tolist() == texts["passage"].tolist()
    assert texts["query"].tolist() == list(range(8))


def test_a_candidate_without_a_verdict_is_undecided(dataset):
    found = {"query": [0, 0, 1], "passage": [5, 6, 7], "score": [3.0, 2.0, 1.0]}
    candidates = pa.table(found, schema=pa.schema([(n, CANDIDATES.field(n).type) for n in found]))
    judged = {
        "query": [0],
        "passage": [5],
        "verdict": [int(Verdict.NEGATIVE)],
        "grade": [None],
        "confidence": [None],
        "judge": ["margin"],
    }
    judgments = pa.table(judged, schema=pa.schema([(n, JUDGMENTS.field(n).type) for n in judged]))
    labels = training_labels(
        dataset,
        candidates=candidates,
        judgments=judgments,
        selection=LabelSelection(unjudged="negative"),
    )
    pairs = zip(labels.negative.query.tolist(), labels.negative.passage.tolist(), strict=True)
    decided = dict(zip(pairs, labels.is_decided.tolist(), strict=True))
    assert decided[0, 5] and decided[0, 3], "by a judge, and by the source"
    assert not decided[0, 6] and not decided[1, 7]


def test_another_dimension_is_refused_before_passages_are_embedded(
    dataset, tiny_model, guide, tmp_path
):
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path, tiny_model, dataset, models={"large": guide}, progress=progress)
    loss = {"loss": "EmbedDistillLoss", "teacher": "large"}
    with pytest.raises(RunError, match="have 24 dimensions, and those of the trained encoder 32"):
        phase(inputs, tmp_path / "scratch", loss=loss)
    assert [event["side"] for event in progress.events if "side" in event] == ["query"]


PROJECTED = {
    "use": "in_batch",
    "epochs": 3,
    "loss": {
        "use": "sentence_transformers",
        "loss": "EmbedDistillLoss",
        "teacher": "large",
        "options": {"projection_dim": 24},
    },
}


def test_a_killed_phase_continues_with_its_projection_and_encodes_nothing_again(
    dataset, tiny_model, guide, tmp_path
):
    section = train_section(PROJECTED, keep_weights="last", eval_every_epochs=None, batch_size=4)

    def run(folder: Path, progress: RecordingProgress) -> StageInputs:
        inputs = train_inputs(
            folder, tiny_model, dataset, models={"large": guide}, progress=progress
        )
        train(inputs, section, folder)
        return inputs

    whole, progress = run(tmp_path / "whole", RecordingProgress()), RecordingProgress()
    assert list(whole._built) == [("student", False)], "the teacher's memory is free"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", KilledAfter("train", 3))
    (checkpoint,) = (tmp_path / "killed" / "scratch" / "checkpoints").iterdir()
    assert checkpoint.name == "checkpoint-00000002"
    run(tmp_path / "killed", progress)
    names = [event["event"] for event in progress.events]
    assert "resume" in names and "encoded" not in names
    first, second = (
        load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("whole", "killed")
    )
    start = load_file(tiny_model / "model.safetensors")
    assert first.keys() == second.keys() == start.keys(), "the projection is not saved"
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], start[name]) for name in first)
    curve = json.loads((tmp_path / "whole" / "training.json").read_text())["curve"]
    assert curve[-1]["loss"] < curve[0]["loss"]


@pytest.mark.parametrize(
    "loss",
    [
        {"loss": "GISTEmbedLoss", "guide": "large"},
        {"loss": "GISTEmbedLoss", "guide": "student"},
        {"loss": "EmbedDistillLoss", "teacher": "large", "options": {"projection_dim": 24}},
    ],
)
def test_the_phase_is_conformant(dataset, tiny_model, guide, tmp_path, loss):
    inputs = train_inputs(tmp_path, tiny_model, dataset, models={"large": guide})
    spec = bind(InBatchSpec, {"loss": {"use": "sentence_transformers", **loss}})
    check_phase(spec, inputs.encoder("student"), inputs.context(tmp_path / "scratch"))
