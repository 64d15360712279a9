"""Margins between a teacher's scores that cosine similarities cannot reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from helpers.teachers import inputs_with_teachers, with_negatives
from recipekit.dataset import Dataset
from recipekit.phases.in_batch import InBatchSpec
from recipekit.testing import RecordingProgress, bind
from recipekit.testing.phases import training_context
from recipekit.training.in_batch import InBatchExamples

TEACHERS = {"narrow": 0.01, "wide": 100.0}
"""What the cross-encoder's weights are multiplied with, and so the margins between its logits."""
REMEDY = (
    "set `similarity: dot` for 'student', with a model that does not end with a Normalize module"
)


@pytest.fixture
def progress() -> RecordingProgress:
    return RecordingProgress()


@pytest.fixture(scope="module")
def teachers(tiny_cross_encoder: Path, tmp_path_factory) -> dict[str, Path]:
    """Cross-encoders with margins far below and far above 2."""
    folders = {}
    for name, factor in TEACHERS.items():
        model = CrossEncoder(str(tiny_cross_encoder), device="cpu")
        with torch.no_grad():
            model[0].model.classifier.weight.mul_(factor)
        folders[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(str(folders[name]))
    return folders


@pytest.fixture(scope="module")
def students(tiny_model: Path, tmp_path_factory) -> dict[str, Path]:
    """The tiny model, whose vectors have any length, and the same with a Normalize module."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    modules = [module for module in model if not isinstance(module, Normalize)]
    folders = {}
    for name, last in {"any length": [], "length 1": [Normalize()]}.items():
        folders[name] = tmp_path_factory.mktemp("student")
        student = SentenceTransformer(modules=[*modules, *last], device="cpu")
        student.save(str(folders[name]), create_model_card=False)
    return folders


@pytest.fixture
def build(
    make_dataset: Callable[..., Dataset],
    words: list[str],
    teachers: dict[str, Path],
    students: dict[str, Path],
    progress: RecordingProgress,
    tmp_path: Path,
) -> Callable[..., InBatchExamples]:
    """`build(teacher, student, similarity, **loss)`: `in_batch` with two hard negatives."""
    dataset = with_negatives(make_dataset, words, steps=(3, 4, 6))

    def build(teacher: str, student: str, similarity: str, **loss: Any) -> InBatchExamples:
        inputs = inputs_with_teachers(
            tmp_path,
            students[student],
            dataset,
            teachers[teacher],
            progress=progress,
            similarity=similarity,
        )
        fields = {"use": "sentence_transformers", "teacher": "cross", **loss}
        spec = bind(InBatchSpec, {"batch_size": 4, "num_hard_negatives": 2, "loss": fields})
        context = inputs.context(tmp_path / "scratch")
        return spec.build(training_context(spec, inputs.encoder("student"), context))

    return build


@pytest.mark.parametrize(
    ("student", "similarity", "options", "remedy"),
    [
        ("any length", "cosine", {}, REMEDY),
        ("length 1", "dot", {}, REMEDY),
        ("length 1", "cosine", {"similarity_fct": "dot_score"}, REMEDY),
        (
            "length 1",
            "dot",
            {"similarity_fct": "cos_sim"},
            f"{REMEDY} and leave `similarity_fct: cos_sim` out",
        ),
        ("any length", "dot", {"similarity_fct": "cos_sim"}, "leave `similarity_fct: cos_sim` out"),
    ],
)
def test_margins_that_the_student_cannot_reach_are_one_warning(
    build: Callable[..., InBatchExamples],
    progress: RecordingProgress,
    student: str,
    similarity: str,
    options: dict[str, Any],
    remedy: str,
) -> None:
    phase = build("wide", student, similarity, loss="MarginMSELoss", options=options)
    assert phase.teacher is not None
    margins = []
    for step in range(phase.examples.steps_per_epoch):
        batch, _ = phase.examples.at(step)
        query = phase.training.labels.queries[batch.queries][batch.examples.query.numpy()]
        scores = phase.teacher.of_examples(query, batch.passages[batch.examples.passage.numpy()])
        margins += [abs(float(row[0] - score)) for row in scores for score in row[1:]]
    share = np.mean([margin > 2 for margin in margins])
    (warning,) = progress.warnings
    assert warning == (
        f"in_batch: {share:.1%} of the margins between scores of the teacher 'cross' (positive "
        f"minus negative) are beyond ±2, which cosine similarities cannot reach: {remedy}, or use "
        "DistillKLDivLoss with a low student_temperature, such as 0.05"
    )
    assert share > 0.1


@pytest.mark.parametrize(
    ("teacher", "similarity", "loss"),
    [
        ("wide", "dot", "MarginMSELoss"),
        ("narrow", "cosine", "MarginMSELoss"),
        ("wide", "cosine", "DistillKLDivLoss"),
    ],
)
def test_nothing_is_reported_where_the_student_can_learn_the_scores(
    build: Callable[..., InBatchExamples],
    progress: RecordingProgress,
    teacher: str,
    similarity: str,
    loss: str,
) -> None:
    build(teacher, "any length", similarity, loss=loss)
    assert not progress.warnings
