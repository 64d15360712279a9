"""Sharded weights next to whole ones: parameters of modules that FSDP2 does not shard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Normalize,
    Pooling,
    WeightedLayerPooling,
)
from torch.distributed.tensor import DTensor

from helpers.killed import KilledAfter
from helpers.ranks import join_cpu_group, start_ranks
from helpers.tiny_models import FAMILIES, write_tiny_model
from helpers.train_on_ranks import train_one
from recipekit.component import Ranks, SingleProcess
from recipekit.dataset import Dataset
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.pipeline.worker import leave
from recipekit.testing import context
from recipekit.training.sharded import Sharded
from stages.test_train_ranks import assert_trained_equally, weights

pytestmark = pytest.mark.slow

COUNT = 2
SECTION = "separate_towers"
"""The section that is trained; its second phase copies the towers."""
KILLED_AFTER = 11
TEXTS = ["alpha beta", "gamma", "delta epsilon zeta", "eta theta", "iota"]
LIMITS = (None, 1e9, 0.25)


@pytest.fixture
def layers_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny BERT with a trained weight for each of its layers, which FSDP2 leaves whole."""
    transformer = SentenceTransformer(str(tiny_model), device="cpu")[0]
    transformer.model.config.output_hidden_states = True
    layers = WeightedLayerPooling(32, num_hidden_layers=2, layer_start=0)
    modules = [transformer, layers, Pooling(32, "mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(
        str(tmp_path / "layers"), create_model_card=False
    )
    return tmp_path / "layers"


def clipped_gradients(ranks: Ranks, model: Path, folder: Path) -> list[dict[str, Any]]:
    """The norm and the clipped gradients at each limit, with the texts divided over ranks."""
    encoder = BiEncoderSpec(model=str(model), precision="fp32").build(context(folder))
    ranks.prepare(encoder)
    clipped = []
    for limit in LIMITS:
        encoder.zero_grad()
        ids, _ = encoder.tokenize(TEXTS[ranks.rank :: ranks.count], "query")
        embeddings = encoder(encoder.collate(ids, "query"), "query")
        (embeddings * torch.linspace(-3, 4, 32)).sum().backward()
        ranks.sum_gradients(encoder)
        norm = ranks.clip_gradients(encoder, limit)
        clipped.append({"norm": torch.tensor(norm), **dict(gradients(encoder))})
    return clipped


def gradients(encoder: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The whole gradients by name."""
    for name, parameter in encoder.named_parameters():
        if (gradient := parameter.grad) is not None:
            whole = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient.clone()
            yield name, whole


def on_a_rank(rank: int, folder: Path, model: Path, dataset: Path) -> None:
    torch.set_num_threads(1)
    ranks = Sharded(join_cpu_group(rank, COUNT, folder).state)
    torch.save(clipped_gradients(ranks, model, folder / "built"), folder / f"{rank}.pt")
    train_one(SECTION, model, dataset, folder / "whole", ranks)
    resumed = folder / "resumed"
    with suppress(KeyboardInterrupt):
        train_one(SECTION, model, dataset, resumed, ranks, KilledAfter("train", KILLED_AFTER))
    train_one(SECTION, model, dataset, resumed, ranks)
    leave(0)


def test_whole_parameters_next_to_sharded_ones_train_as_on_one_process(
    tmp_path: Path, layers_model: Path, tiny_dataset: Dataset
) -> None:
    start_ranks(on_a_rank, COUNT, tmp_path, layers_model, tiny_dataset.path)
    alone = clipped_gradients(SingleProcess(), layers_model, tmp_path / "alone-built")
    assert "parts.1.layer_weights" in alone[0]
    for rank in range(COUNT):
        computed = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(computed, alone, rtol=1e-4, atol=1e-6)
    train_one(SECTION, layers_model, tiny_dataset.path, tmp_path / "alone", SingleProcess())
    assert_trained_equally(tmp_path / "alone", tmp_path / "whole")
    resumed, whole = weights(tmp_path / "resumed"), weights(tmp_path / "whole")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


# Families of models
# -------------------------------------------------------------------------------------------------


def families_on_a_rank(rank: int, folder: Path, dataset: Path) -> None:
    torch.set_num_threads(1)
    ranks = Sharded(join_cpu_group(rank, COUNT, folder).state)
    for family in FAMILIES:
        train_one(SECTION, folder / family / "model", dataset, folder / family / "sharded", ranks)
    leave(0)


def test_models_of_every_family_train_as_on_one_process(
    tmp_path: Path, words: list[str], tiny_dataset: Dataset
) -> None:
    for family in FAMILIES:
        write_tiny_model(family, words, tmp_path / family)
    start_ranks(families_on_a_rank, COUNT, tmp_path, tiny_dataset.path)
    for family in FAMILIES:
        folder = tmp_path / family
        train_one(SECTION, folder / "model", tiny_dataset.path, folder / "alone", SingleProcess())
        assert_trained_equally(folder / "alone", folder / "sharded", atol=1e-4)
