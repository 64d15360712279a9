"""`in_batch` on the scores of a teacher, against the library's own classes on the same texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer import losses as library

from helpers.killed import KilledAfter
from helpers.ranks import run_on_cpu_ranks
from helpers.teachers import AGAIN, DISTILLED, inputs_with_teachers, with_negatives
from helpers.train_inputs import train_section
from recipekit.component import ExampleForm, SecondEncoder
from recipekit.dataset import Dataset
from recipekit.phases.in_batch import InBatchSpec
from recipekit.records import Verdict
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.train import train
from recipekit.tables import JUDGMENTS
from recipekit.testing import RecordingProgress, bind, check_phase
from recipekit.testing.phases import training_context
from recipekit.training.example_batches import ExampleEpochs
from recipekit.training.in_batch import InBatchExamples
from recipekit.training.labels import training_labels


@pytest.fixture(scope="module")
def cross(tiny_cross_encoder: Path, tmp_path_factory) -> Path:
    """The tiny cross-encoder, whose own scores are sigmoids of its logits."""
    folder = tmp_path_factory.mktemp("cross")
    model = CrossEncoder(str(tiny_cross_encoder), device="cpu", activation_fn=torch.nn.Sigmoid())
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture
def dataset(make_dataset, words) -> Dataset:
    """8 queries with a positive and three source negatives each."""
    return with_negatives(make_dataset, words, steps=(3, 4, 6))


def phase(inputs: StageInputs, folder: Path, loss: str, teacher: str) -> InBatchExamples:
    """The phase over 4 queries a step, with two hard negatives for each."""
    fields = {"use": "sentence_transformers", "loss": loss, "teacher": teacher}
    spec = bind(InBatchSpec, {"batch_size": 4, "num_hard_negatives": 2, "loss": fields})
    return spec.build(training_context(spec, inputs.encoder("student"), inputs.context(folder)))


def direct_scores(teacher: str, cross: Path, model: Path, columns: list[list[str]]) -> torch.Tensor:
    """The scores of (query, passage) columns by sentence-transformers, (m, k)."""
    query, *passages = columns
    if teacher == "cross":
        scorer = CrossEncoder(str(cross), device="cpu")
        found = [
            scorer.predict(
                list(zip(query, passage, strict=True)), activation_fn=torch.nn.Identity()
            )
            for passage in passages
        ]
        return torch.from_numpy(np.stack(found, axis=1))
    encoder = SentenceTransformer(str(model), device="cpu")
    left, *right = (encoder.encode(column, convert_to_tensor=True) for column in columns)
    return torch.stack([(left * each).sum(dim=1) for each in right], dim=1)


@pytest.mark.parametrize("loss", ["MarginMSELoss", "DistillKLDivLoss"])
@pytest.mark.parametrize("teacher", ["cross", "dot"])
def test_distilled_scores_equal_the_librarys_class_on_the_same_texts(
    dataset, tiny_model, cross, tmp_path, teacher, loss
):
    inputs = inputs_with_teachers(tmp_path, tiny_model, dataset, cross)
    built = phase(inputs, tmp_path / "scratch", loss, teacher)
    result = built.gradient(0)
    batch, _ = built.examples.at(0)
    query = built.training.labels.queries[batch.queries][batch.examples.query.numpy()]
    passage = batch.passages[batch.examples.passage.numpy()]
    columns = [list(dataset.queries.column("text", query))]
    columns += [dataset.passages.texts(column) for column in passage.T]
    scores = direct_scores(teacher, cross, tiny_model, columns)
    torch.testing.assert_close(
        built.teacher.of_examples(query, passage), scores, rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(scores, torch.tensor([1.0, 0.0, 0.0]).expand_as(scores), atol=0.1)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    theirs = getattr(library, loss)(model, similarity_fct=_pairwise_cosine)
    expected = theirs([model.preprocess(column) for column in columns], scores)
    expected.backward()
    assert float(result.loss) == pytest.approx(expected.item(), rel=1e-3, abs=1e-6)
    ours, other = (
        [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        for module in (inputs.encoder("student"), model)
    )
    assert len(ours) == len(other) > 30
    for own, one in zip(ours, other, strict=True):
        torch.testing.assert_close(own, one, rtol=1e-3, atol=1e-5)


def _pairwise_cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(left, right)


def test_a_cross_encoders_logits_are_not_its_own_scores(dataset, tiny_model, cross, tmp_path):
    inputs = inputs_with_teachers(tmp_path, tiny_model, dataset, cross)
    query, passage = np.arange(4), np.arange(4)
    logits = inputs.pair_scores("cross", query, passage)
    texts = dataset.queries.texts(query), dataset.passages.texts(passage)
    own = inputs.encoder("cross").score(*texts)
    np.testing.assert_allclose(own, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert not np.allclose(own, logits)


def test_all_pairs_of_all_examples_are_scored_and_no_ignored_one(dataset):
    judged = {
        "query": [0],
        "passage": [3],
        "verdict": [int(Verdict.IGNORE)],
        "grade": [None],
        "confidence": [None],
        "judge": ["margin"],
    }
    judgments = pa.table(judged, schema=pa.schema([(n, JUDGMENTS.field(n).type) for n in judged]))
    labels = training_labels(dataset, judgments=judgments)
    teacher = SecondEncoder("cross", "teacher", gives="scores")
    form = ExampleForm("scored tuples", score_from="teacher", second_encoder=teacher)
    examples = ExampleEpochs(labels, form, 2, 4, [13], 20)
    pairs = list(zip(*(rows.tolist() for rows in examples.pairs()), strict=True))
    assert pairs == sorted(set(pairs)) and len(pairs) == 8 * 4 - 1
    assert (0, 3) not in pairs and (0, 4) in pairs
    seen = set()
    for step in range(40):
        batch, _ = examples.at(step)
        query = labels.queries[batch.queries][batch.examples.query.numpy()]
        passage = batch.passages[batch.examples.passage.numpy()]
        seen |= {(q, p) for q, row in zip(query, passage, strict=True) for p in row.tolist()}
    assert seen == set(pairs)


def scored(progress: RecordingProgress) -> list[int]:
    return [event["scored"] for event in progress.events if event["event"] == "scored"]


def test_a_killed_phase_continues_and_scores_nothing_again(dataset, tiny_model, cross, tmp_path):
    section = train_section(DISTILLED, keep_weights="last", eval_every_epochs=None, batch_size=4)

    def run(folder: Path, progress: RecordingProgress) -> StageInputs:
        inputs = inputs_with_teachers(folder, tiny_model, dataset, cross, progress=progress)
        train(inputs, section, folder)
        return inputs

    progress = RecordingProgress()
    whole = run(tmp_path / "whole", progress)
    assert scored(progress) == [32]
    assert list(whole._built) == [("student", False)], "the teacher's memory is free"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", KilledAfter("train", 3))
    progress = RecordingProgress()
    run(tmp_path / "killed", progress)
    assert "resume" in [event["event"] for event in progress.events] and not scored(progress)
    first, second = (
        load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("whole", "killed")
    )
    resumed = json.loads((tmp_path / "killed" / "training.json").read_text())["resumed_from"]
    assert resumed == [2], "the step of the last checkpoint"
    start = load_file(tiny_model / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], start[name]) for name in first)


def test_another_phase_reads_the_same_scores(dataset, tiny_model, cross, tmp_path):
    progress = RecordingProgress()
    inputs = inputs_with_teachers(tmp_path, tiny_model, dataset, cross, progress=progress)
    section = train_section(DISTILLED, AGAIN, eval_every_epochs=None, keep_weights="last")
    train(inputs, section, tmp_path)
    assert scored(progress) == [32]
    kinds = [kind for kind, _ in inputs.by_products]
    assert kinds.count("pair_scores") == 2


def test_killed_scoring_continues_with_the_blocks_that_are_left(
    dataset, tiny_model, cross, tmp_path, monkeypatch
):
    monkeypatch.setattr("recipekit.encoding.score_pairs.PAIRS_PER_BLOCK", 5)
    query, passage = np.repeat(np.arange(8), 3), np.tile(np.arange(3), 8)
    once = inputs_with_teachers(tmp_path / "once", tiny_model, dataset, cross)
    expected = np.array(once.pair_scores("cross", query, passage))
    folder, progress = tmp_path / "killed", RecordingProgress()
    killed = inputs_with_teachers(
        folder, tiny_model, dataset, cross, progress=KilledAfter("score pairs with cross", 12)
    )
    with pytest.raises(KeyboardInterrupt):
        killed.pair_scores("cross", query, passage)
    again = inputs_with_teachers(folder, tiny_model, dataset, cross, progress=progress)
    np.testing.assert_array_equal(again.pair_scores("cross", query, passage), expected)
    assert scored(progress) == [24 - 2 * 5], "it was killed in the third block"


@pytest.mark.slow
def test_two_ranks_share_the_pairs_and_train_as_one_process(dataset, tiny_model, cross, tmp_path):
    run_on_cpu_ranks(2, "score_on_ranks", [tiny_model, dataset.path, cross, tmp_path])
    counts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert counts == [[17, 17], [15, 15]], "every second block of 5 pairs"
    inputs = inputs_with_teachers(tmp_path / "alone", tiny_model, dataset, cross)
    section = train_section(DISTILLED, keep_weights="last", eval_every_epochs=None, batch_size=4)
    train(inputs, section, tmp_path / "alone")
    alone, *shared = (
        load_file(tmp_path / name / "encoder" / "model.safetensors")
        for name in ("alone", "one machine", "two machines")
    )
    for weights in shared:
        for name, tensor in alone.items():
            torch.testing.assert_close(weights[name], tensor, atol=2e-5, rtol=0)


@pytest.mark.parametrize("teacher", ["cross", "dot"])
def test_the_phase_is_conformant(dataset, tiny_model, cross, tmp_path, teacher):
    inputs = inputs_with_teachers(tmp_path, tiny_model, dataset, cross)
    loss = {"use": "sentence_transformers", "loss": "MarginMSELoss", "teacher": teacher}
    spec = bind(InBatchSpec, {"loss": loss, "num_hard_negatives": 2})
    check_phase(spec, inputs.encoder("student"), inputs.context(tmp_path / "scratch"))
