"""The train stage learns, writes its files, and resumes after a kill."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Router

from helpers.dense_reference import dense_losses
from helpers.killed import KilledAfter
from helpers.train_inputs import (
    BOTH_HALVES,
    COORDINATE_ASCENT,
    IN_BATCH,
    train_inputs,
    train_section,
    trained_artifact,
)
from recipekit.encoding.embed import embed_tokens
from recipekit.errors import RunError
from recipekit.records import Verdict
from recipekit.stages.train import dev_evaluation
from recipekit.stages.train import train as train_module
from recipekit.stages.train.dev_evaluation import dev_sample
from recipekit.stages.train.section import TrainSection
from recipekit.stages.train.train import train
from recipekit.tables import CANDIDATES, JUDGMENTS, write_table
from recipekit.testing import RecordingProgress
from recipekit.training.coordinate_ascent import CoordinateAscent
from recipekit.training.optimizer import learning_rate_factor

PHASES = pytest.mark.parametrize(
    "phase", [COORDINATE_ASCENT, IN_BATCH], ids=["coordinate_ascent", "in_batch"]
)
ONE_EPOCH = {**COORDINATE_ASCENT, "query_epochs": 1}


def weights(out: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.parent.name}/{name}": tensor
        for file in sorted(out.rglob("encoder/**/*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def largest_difference(one: Path, other: Path) -> float:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert first
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def training_json(out: Path) -> dict:
    return json.loads((out / "training.json").read_text())


# One phase
# -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@PHASES
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_the_loss_falls_and_the_best_weights_are_saved(
    tmp_path, tiny_model, tiny_dataset, phase, tied
):
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, tied=tied)
    key = "query_epochs" if phase is COORDINATE_ASCENT else "epochs"
    summary = train(inputs, train_section({**phase, key: 6}), tmp_path / "out")
    counts = {"queries": 12, "queries_without_positive": 0, "positives": 12, "ignored": 0}
    counts |= {"hard_negatives": 0}
    assert (summary["steps"], summary["epochs"]) == (18, 6)
    assert summary["phases"] == {"first": {"steps": 18, "epochs": 6, **counts}}
    written = training_json(tmp_path / "out")
    assert written["curve"][-1]["loss"] < written["curve"][0]["loss"] / 2
    dev = {point["step"]: point["value"] for point in written["dev"]["points"]}
    assert list(dev) == [0, 3, 6, 9, 12, 15, 18]
    assert summary["dev"]["untrained"] == dev[0]
    best = max(dev.values())
    assert summary["dev"]["best_step"] == min(step for step, value in dev.items() if value == best)
    model = SentenceTransformer(str(tmp_path / "out" / "encoder"), device="cpu")
    assert np.isfinite(model.encode_query(["river mountain"])).all()


@pytest.mark.slow
def test_the_summary_notes_that_a_frozen_corpus_is_read_as_text(tmp_path, tiny_model, tiny_dataset):
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    exact = train(inputs, train_section(ONE_EPOCH), tmp_path / "exact")
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    infonce = train(inputs, train_section({**IN_BATCH, "epochs": 1}), tmp_path / "infonce")
    assert "unlabelled text" in exact["notes"][0]
    assert infonce["notes"] == []


@pytest.mark.slow
def test_query_half_phases_of_separate_towers_leave_the_passages_unchanged(
    tmp_path, tiny_model, tiny_dataset
):
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    phase = {**COORDINATE_ASCENT, "separate_towers": True}
    section = train_section(phase, eval_every_epochs=None)
    train(inputs, section, tmp_path / "out")
    before, after = (
        SentenceTransformer(str(folder), device="cpu")
        for folder in (tiny_model, tmp_path / "out" / "encoder")
    )
    texts = ["river mountain", "a forest of stones"]
    # The export ends with a Normalize module, since the model is compared by cosine.
    for encode, is_unchanged in (("encode_document", True), ("encode_query", False)):
        vectors = (
            getattr(model, encode)(texts, normalize_embeddings=True) for model in (before, after)
        )
        assert np.allclose(*vectors, atol=1e-6) == is_unchanged


def test_embeddings_of_a_side_that_training_left_unchanged_are_not_computed_again(
    tmp_path, tiny_model, tiny_dataset
):
    for phase, unchanged in [
        ({**ONE_EPOCH, "separate_towers": True}, ["passage"]),
        (ONE_EPOCH, []),
    ]:
        progress = RecordingProgress()
        inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, progress=progress)
        initial = inputs.embeddings("student", "passage")
        out = tmp_path / f"out-{len(unchanged)}"
        out.mkdir()
        summary = train(inputs, train_section(phase, eval_every_epochs=None), out)
        assert summary["unchanged_sides"] == unchanged
        inputs.artifacts = {**inputs.artifacts, "train": trained_artifact(out, summary)}
        trained = inputs.embeddings("student", "passage", weights="trained")
        assert (trained.path == initial.path) == bool(unchanged)
        assert np.array_equal(trained.matrix, initial.matrix) == bool(unchanged)
        query = inputs.embeddings("student", "query", weights="trained")
        assert query.path != inputs.embeddings("student", "query", weights="initial").path


def test_dev_evaluations_embed_passages_that_no_step_changes_once(
    tmp_path, tiny_model, tiny_dataset, monkeypatch
):
    embedded = []

    def recorded(encoder, tokens, rows, side, *arguments, **options):
        embedded.append(side)
        return embed_tokens(encoder, tokens, rows, side, *arguments, **options)

    monkeypatch.setattr(train_module, "embed_tokens", recorded)
    queries = {**COORDINATE_ASCENT, "separate_towers": True, "measure_exact_loss": False}
    section = train_section({**IN_BATCH, "epochs": 1}, {**queries, "query_epochs": 3})
    points = {}
    for reuses in (True, False):
        if not reuses:
            monkeypatch.setattr(CoordinateAscent, "unchanged_sides", lambda self, part: ())
        embedded.clear()
        out = tmp_path / str(reuses)
        train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, out)
        points[reuses] = training_json(out)["dev"]["points"]
        # before training, and after the in-batch epoch and each of the three query epochs
        assert [embedded.count(side) for side in ("query", "passage")] == [5, 2 if reuses else 5]
    assert points[True] == points[False]


def test_untrained_weights_that_dev_keeps_have_their_embeddings_already(
    tmp_path, tiny_model, tiny_dataset
):
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    section = train_section(ONE_EPOCH, learning_rate=10.0, keep_weights="best")
    summary = train(inputs, section, tmp_path / "out")
    assert summary["dev"]["kept_step"] == 0
    assert summary["unchanged_sides"] == ["query", "passage"]


def test_another_seed_of_training_is_measured_on_the_same_dev_sample(
    tmp_path, tiny_model, tiny_dataset, monkeypatch
):
    samples = []

    def recorded(*arguments):
        samples.append(dev_sample(*arguments).passages.tolist())
        return dev_sample(*arguments)

    monkeypatch.setattr(dev_evaluation, "dev_sample", recorded)
    losses = []
    for seed in (None, 14):
        section = train_section(ONE_EPOCH, dev_corpus_size=15, seed=seed)
        out = tmp_path / str(seed)
        train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, out)
        losses.append(training_json(out)["curve"][0]["loss"])
    assert samples[0] == samples[1] and len(samples[0]) == 15
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("judged", "keys", "warns"),
    [
        (False, {}, 1),
        (False, {"unjudged": "negative"}, 0),
        (True, {}, 0),
        (True, {"labels": "source"}, 1),
    ],
)
def test_candidates_that_no_judge_decides_about_are_reported_as_left_out(
    tmp_path, tiny_model, tiny_dataset, judged: bool, keys, warns
):
    written = {"mine": (CANDIDATES, [[0], [1], [False], [1.0]])}
    if judged:
        row = {"query": 0, "passage": 1, "verdict": int(Verdict.NEGATIVE), "judge": "margin"}
        written["judge"] = (JUDGMENTS, [[row.get(name)] for name in JUDGMENTS.names])
    for stage, (schema, columns) in written.items():
        (tmp_path / stage).mkdir()
        file = tmp_path / stage / {"mine": "candidates", "judge": "judgments"}[stage]
        write_table(file.with_suffix(".arrow"), schema, [pa.table(columns, schema=schema)])
    progress = RecordingProgress()
    folders = {stage: tmp_path / stage for stage in written}
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, progress=progress, artifacts=folders)
    phase = {**COORDINATE_ASCENT, "query_epochs": 1, **keys}
    train(inputs, train_section(phase, phase, eval_every_epochs=None), tmp_path / "out")
    line = "train leaves out all candidates of mine, since no judge decides about them"
    assert len([one for one in progress.warnings if line in one]) == warns


def test_a_phase_that_stops_early_counts_what_it_ran(tmp_path, tiny_model, tiny_dataset):
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, progress=progress)
    loss = {"use": "sentence_transformers", "loss": "MultipleNegativesRankingLoss"}
    phase = {"use": "in_batch", "loss": loss, "num_hard_negatives": 0, "epochs": 6}
    section = train_section(phase, IN_BATCH, learning_rate=10.0, patience=1)
    summary = train(inputs, section, tmp_path / "out")
    assert training_json(tmp_path / "out")["stopped"][0] == {
        "phase": "first",
        "step": 3,
        "skipped": 15,
    }
    first, second = summary["phases"].values()
    assert (first["steps"], first["epochs"]) == (3, 1)
    assert summary["steps"] == 3 + second["steps"]
    assert summary["epochs"] == 1 + second["epochs"]
    assert not [warning for warning in progress.warnings if "were left out" in warning]


@pytest.mark.slow
def test_the_exact_loss_and_the_drift_of_every_half_phase_are_logged(
    tmp_path, tiny_model, tiny_dataset
):
    def dense_loss(model: Path) -> float:
        encoder = train_inputs(tmp_path, model, tiny_dataset)
        sides = [encoder.embeddings("student", side).matrix for side in ("query", "passage")]
        queries, passages = (torch.from_numpy(np.array(side)) for side in sides)
        verdicts = np.zeros((12, 36), np.int8)
        np.fill_diagonal(verdicts, Verdict.POSITIVE)
        grades = np.ones(verdicts.shape, np.float32)
        options = {"temperature": 0.05, "form": "one_vs_negatives"}
        return dense_losses(queries[:12], passages, verdicts, grades, **options).mean().item()

    section = train_section(BOTH_HALVES, keep_weights="last")
    train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    start, *halves = training_json(tmp_path / "out")["parts"]
    assert [half["part"] for half in halves] == ["query 1", "passage 1", "query 2", "passage 2"]
    # Embeddings on disk are float16.
    assert start["exact_loss"] == pytest.approx(dense_loss(tiny_model), rel=5e-3)
    trained = dense_loss(tmp_path / "out" / "encoder")
    assert halves[-1]["exact_loss"] == pytest.approx(trained, rel=5e-3)
    for half in halves:
        drifts = {"passage_drift"} | ({"query_drift"} if "passage" in half["part"] else set())
        assert {name for name in half if name.endswith("_drift")} == drifts
        assert all(0 < half[name] < 1 for name in drifts)


def test_sides_that_share_the_transformer_alone_drift_unless_they_are_separated(
    tmp_path, tiny_model, tiny_dataset
):
    torch.manual_seed(3)
    layers = list(SentenceTransformer(str(tiny_model), device="cpu"))[:2]
    routes = Router.for_query_document([Dense(32, 8)], [Dense(32, 8)])
    routed = SentenceTransformer(modules=[*layers, routes], device="cpu")
    routed.save(str(tmp_path / "routed"), create_model_card=False)
    for separate in (False, True):
        phase = {**COORDINATE_ASCENT, "separate_towers": separate}
        out = tmp_path / str(separate)
        train(train_inputs(tmp_path, tmp_path / "routed", tiny_dataset), train_section(phase), out)
        (_, half) = training_json(out)["parts"]
        assert ("passage_drift" in half) != separate


TWO_CYCLES = {**COORDINATE_ASCENT, "cycles": 2}
FOUR_EPOCHS = {**IN_BATCH, "epochs": 4}
PASSAGES = {**BOTH_HALVES, "query_epochs": 0, "passage_epochs": 2}
SEPARATE = {**BOTH_HALVES, "separate_towers": True}
REFRESHED = {**BOTH_HALVES, "refresh_every_steps": 2}
DRIFTING = {**BOTH_HALVES, "refresh_at_drift": 1e-6}
POSITIVES = {**BOTH_HALVES, "passages": "positives", "passage_batch_size": 3}
SMOOTHED = {
    **PASSAGES,
    "loss": {"use": "exact_softmax", "form": "log_marginal", "label_smoothing": 0.1},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "work", "advances", "resumes"),
    [
        # Three steps an epoch, two epochs a cycle.
        pytest.param(TWO_CYCLES, "train", 2, False, id="before-the-first-checkpoint"),
        pytest.param(TWO_CYCLES, "train", 8, True, id="second-cycle"),
        pytest.param(TWO_CYCLES, "train", 9, True, id="second-cycle-after-a-checkpoint"),
        pytest.param(TWO_CYCLES, "encode passage", 20, True, id="while-the-passages-are-encoded"),
        # Six query steps, then four passage steps, twice.
        pytest.param(BOTH_HALVES, "train", 8, True, id="passage-half-after-a-swap"),
        pytest.param(BOTH_HALVES, "train", 13, True, id="second-cycle-of-both-halves"),
        pytest.param(PASSAGES, "train", 6, True, id="second-passage-epoch"),
        pytest.param(PASSAGES, "train", 12, True, id="second-passage-half"),
        pytest.param(SMOOTHED, "train", 6, True, id="smoothed-passages"),
        pytest.param(SEPARATE, "train", 9, True, id="separate-towers"),
        pytest.param(SEPARATE, "train", 13, True, id="separate-towers-second-cycle"),
        pytest.param(REFRESHED, "train", 9, True, id="refreshed"),
        pytest.param(DRIFTING, "train", 5, True, id="refreshed-by-drift"),
        pytest.param(BOTH_HALVES, "encode query", 20, True, id="while-both-sides-are-encoded"),
        pytest.param(FOUR_EPOCHS, "train", 2, False, id="in-batch-before-a-checkpoint"),
        pytest.param(FOUR_EPOCHS, "train", 8, True, id="in-batch"),
    ],
)
def test_a_resumed_run_ends_with_the_same_weights(
    tmp_path, tiny_model, tiny_dataset, uninterrupted, phase, work, advances, resumes
):
    section = train_section(phase, dropout=True)  # the other tests of resuming have none
    killed = KilledAfter(work, advances)
    resumed_step = kill_and_resume(
        tmp_path, tiny_model, tiny_dataset, uninterrupted(section), section, killed
    )
    assert (resumed_step is not None) == resumes


@pytest.mark.slow
@pytest.mark.parametrize(
    "phase",
    [BOTH_HALVES, SEPARATE, REFRESHED, DRIFTING, SMOOTHED, POSITIVES],
    ids=["both", "separate", "refreshed", "drifting", "smoothed", "positives"],
)
@pytest.mark.parametrize("advances", [3, 8, 15])
def test_a_checkpoint_inside_a_half_phase_resumes_to_the_same_weights(
    tmp_path, tiny_model, tiny_dataset, uninterrupted, phase, advances
):
    section, killed = train_section(phase), KilledAfter("train", advances)
    whole = uninterrupted(section)
    resumed = kill_and_resume(
        tmp_path, tiny_model, tiny_dataset, whole, section, killed, seconds=0.0
    )
    assert resumed == advances


def kill_and_resume(
    tmp_path,
    model,
    dataset,
    uninterrupted: Path,
    section: TrainSection,
    killed: KilledAfter,
    seconds: float = 600.0,
) -> int | None:
    """Compare a resumed run with an uninterrupted one; returns the step at which it resumed.

    Both read the same stored embeddings of the untrained encoder. `seconds` is the time between
    checkpoints of the run that is killed.
    """
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("recipekit.training.loop.CHECKPOINT_SECONDS", seconds)
        train(train_inputs(tmp_path, model, dataset, progress=killed), section, tmp_path / "killed")
    progress = RecordingProgress()
    train(train_inputs(tmp_path, model, dataset, progress=progress), section, tmp_path / "killed")
    assert largest_difference(tmp_path / "whole", tmp_path / "killed") == 0
    one, other = training_json(tmp_path / "whole"), training_json(tmp_path / "killed")
    assert one["curve"] == other["curve"]
    assert one["dev"] == other["dev"]
    steps = [event["step"] for event in progress.events if event["event"] == "resume"]
    return steps[0] if steps else None


@pytest.mark.slow
def test_weights_are_kept_from_the_best_evaluation_not_the_last(tmp_path, tiny_model, tiny_dataset):
    # A learning rate so high that it ruins the encoder.
    section = train_section(
        {**COORDINATE_ASCENT, "query_epochs": 4}, learning_rate=0.5, max_grad_norm=0
    )
    summary = train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    assert summary["dev"]["kept_step"] < summary["steps"]
    inputs = train_inputs(tmp_path, tmp_path / "out" / "encoder", tiny_dataset)
    again = train(inputs, section, tmp_path / "again")
    assert again["dev"]["untrained"] == summary["dev"]["kept"]


@PHASES
def test_three_queries_one_passage_and_a_batch_larger_than_both(
    tmp_path, tiny_model, make_dataset, phase
):
    queries = [(f"q{i}", text, "train") for i, text in enumerate(["river", "mountain", "valley"])]
    passages = [("p0", "river mountain valley")]
    dataset = make_dataset(queries, passages, {(i, 0): 1.0 for i in range(3)})
    inputs = train_inputs(tmp_path, tiny_model, dataset)
    summary = train(inputs, train_section(phase, batch_size=64), tmp_path / "out")
    assert (summary["steps"], summary["phases"]["first"]["queries"]) == (2, 3)
    assert summary["dev"] is None
    warnings = list(inputs.progress.warnings)
    if phase["use"] == "coordinate_ascent":
        assert warnings.pop(0) == (
            "coordinate_ascent: 3 of 3 queries have no negative among the softmax's 1 passage. A "
            "larger corpus has some"
        )
    assert "dev split" in warnings[0]


@pytest.mark.slow
def test_evaluations_divide_an_epoch_evenly(tmp_path, tiny_model, tiny_dataset):
    section = train_section(eval_every_epochs=0.5, batch_size=3)
    train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    points = training_json(tmp_path / "out")["dev"]["points"]
    assert [point["step"] for point in points] == [0, 2, 4, 6, 8]


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, tiny_model, tiny_dataset):
    section = train_section(
        learning_rate=1e30, max_grad_norm=0, warmup_ratio=0.0, eval_every_epochs=None
    )
    message = (
        r"failed at step 2 in phase first \(embeddings that are not finite: queries "
        r"('q\d+', ){2}'q\d+' and 2 more\): the loss is nan, learning rate 8.33e\+29.*"
        r"lower learning_rate"
    )
    with pytest.raises(RunError, match=message) as error:
        train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    assert error.value.code == "RK632"


# Several phases
# -------------------------------------------------------------------------------------------------

THREE_PHASES = (
    {**IN_BATCH, "batch_size": 4, "learning_rate": 5e-4, "lr_scheduler": "constant"},
    {**COORDINATE_ASCENT, "query_epochs": 1, "cycles": 2, "warmup_ratio": 0.0},
    {**COORDINATE_ASCENT, "query_epochs": 1, "batch_size": 6, "labels": "source"},
)
"""6 steps in 2 epochs; 6 in 2 cycles; 2: 14 in all."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "advances"),
    [
        *(pytest.param("train", step, id=f"step-{step}") for step in (5, 6, 7, 9, 10, 13, 14)),
        # The second phase encodes 36 passages for each cycle, the third for its only one.
        *(pytest.param("encode passage", n, id=f"text-{n}") for n in (20, 60, 100)),
    ],
)
def test_a_run_of_three_phases_resumes_to_the_same_weights(
    tmp_path, tiny_model, tiny_dataset, uninterrupted, work, advances
):
    section, killed = train_section(*THREE_PHASES), KilledAfter(work, advances)
    whole = uninterrupted(section)
    resumed_step = kill_and_resume(tmp_path, tiny_model, tiny_dataset, whole, section, killed)
    assert resumed_step is not None


@pytest.mark.slow
def test_each_phase_has_its_own_batches_and_learning_rate(tmp_path, tiny_model, tiny_dataset):
    section = train_section(*THREE_PHASES)
    summary = train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    steps = [phase["steps"] for phase in summary["phases"].values()]
    assert steps == [6, 6, 2]
    assert summary["epochs"] == 2 + 2 + 1
    written = training_json(tmp_path / "out")
    assert written["phases"] == ["first", "second", "third"]
    schedules = [(5e-4, 0.1, "constant"), (1e-3, 0.0, "linear"), (1e-3, 0.1, "linear")]
    expected = [
        rate * learning_rate_factor(step, count, warmup, scheduler)
        for count, (rate, warmup, scheduler) in zip(steps, schedules, strict=True)
        for step in range(count)
    ]
    assert [point["learning_rate"] for point in written["curve"]] == pytest.approx(expected)
    assert [point["phase"] for point in written["curve"]] == [0] * 6 + [1] * 6 + [2] * 2
    assert [point["step"] for point in written["dev"]["points"]] == [0, 3, 6, 9, 12, 14]


@pytest.mark.slow
def test_a_phase_releases_its_frozen_matrix_and_deletes_its_file(
    tmp_path, tiny_model, tiny_dataset, monkeypatch
):
    matrices, left_on_disk = [], []
    begin, end = CoordinateAscent.begin, CoordinateAscent.end

    def observed_begin(phase: CoordinateAscent, part: int) -> dict[str, float]:
        if part == 0:
            assert all(reference() is None for reference in matrices)
        figures = begin(phase, part)
        matrices.append(weakref.ref(phase.frozen))
        return figures

    def observed_end(phase: CoordinateAscent) -> None:
        end(phase)
        left_on_disk.extend((tmp_path / "out" / "scratch").rglob("matrix"))

    monkeypatch.setattr(CoordinateAscent, "begin", observed_begin)
    monkeypatch.setattr(CoordinateAscent, "end", observed_end)
    section = train_section(*THREE_PHASES, eval_every_epochs=None)
    train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    assert len(matrices) == 3
    assert all(reference() is None for reference in matrices)
    assert left_on_disk == []


# By-products
# -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_text_is_tokenized_twice(tmp_path, tiny_model, tiny_dataset, monkeypatch):
    from recipekit.encoders.bi_encoder_module import BiEncoder

    tokenized, tokenize = [], BiEncoder.tokenize

    def counted(encoder: BiEncoder, texts, side):
        tokenized.extend(texts)
        return tokenize(encoder, texts, side)

    monkeypatch.setattr(BiEncoder, "tokenize", counted)
    mining = train_inputs(tmp_path, tiny_model, tiny_dataset)
    for side in ("query", "passage"):
        mining.embeddings("student", side)
    assert len(tokenized) == 24 + 36
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    train(inputs, train_section(TWO_CYCLES), tmp_path / "out")
    trained = train_inputs(tmp_path, tmp_path / "out" / "encoder", tiny_dataset)
    for side in ("query", "passage"):
        trained.embeddings("student", side)
    assert len(tokenized) == 24 + 36
