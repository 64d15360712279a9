"""`share --seeds`: tolerances from the spread over seeds, published before bf16 computes again."""

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from helpers.in_process import call_in_process
from helpers.small_run import write_recipe
from recipekit.encoding import precision

Cli = Callable[..., str]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]


def write_training_recipe(folder: Path, model: Path, words: list[str]) -> None:
    """Write a recipe that trains and evaluates, and nothing else."""
    write_recipe(folder, model, words)
    recipe = folder / "recipe.yaml"
    text = recipe.read_text().replace("file: pairs.jsonl", "file: pairs.jsonl, license: mit")
    collect, _, rest = text.partition("mine:")
    train = rest.partition("train:")[2].partition("export:")[0]
    train = train.replace(
        "precision: fp32\nevaluate", "precision: fp32\n  keep_weights: last\nevaluate"
    )
    recipe.write_text(f"{collect}train:{train}")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, words: list[str]) -> Path:
    """A folder with a finished run, and its baseline with tolerances over three seeds."""
    folder = tmp_path_factory.mktemp("published")
    write_training_recipe(folder, tiny_model, words)
    call_in_process(folder, "run", "--cpu", "--quiet")
    call_in_process(folder, "share", "tiny", "out", "--seeds", "2", "--cpu", "--include-data")
    return folder


def seed_of(run: Path) -> int:
    """Return the seed that a run trained with."""
    recipe = yaml.safe_load((run / "recipe.resolved.yaml").read_text())
    return int(recipe["train"]["seed"])


def test_tolerances_are_measured_with_further_seeds(published: Path) -> None:
    rows = json.loads((published / "out/metrics.json").read_text())
    by_place = {(row["system"], row["metric"]): row for row in rows}
    row = by_place["trained", "ndcg@10"]
    values = [row["value"], *row["repeated"]]
    assert len(set(values)) == 3, "every seed trains something else"
    expected = 4.302653 * 2**0.5 * statistics.stdev(values)
    assert row["tolerance"] == pytest.approx(max(expected, 0.001), rel=1e-5)
    assert {row["tolerance_basis"] for row in rows} == {"spread over 3 runs"}
    untrained = by_place["untrained", "ndcg@10"]
    assert untrained["repeated"] == [untrained["value"]] * 2 and untrained["tolerance"] == 0.001
    assert len(list((published / "runs/tiny").glob("2*"))) == 1, "no run of the user's is added"
    assert "](figures/learning-curve.svg)" in (published / "out/README.md").read_text()


def test_runs_with_other_seeds_measure_tolerances(
    published: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(published)
    # By seed: the names of two runs of one second do not say which came first.
    runs = sorted(published.glob(".recipekit/seeds/tiny/2*"), key=seed_of)
    spread = [word for run in runs for word in ("--spread", str(run))]
    cli("share", "tiny", f"{tmp_path}/out", *spread, "--include-data")
    by_seeds, by_spread = (
        json.loads((folder / "out/metrics.json").read_text()) for folder in (published, tmp_path)
    )
    assert by_spread == by_seeds


def test_a_baseline_of_fp32_is_reproduced_in_bf16(
    published: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published / "out", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    # Without bf16 instructions, the processor computes slowly, but with bf16's rounding.
    monkeypatch.setattr(precision, "_has_bf16", lambda device: True)
    bf16 = ["--set", "encoders.student.precision=bf16", "--set", "train.precision=bf16"]
    printed = cli("reproduce", "out", "--cpu", *bf16)
    assert "figures are within tolerance" in printed and "trained    ndcg@10" in printed
    manifest = Path("reproduced-tiny/runs/tiny/latest/stages/train/manifest.json")
    assert json.loads(manifest.read_text())["device"] == "CPU, bf16"
