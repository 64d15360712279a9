"""Trackers get the numbers of training, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.small_run import write_recipe
from recipekit import run
from recipekit.errors import RunError
from recipekit.pipeline.trackers import check_tracker


def test_an_unknown_or_missing_tracker_is_refused_before_anything_runs(
    tiny_model: Path, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"no such tracker\. Did you mean 'tensorboard'\?"):
        check_tracker("tensorbord")
    write_recipe(tmp_path, tiny_model, words)
    message = "--tracker clearml: the package clearml is not installed: pip install clearml"
    with pytest.raises(RunError, match=message):
        run(tmp_path / "recipe.yaml", tracker="clearml")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_what_the_log_has(
    tiny_model: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    write_recipe(tmp_path, tiny_model, words)
    finished = run(tmp_path / "recipe.yaml", until="train", tracker="tensorboard")
    folder = finished.path / "tensorboard"
    shown = EventAccumulator(str(folder)).Reload()
    training = json.loads((finished.path / "stages" / "train" / "training.json").read_text())
    points = [(event.step, event.value) for event in shown.Scalars("train/loss")]
    assert points == [
        (point["step"], pytest.approx(point["loss"], rel=1e-6)) for point in training["curve"]
    ]
    dev = [(event.step, event.value) for event in shown.Scalars("dev/ndcg@10")]
    assert dev == [
        (point["step"], pytest.approx(point["value"], rel=1e-6))
        for point in training["dev"]["points"]
    ]
    assert "contrastive/exact_loss" in shown.Tags()["scalars"]
    written = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"sk-secret-value" not in written
    assert str(tiny_model).encode() not in written
