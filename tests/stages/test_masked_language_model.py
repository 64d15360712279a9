"""Pre-training as a masked language model in the train stage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from helpers.killed import KilledAfter
from helpers.tiny_models import write_tiny_model
from helpers.train_inputs import BOTH_HALVES, IN_BATCH, MASKED, bind, train_inputs, train_section
from recipekit.component import SingleProcess, Slot
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.errors import ModelError, RunError
from recipekit.stages.train.section import TrainSection
from recipekit.stages.train.train import train
from recipekit.testing import RecordingProgress, check_phase, context
from recipekit.training.checkpoint import load_checkpoint
from recipekit.training.masked_language_model import MaskedLanguageModel

pytestmark = pytest.mark.slow
LONG = {**MASKED, "epochs": 12}


def weights(out: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.parent.name}/{name}": tensor
        for file in sorted(out.rglob("encoder/**/*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def training_json(out: Path) -> Any:
    return json.loads((out / "training.json").read_text())


@pytest.mark.parametrize("family", ["bert", "mpnet", "xlm_roberta", "modernbert", "gemma3"])
def test_the_loss_of_masked_tokens_falls(
    family: str, words: list[str], tiny_dataset: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model(family, words, tmp_path)
    inputs = train_inputs(tmp_path, folder, tiny_dataset)
    section = train_section(LONG, learning_rate=5e-3, batch_size=8)
    summary = train(inputs, section, tmp_path / "out")
    losses = [point["loss"] for point in training_json(tmp_path / "out")["curve"]]
    first, last = np.mean(losses[:6]), np.mean(losses[-6:])
    assert last < 0.85 * first
    # 12 train queries and 36 passages, in batches of 8.
    assert summary["phases"] == {"first": {"steps": 72, "epochs": 12}}
    assert "unlabelled text" in summary["notes"][0]
    exported = SentenceTransformer(str(tmp_path / "out" / "encoder"), device="cpu")
    assert np.isfinite(exported.encode(["river"])).all()
    names = " ".join(weights(tmp_path / "out"))
    assert "head" not in names and "decoder" not in names


@pytest.mark.parametrize(("texts", "steps"), [("passages", 8), ("queries", 3), ("both", 10)])
def test_texts_selects_what_is_read(
    texts: str, steps: int, tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    section = train_section({**MASKED, "texts": texts, "epochs": 1})
    summary = train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    assert summary["steps"] == steps
    assert bool(summary["notes"]) == (texts != "queries")


def test_no_label_is_needed(tiny_model: Path, make_dataset: Any, tmp_path: Path) -> None:
    passages = [(f"p{i}", "river mountain valley") for i in range(7)]
    dataset = make_dataset([("q0", "river", "test")], passages, {(0, 0): 1.0})
    section = train_section({**MASKED, "texts": "both"})
    summary = train(train_inputs(tmp_path, tiny_model, dataset), section, tmp_path / "out")
    assert summary["steps"] == 4
    section = train_section({**MASKED, "texts": "queries"})
    inputs = train_inputs(tmp_path, tiny_model, dataset)
    with pytest.raises(RunError, match="no text to train on") as error:
        train(inputs, section, tmp_path / "none")
    assert error.value.code == "RK645"


def test_an_encoder_that_cannot_predict_tokens_ends_the_stage_in_one_line(
    words: list[str], tiny_dataset: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model("static", words, tmp_path)
    inputs = train_inputs(tmp_path, folder, tiny_dataset)
    with pytest.raises(ModelError, match="StaticEmbedding has no context"):
        train(inputs, train_section(MASKED), tmp_path / "out")


def test_an_encoder_without_the_methods_of_predicts_tokens_is_refused() -> None:
    training = SimpleNamespace(encoder=torch.nn.Linear(2, 2))
    with pytest.raises(RunError, match=r"a Linear, which does not define .*PredictsTokens"):
        context = SimpleNamespace(training=training, ranks=SingleProcess())
        MaskedLanguageModel({"passage": np.arange(3)}, 0.15, 1, context)


# Resuming
# -------------------------------------------------------------------------------------------------

THREE_PHASES = ({**MASKED, "epochs": 1}, {**IN_BATCH, "epochs": 1}, BOTH_HALVES)
"""10 steps, 3 steps, and 20 steps."""


@pytest.mark.parametrize(
    ("advances", "options"),
    [
        pytest.param(4, {}, id="while-pretraining"),
        pytest.param(7, {"dropout": True}, id="with-dropout"),
        pytest.param(6, {"lora": {"r": 2}}, id="with-adapters"),
        pytest.param(10, {}, id="between-phases"),
        pytest.param(12, {}, id="in-the-next-phase"),
        pytest.param(25, {}, id="in-the-last-phase"),
    ],
)
def test_a_resumed_run_ends_with_the_same_weights(
    advances: int,
    options: dict[str, Any],
    tiny_model: Path,
    tiny_dataset: Any,
    uninterrupted: Callable[[TrainSection], Path],
    tmp_path: Path,
) -> None:
    section = train_section(*THREE_PHASES, keep_weights="last", **options)
    shutil.copytree(uninterrupted(section), tmp_path, dirs_exist_ok=True)
    killed = KilledAfter("train", advances)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("recipekit.training.loop.CHECKPOINT_SECONDS", 0.0)
        inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, progress=killed)
        train(inputs, section, tmp_path / "killed")
    saved = load_checkpoint(tmp_path / "killed" / "scratch" / "checkpoints", SingleProcess())
    assert saved is not None
    assert any("language_model_head" in name for name in saved.weights) == (advances <= 10)
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, progress=progress)
    train(inputs, section, tmp_path / "killed")
    resumed = [event["step"] for event in progress.events if event["event"] == "resume"]
    assert resumed == [advances]
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(one[name], other[name]) for name in one)
    one, other = (training_json(tmp_path / name)["curve"] for name in ("whole", "killed"))
    assert one == other


# Weights that are kept
# -------------------------------------------------------------------------------------------------


def test_pretraining_alone_keeps_the_last_weights(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    section = train_section(LONG, learning_rate=0.05, patience=1)  # ruins the ranking
    summary = train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    assert summary["dev"]["kept_step"] == summary["steps"] == 120
    assert summary["dev"]["kept"] < summary["dev"]["untrained"]


def test_weights_within_pretraining_are_no_result_when_phases_follow(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    section = train_section({**MASKED, "epochs": 1}, {**IN_BATCH, "epochs": 4}, keep_weights="best")
    summary = train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    points = training_json(tmp_path / "out")["dev"]["points"]
    assert [point["step"] for point in points] == [0, 10, 13, 16, 19, 22]
    assert summary["dev"]["kept_step"] != 10


# Less memory
# -------------------------------------------------------------------------------------------------


def test_lora_frozen_parts_and_checkpointing_work_as_in_other_phases(
    words: list[str], tiny_dataset: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model("bert", words, tmp_path)
    before = load_file(folder / "model.safetensors")
    cases: dict[str, dict[str, Any]] = {
        "lora": {"lora": {"r": 4}},
        "frozen": {"freeze": {"embeddings": True, "layers": 1}},
        "plain": {},
        "checkpointed": {"gradient_checkpointing": True},
    }
    curves, counts = {}, {}
    for name, options in cases.items():
        inputs = train_inputs(tmp_path / name, folder, tiny_dataset)
        summary = train(inputs, train_section(MASKED, **options), tmp_path / name)
        curves[name] = [point["loss"] for point in training_json(tmp_path / name)["curve"]]
        counts[name] = summary["weights"]
    for name in ("lora", "frozen"):
        after = load_file(tmp_path / name / "encoder" / "model.safetensors")
        moved = {key for key in before if not torch.equal(before[key], after[key])}
        assert moved
        untrained = ("embeddings",) if name == "lora" else ("embeddings", "layer.0.")
        assert not [key for key in moved if any(part in key for part in untrained)]
    assert curves["checkpointed"] == pytest.approx(curves["plain"], rel=1e-5)
    assert counts["plain"]["all"] == sum(tensor.numel() for tensor in before.values())


def test_separate_sides_train_their_own_towers(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, tied=False)
    section = train_section({**MASKED, "texts": "passages"})
    train(inputs, section, tmp_path / "out")
    before, after = (
        SentenceTransformer(str(folder), device="cpu")
        for folder in (tiny_model, tmp_path / "out" / "encoder")
    )
    for encode, is_unchanged in (("encode_query", True), ("encode_document", False)):
        one, other = (
            getattr(model, encode)(["river mountain"], normalize_embeddings=True)
            for model in (before, after)
        )
        assert np.allclose(one, other, atol=1e-6) == is_unchanged


def test_the_phase_keeps_the_promises_of_a_phase(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    encoder = BiEncoderSpec(model=str(tiny_model), precision="fp32").build(context(tmp_path / "a"))
    spec = bind(Slot(**MASKED), "phase").spec
    check_phase(spec, encoder, context(tmp_path / "b", dataset=tiny_dataset))
