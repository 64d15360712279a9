"""Ranks train as one process does: batch sizes are global, losses are means over global batches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.ranks import run_on_cpu_ranks
from helpers.train_on_ranks import (
    KILLED,
    ON_FOUR_RANKS,
    SECTIONS,
    SHARDED,
    train_all,
    train_one,
)
from recipekit.component import SingleProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def dataset(make_dataset, tiny_dataset):
    """The tiny data set without one train query's positive: 11 train in batches of 5, 5 and 1."""
    text = tiny_dataset.queries.table.to_pylist()
    queries = [(row["id"], row["text"], ("train", "dev", "test")[row["split"]]) for row in text]
    passages = [(row["id"], row["text"]) for row in tiny_dataset.passages.table.to_pylist()]
    return make_dataset(queries, passages, {(i, i): 1.0 for i in range(24) if i != 4})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a trained encoder, whose towers are saved in folders of their own."""
    files = sorted((folder / "encoder").rglob("model.safetensors"))
    return {
        f"{file.parent.name}/{name}": tensor
        for file in files
        for name, tensor in load_file(file).items()
    }


def assert_trained_equally(one: Path, other: Path, atol: float = 2e-5) -> None:
    """Check two train stages: tokens, curve, dev values and weights.

    Biases of attention keys add the same number to all scores of a query, so they have no effect:
    their gradient is rounding, which AdamW scales up.
    """
    first, second = (json.loads((path / "training.json").read_text()) for path in (one, other))
    assert first["tokens"] == second["tokens"]
    for number in ("loss", "gradient_norm"):
        assert [point[number] for point in first["curve"]] == pytest.approx(
            [point[number] for point in second["curve"]], rel=1e-3
        )
    assert [point["value"] for point in first["dev"]["points"]] == pytest.approx(
        [point["value"] for point in second["dev"]["points"]], abs=2e-3
    )
    expected, trained = weights(one), weights(other)
    assert expected.keys() == trained.keys()
    for name, tensor in expected.items():
        if not name.endswith(("key.bias", "attn.k.bias")):
            torch.testing.assert_close(trained[name], tensor, atol=atol, rtol=0)


def test_ranks_with_whole_or_sharded_weights_train_as_one_process(
    tmp_path: Path, tiny_model: Path, dataset
):
    for count in (2, 4):
        run_on_cpu_ranks(count, "train_on_ranks", [tiny_model, dataset.path, tmp_path / str(count)])
    train_all(tiny_model, dataset.path, tmp_path / "1", SingleProcess())
    for path, names in {
        "2/whole": tuple(SECTIONS),
        "2/sharded": SHARDED,
        "4/sharded": ON_FOUR_RANKS,
    }.items():
        folder = tmp_path / path
        passes = [json.loads(file.read_text()) for file in folder.glob("passes-*.json")]
        assert len(passes) == int(path[0])
        assert all(one == passes[0] for one in passes), "numbers of forward passes"
        for name in names:
            assert_trained_equally(tmp_path / "1" / name, folder / name)

    # A killed run ends with the same weights.
    for mode, sections in KILLED.items():
        for name in sections:
            resumed = weights(tmp_path / "2" / "killed" / name)
            uninterrupted = weights(tmp_path / "2" / mode / name)
            assert resumed.keys() == uninterrupted.keys()
            for parameter, tensor in uninterrupted.items():
                assert torch.equal(resumed[parameter], tensor), (name, parameter)

    # With sharded weights it continues on one rank, too.
    for name, steps in KILLED["sharded"].items():
        before = tmp_path / "2" / "killed-before" / name
        (checkpoint,) = (before / "scratch" / "checkpoints").iterdir()
        assert 0 < int(checkpoint.name.rpartition("-")[2]) <= steps
        assert len(list((checkpoint / "tensors").iterdir())) == 2, "each rank writes its slices"
        shutil.rmtree(before / "store")
        train_one(name, tiny_model, dataset.path, before, SingleProcess())
        assert_trained_equally(tmp_path / "1" / name, before)
