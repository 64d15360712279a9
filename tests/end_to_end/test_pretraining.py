"""A recipe of three phases, from its YAML to the exported model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from helpers.small_run import Cli, metrics

PHASES = """\
  phases:
    pretrain: {use: masked_language_model, epochs: 2, texts: both, batch_size: 16}
    warm: {use: in_batch, epochs: 1}
    exact:
      use: coordinate_ascent
      loss: {use: exact_softmax, temperature: 0.05}
      query_epochs: 2
"""


@pytest.mark.slow
def test_pretraining_then_batches_then_the_corpus(folder: Path, cli: Cli) -> None:
    recipe = (folder / "recipe.yaml").read_text()
    start, end = recipe.index("  phases:\n"), recipe.index("  batch_size: 8\n")
    (folder / "recipe.yaml").write_text(recipe[:start] + PHASES + recipe[end:])
    cli("run", "recipe.yaml")
    latest = folder / "runs" / "tiny" / "latest"
    training = json.loads((latest / "stages" / "train" / "training.json").read_text())
    assert training["phases"] == ["pretrain", "warm", "exact"]
    losses = [point["loss"] for point in training["curve"] if point["phase"] == 0]
    assert losses[-1] < losses[0]
    report = (latest / "report.md").read_text()
    assert "`pretrain` (masked_language_model, 2 epochs)" in report
    assert "unlabelled text" in report
    assert {row["system"] for row in metrics(folder)} >= {"trained", "untrained"}
    model = SentenceTransformer(str(latest / "stages" / "export" / "model"), device="cpu")
    assert model.encode_query(["river"]).shape == (1, 32)
