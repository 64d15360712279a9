"""`recipekit reproduce`: the same figures again, and every change named."""

import hashlib
import json
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest

from helpers.plain_text import plain_text
from recipekit.reproduce.reproduction import outcomes, outcomes_blocks

Cli = Callable[..., str]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]
OWN = "collect.sources.own.file (data/own/pairs.jsonl)"


@pytest.fixture
def bundle(folder: Path, cli: Cli) -> Path:
    """The bundle of the run, where neither its cache nor its data is."""
    cli("share", "small", "out")
    for name in ("runs", ".recipekit"):
        shutil.rmtree(name)
    Path("pairs.jsonl").rename("mine.jsonl")
    return folder / "out"


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_a_baseline_gives_the_published_figures_in_a_fresh_cache(bundle: Path, cli: Cli) -> None:
    printed = cli("reproduce", "out", "--cpu")
    assert "bm25    ndcg@10" in printed and "1 of 1 figures are within tolerance" in printed
    assert "data, versions and device are those of the lock" in printed
    assert "(tolerances: rounding alone)" in printed
    assert "report: reproduced-small/runs/small/latest/report.html" in printed
    assert Path("reproduced-small/runs/small/latest/report.md").is_file()
    assert not Path("runs").exists()
    printed = cli("reproduce", "out", "--cpu", "--json")  # from its own cache
    found, _ = json.JSONDecoder().raw_decode(printed)
    assert found["reproduced"] and found["differences"] == []
    assert found["figures"][0]["within"]


def test_a_figure_outside_its_tolerance_fails(bundle: Path, cli: Cli) -> None:
    rows = json.loads((bundle / "metrics.json").read_text())
    rows[0]["value"] += 0.1
    (bundle / "metrics.json").write_text(json.dumps(rows))
    printed = cli("reproduce", "out", "--cpu", status=1)
    assert "metrics.json: was changed after it was written" in printed
    printed = cli("reproduce", "out", "--cpu", "--force", "--work", "forced", status=1)
    assert "0 of 1 figures are within tolerance" in printed and "-0.1000" in printed


def test_one_changed_byte_of_data_is_named(bundle: Path, cli: Cli) -> None:
    change(bundle / "data/own/pairs.jsonl", "word3", "word9")
    printed = cli("reproduce", "out", "--cpu", status=1)
    assert "data/own/pairs.jsonl: was changed after it was written (sha256 " in printed
    assert f"{OWN}: the content changed (sha256 " in printed
    assert not Path("reproduced-small/runs").exists()


def test_a_changed_version_and_revision_are_named(bundle: Path, cli: Cli) -> None:
    lock = bundle / "recipe.lock"
    version = next(line for line in lock.read_text().splitlines() if "numpy:" in line)
    change(lock, version, "  numpy: 1.0.0")
    change(lock, "revisions: {}", "revisions:\n  encoders.student: {model: a/b, revision: '12'}")
    printed = cli("reproduce", "out", "--cpu", status=1)
    assert "recipe.lock: was changed after it was written" in printed
    assert "numpy 1.0.0 is locked, " in printed
    assert "encoders.student: is in the lock, but not in the recipe" in printed


def test_another_version_alone_is_named_and_accepted(
    bundle: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recipekit.reproduce import lock

    index, written = bundle / "bundle.json", bundle / "recipe.lock"
    was = hashlib.sha256(written.read_bytes()).hexdigest()
    change(written, "  collect: ", "  collect: 9")
    change(written, "  evaluate.evaluators.held_out.exclude_same_id: false\n", "")
    change(index, was, hashlib.sha256(written.read_bytes()).hexdigest())
    monkeypatch.setattr(lock, "versions", lambda: {"python": "3", "numpy": "0.1"})
    printed = cli("reproduce", "out", "--cpu")
    assert "differs from the lock: numpy " in printed and "0.1 is installed" in printed
    assert "differs from the lock: results of collect: version 9" in printed
    assert "differs from the lock: evaluate.evaluators.held_out.exclude_same_id" in printed
    assert "to run with the locked versions, add --fresh-environment" in printed
    assert "1 of 1 figures are within tolerance" in printed


def test_left_out_data_is_asked_for_and_checked(folder: Path, cli: Cli) -> None:
    file = next(folder.glob("runs/small/2*/recipe.resolved.yaml"))
    change(file, "license: cc0-1.0", "license: null")
    cli("share", "small", "out.zip")
    printed = cli("reproduce", "out.zip", "--cpu", status=2)
    assert "the baseline does not contain a file; give your own:" in printed
    assert "--data data/own/pairs.jsonl=FILE    (collect.sources.own.file: " in printed
    Path("other.jsonl").write_text(Path("pairs.jsonl").read_text().replace("word3", "word9"))
    asked = "data/own/pairs.jsonl="
    printed = cli("reproduce", "out.zip", "--cpu", "--data", f"{asked}other.jsonl", status=1)
    assert f"{OWN}: the content changed" in printed
    assert "1 of 1 figures are within" in cli(
        "reproduce", "out.zip", "--cpu", "--data", f"{asked}pairs.jsonl"
    )
    assert "does not ask for this file" in cli(
        "reproduce", "out.zip", "--cpu", "--data", "nope=pairs.jsonl", status=2
    )


def test_a_work_folder_with_other_files_is_refused(bundle: Path, cli: Cli) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").touch()
    printed = cli("reproduce", "out", "--cpu", "--work", "mine", status=2)
    assert "is not empty and does not hold a reproduction" in printed


def test_a_missing_figure_is_not_within() -> None:
    row = {"evaluator": "e", "split": "test", "system": "s", "metric": "m", "value": 0.5}
    published = [{**row, "tolerance": 0.1, "tolerance_basis": "stated by the author"}]
    [missing] = outcomes(published, [])
    [exact] = outcomes(published, [{**row, "value": 0.6}])
    assert not missing.is_within and exact.is_within
    assert plain_text(outcomes_blocks([exact])).endswith("yes\n")


def test_evaluators_without_a_split_have_no_comma_and_language_pairs_are_one_line() -> None:
    def row(metric: str, value: float, **keys: object) -> dict[str, object]:
        place = {"evaluator": "bi", "split": "", "system": "trained", "metric": metric}
        return {**place, "value": value, "tolerance": 0.1, "tolerance_basis": "b", **keys}

    pairs = [row(f"f1 {a}-{b}", 0.5, languages=[a, b]) for a, b in permutations("dfe", 2)]
    own = {**row("ndcg@10", 0.5), "evaluator": "held_out", "split": "test"}
    published = [own, row("f1", 0.5), *pairs]
    text = plain_text(outcomes_blocks(outcomes(published, published)))
    assert "held_out, test: trained  ndcg@10" in text and "\nbi: trained " in text
    assert "f1 d-e" not in text and text.endswith(
        "\n6 figures of language pairs: within tolerance\n"
    )
    here = [*published[:-1], {**published[-1], "value": 0.1}]
    text = plain_text(outcomes_blocks(outcomes(published, here)))
    assert "f1 e-f" in text and "f1 d-e" not in text
    assert text.endswith("\nthe other 5 figures of language pairs: within tolerance\n")
