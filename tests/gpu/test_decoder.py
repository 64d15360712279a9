"""A decoder of 0.6 B weights on GPUs: LoRA on one, whole weights sharded over two.

The model has random weights in the shape of Qwen3-Embedding-0.6B, so nothing is downloaded. The
figures are printed: `pytest tests/gpu -s`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from recipekit.dataset import Dataset

WEIGHTS_GB = 0.6 * 4
"""Float32 weights; with gradients and AdamW's moments, training them all takes four times that."""


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder of sentence-transformers with a decoder, and the tokenizer of the tiny model."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

    folder = tmp_path_factory.mktemp("decoder")
    torch.manual_seed(7)
    config = Qwen3Config(
        vocab_size=151_669,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
    )
    Qwen3Model(config).to(torch.bfloat16).save_pretrained(folder / "qwen3")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(folder / "qwen3")
    transformer = Transformer(str(folder / "qwen3"), max_seq_length=64)
    modules = [transformer, Pooling(1024, "lasttoken"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


def trained(
    decoder: Path, dataset: Dataset, out: Path, *, gpus: int, lora: bool, sharded: bool
) -> list[dict[str, Any]]:
    """The figures of every rank."""
    words = ["yes" if flag else "no" for flag in (lora, sharded)]
    arguments = [str(decoder), str(dataset.path), str(out), *words]
    script = str(Path(__file__).with_name("decoder_on_gpus.py"))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    command = [sys.executable, *(launcher if gpus > 1 else []), script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    figures = [json.loads((out / f"gpu-{rank}.json").read_text()) for rank in range(gpus)]
    first = figures[0]
    print(
        f"\n{first['device']} x {gpus}, lora {lora}, sharded {sharded}: "
        f"{first['peak_gb']:.1f} GB, {first['steps_per_second']:.2f} steps/s"
    )
    return figures


def test_lora_trains_in_little_more_memory_than_the_weights(
    decoder: Path, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    (figures,) = trained(decoder, tiny_dataset, tmp_path, gpus=1, lora=True, sharded=False)
    assert figures["peak_gb"] < 2.5 * WEIGHTS_GB
    assert figures["losses"][-1] < figures["losses"][0]


@pytest.mark.several_gpus
def test_sharded_weights_take_less_memory_and_train_alike(
    decoder: Path, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    whole = trained(decoder, tiny_dataset, tmp_path / "w", gpus=2, lora=False, sharded=False)
    sharded = trained(decoder, tiny_dataset, tmp_path / "s", gpus=2, lora=False, sharded=True)
    for one, other in zip(whole, sharded, strict=True):
        assert other["peak_gb"] < 0.8 * one["peak_gb"]
    assert sharded[0]["losses"] == pytest.approx(whole[0]["losses"], rel=0.02)


@pytest.mark.several_gpus
def test_lora_trains_with_sharded_weights(
    decoder: Path, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    figures = trained(decoder, tiny_dataset, tmp_path, gpus=2, lora=True, sharded=True)
    assert all(one["peak_gb"] < 2 * WEIGHTS_GB for one in figures)
    assert figures[0]["losses"][-1] < figures[0]["losses"][0]
