"""LoRA, frozen layers and gradient checkpointing in the train stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from helpers.killed import KilledAfter
from helpers.tiny_models import write_tiny_model
from helpers.train_inputs import (
    BOTH_HALVES,
    COORDINATE_ASCENT,
    IN_BATCH,
    train_inputs,
    train_section,
)
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.errors import RunError
from recipekit.stages.train.section import TrainSection
from recipekit.stages.train.train import train
from recipekit.testing import RecordingProgress, context
from recipekit.training.trainable import checkpoint_layers, transformer_layers

pytestmark = pytest.mark.slow

TEXTS = ["river mountain valley", "violin", "ocean forest " * 20]
LORA = {"r": 4, "alpha": 8.0}
FAMILIES = pytest.mark.parametrize("family", ["bert", "mpnet", "modernbert", "t5", "qwen3"])


def vectors(encoder: Any, side: str = "passage") -> np.ndarray:
    ids, _ = encoder.tokenize(TEXTS, side)
    with torch.no_grad():
        return encoder(encoder.collate(ids, side), side).numpy()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights in a saved folder, by module folder and name."""
    return {
        f"{file.parent.relative_to(folder)}/{name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def changed(before: Path, after: Path) -> set[str]:
    """Names of weights that differ between two saved folders."""
    old, new = weights(before), weights(after)
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


# LoRA
# -------------------------------------------------------------------------------------------------


@FAMILIES
def test_adapters_are_trained_and_merged_into_the_export(
    family: str, words: list[str], tiny_dataset: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model(family, words, tmp_path)
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path, folder, tiny_dataset, progress=progress)
    section = train_section(IN_BATCH, COORDINATE_ASCENT, lora=LORA, keep_weights="last")
    summary = train(inputs, section, tmp_path / "out")
    counts = summary["weights"]
    assert 0 < counts["trained"] < counts["all"] / 2
    notice = f"{counts['trained']:,} of {counts['all']:,} weights are trained"
    assert any(event.get("message", "").startswith(notice) for event in progress.events)
    differing = changed(folder, tmp_path / "out" / "encoder")
    assert differing, "the adapters moved something"
    assert not [name for name in differing if "embed" in name or "norm" in name.lower()]
    exported = SentenceTransformer(str(tmp_path / "out" / "encoder"), device="cpu")
    assert not [name for name, _ in exported.named_parameters() if "lora" in name]
    np.testing.assert_allclose(
        exported.encode(TEXTS), vectors(inputs.encoder("student")), atol=1e-5
    )


def test_a_killed_run_with_adapters_ends_with_the_same_weights(
    words: list[str], tiny_dataset: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model("bert", words, tmp_path)
    section = train_section(IN_BATCH, COORDINATE_ASCENT, lora=LORA)
    whole = train_inputs(tmp_path / "whole", folder, tiny_dataset)
    train(whole, section, tmp_path / "whole" / "out")
    killed = train_inputs(
        tmp_path / "killed", folder, tiny_dataset, progress=KilledAfter("train", 8)
    )
    with pytest.raises(KeyboardInterrupt):
        train(killed, section, tmp_path / "killed" / "out")
    again = train_inputs(tmp_path / "killed", folder, tiny_dataset)
    train(again, section, tmp_path / "killed" / "out")
    one, other = (tmp_path / name / "out" / "encoder" for name in ("whole", "killed"))
    assert changed(one, other) == set()
    assert changed(folder, one)


@pytest.mark.parametrize("separate", [False, True], ids=["untied", "separated by a phase"])
def test_separate_towers_have_adapters_of_their_own(
    separate: bool, words: list[str], tiny_dataset: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model("bert", words, tmp_path)
    inputs = train_inputs(tmp_path, folder, tiny_dataset, tied=separate)
    phases = [IN_BATCH, {**BOTH_HALVES, "separate_towers": separate}]
    section = train_section(*phases, lora=LORA, learning_rate=1e-2, keep_weights="last")
    train(inputs, section, tmp_path / "out")
    encoder = inputs.encoder("student")
    exported = SentenceTransformer(str(tmp_path / "out" / "encoder"), device="cpu")
    query, passage = vectors(encoder, "query"), vectors(encoder)
    np.testing.assert_allclose(exported.encode_query(TEXTS), query, atol=1e-5)
    np.testing.assert_allclose(exported.encode_document(TEXTS), passage, atol=1e-5)
    assert np.abs(query - passage).max() > 1e-3


def test_target_modules_get_adapters_and_unknown_ones_are_refused(
    words: list[str], tiny_dataset: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model("bert", words, tmp_path)
    inputs = train_inputs(tmp_path, folder, tiny_dataset)
    section = train_section(lora={**LORA, "target_modules": ["query"]}, keep_weights="last")
    train(inputs, section, tmp_path / "out")
    differing = changed(folder, tmp_path / "out" / "encoder")
    assert differing
    assert all(name.endswith("query.weight") for name in differing)
    wrong = train_section(lora={**LORA, "target_modules": ["querry"]})
    with pytest.raises(RunError, match=r"has no linear layer 'querry'\. Did you mean 'query'\?"):
        train(train_inputs(tmp_path / "b", folder, tiny_dataset), wrong, tmp_path / "b" / "out")
    other = train_section(lora={**LORA, "target_modules": ["attention_weights"]})
    with pytest.raises(RunError, match=r"'attention_weights'\. It has query, key, value, dense\."):
        train(train_inputs(tmp_path / "c", folder, tiny_dataset), other, tmp_path / "c" / "out")


def test_keys_that_contradict_are_refused() -> None:
    phases = {"first": COORDINATE_ASCENT}
    with pytest.raises(ValidationError, match=r"lora\.dropout has no effect without"):
        TrainSection(phases=phases, lora={"dropout": 0.1})
    with pytest.raises(ValidationError, match="leave out `freeze`"):
        TrainSection(phases=phases, lora={}, freeze={"layers": 1})


# Frozen layers
# -------------------------------------------------------------------------------------------------


@FAMILIES
def test_frozen_parts_stay_as_they_are(
    family: str, words: list[str], tiny_dataset: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model(family, words, tmp_path)
    inputs = train_inputs(tmp_path, folder, tiny_dataset)
    section = train_section(IN_BATCH, freeze={"embeddings": True, "layers": 1}, keep_weights="last")
    encoder = inputs.encoder("student")
    before = {name: weight.detach().clone() for name, weight in encoder.named_parameters()}
    train(inputs, section, tmp_path / "out")
    differing = {
        name.removeprefix("parts.0")
        for name, weight in encoder.named_parameters()
        if not torch.equal(weight, before[name])
    }
    lowest = [name for name in differing if "embed" in name or ".0." in name or "shared" in name]
    assert not [name for name in lowest if ".1." not in name and "block.1" not in name]
    assert any(".1." in name for name in differing), "the second layer is trained"


@pytest.mark.parametrize(
    ("family", "freeze", "message"),
    [
        ("bert", {"layers": 3}, "3 layers cannot be frozen, since the model has 2"),
        ("bert", {"embeddings": True, "layers": 2}, "leaves no weight to train"),
        ("static", {"embeddings": True}, "the encoder has no transformer"),
    ],
)
def test_freezing_what_is_not_there_is_refused(
    family: str,
    freeze: dict[str, Any],
    message: str,
    words: list[str],
    tiny_dataset: Any,
    tmp_path: Path,
) -> None:
    inputs = train_inputs(tmp_path, write_tiny_model(family, words, tmp_path), tiny_dataset)
    with pytest.raises(RunError, match=message):
        train(inputs, train_section(freeze=freeze), tmp_path / "out")


# Gradient checkpointing
# -------------------------------------------------------------------------------------------------


@FAMILIES
def test_gradient_checkpointing_changes_no_gradient_and_recomputes_each_layer(
    family: str, words: list[str], tmp_path: Path
) -> None:
    folder = write_tiny_model(family, words, tmp_path)
    gradients, calls = [], []
    for checkpointed in (False, True):
        spec = BiEncoderSpec(model=str(folder), precision="fp32")
        encoder: Any = spec.build(context(tmp_path / "scratch"))
        if checkpointed:
            checkpoint_layers(encoder)
        encoder.set_dropout(False)
        encoder.train()
        linear = [m for m in encoder.modules() if isinstance(m, torch.nn.Linear)]
        count = [0]
        for module in linear:
            module.register_forward_pre_hook(
                lambda *_, count=count: count.__setitem__(0, count[0] + 1)
            )
        ids, _ = encoder.tokenize(TEXTS, "query")
        embedded = encoder(encoder.collate(ids, "query"), "query")
        (embedded * torch.linspace(-1, 1, embedded.shape[1])).sum().backward()
        gradients.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
        calls.append(count[0])
    assert calls[1] > 1.5 * calls[0], "layers ran again in the backward pass"
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_all_of_them_together_train_separate_towers(
    words: list[str], tiny_dataset: Any, tmp_path: Path
) -> None:
    folder = write_tiny_model("qwen3", words, tmp_path)
    inputs = train_inputs(tmp_path, folder, tiny_dataset)
    section = train_section(
        IN_BATCH,
        {**BOTH_HALVES, "separate_towers": True},
        lora={**LORA, "dropout": 0.1},
        dropout=True,
        gradient_checkpointing=True,
        keep_weights="last",
    )
    train(inputs, section, tmp_path / "out")
    exported = SentenceTransformer(str(tmp_path / "out" / "encoder"), device="cpu")
    ours = vectors(inputs.encoder("student"), "query")
    np.testing.assert_allclose(exported.encode_query(TEXTS), ours, atol=1e-5)


@FAMILIES
def test_the_layers_of_a_transformer_are_found_once(
    family: str, words: list[str], tmp_path: Path
) -> None:
    # T5's encoder is a model inside a model.
    encoder = BiEncoderSpec(model=str(write_tiny_model(family, words, tmp_path))).build(
        context(tmp_path)
    )
    model = encoder.towers["query"][0].model
    for module in (encoder, model):
        layers = transformer_layers(module)
        assert len(layers) == len(set(layers)) == model.config.num_hidden_layers
