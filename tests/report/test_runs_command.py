"""`recipekit runs`: the list of runs, and what changed between two."""

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recipekit.cli.main import invoke
from recipekit.pipeline.run_differences import compare_runs
from recipekit.tables import QUERIES, read_table, write_table

WriteRun = Callable[..., Path]


@pytest.fixture
def two_runs(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Two runs of one recipe: the second has its own copies of the artifacts, and is the latest."""
    first = write_run()
    second = first.with_name("20250102T000000Z-def")
    shutil.copytree(first, second)  # also what the links point to
    (first.parent / "latest").unlink()
    (first.parent / "latest").symlink_to(second.name)
    change(second / "run.json", started="2025-01-02T00:00:00+00:00", finished=None)
    change(second / "run.json", status="failed", reason="the disk is full")
    monkeypatch.chdir(tmp_path)
    return [first, second]


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def component(version: int = 1, content: str = "aa", commit: str = "1f") -> dict[str, Any]:
    return {
        "distribution": "recipekit",
        "name": "pairs",
        "version": version,
        "fields": {"query": "query"},
        "files": {"pairs..jsonl": content},
        "fingerprint": {"dataset": commit},
    }


def identity(**values: Any) -> dict[str, Any]:
    section = {"sources": {"own": component(**values)}}
    return {"stage": "collect", "version": 2, "seed": 13, "section": section, "inputs": {}}


def test_runs_are_listed_newest_first_with_their_main_figures(
    two_runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(two_runs[0] / "stages/evaluate/metrics.json", two_runs[0] / "metrics.json")
    assert invoke(["runs"]) == 0
    _, newest, oldest = capsys.readouterr().out.splitlines()
    assert newest.split()[2:6] == ["tiny", "20250102T000000Z-def", "(latest)", "failed"]
    assert newest.endswith("the disk is full")
    assert "1 min 0 s" in oldest
    assert oldest.endswith("ndcg@10: bm25 0.400, untrained 0.500, trained 0.600")
    assert invoke(["runs", "tiny", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [run["id"] for run in listed] == [run.name for run in reversed(two_runs)]
    assert [run["is_latest"] for run in listed] == [True, False]


def test_a_killed_run_is_told_from_one_that_is_running(
    two_runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for run in two_runs:
        change(run / "run.json", status="running", finished=None)
        (run / "run.lock").touch()
    with (two_runs[1] / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert invoke(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [run["status"] for run in listed] == ["running", "killed"]
    assert invoke(["report", str(two_runs[0])]) == 0
    assert "This run was killed." in capsys.readouterr().out


def test_a_damaged_run_is_listed_as_damaged(
    two_runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (two_runs[0] / "run.json").write_text("{")
    assert invoke(["runs"]) == 0
    assert "damaged" in capsys.readouterr().out.splitlines()[-1]


def test_no_runs_is_a_sentence_and_an_unknown_recipe_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["runs"]) == 0
    assert capsys.readouterr().out == "runs/: there are no runs yet\n"
    assert invoke(["runs", "nope"]) == 2
    assert "no run 'nope'" in capsys.readouterr().err


def test_a_run_is_named_by_its_id_or_the_end_of_it(
    two_runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["runs", "20250101T000000Z-abc", "def"]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == "runs/tiny/20250101T000000Z-abc → runs/tiny/20250102T000000Z-def"
    assert invoke(["report", "abc"]) == 0


def test_an_id_of_several_runs_is_ambiguous_and_lists_them(
    two_runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    again = two_runs[0].with_name("20250103T000000Z-abc")
    shutil.copytree(two_runs[0], again)
    assert invoke(["runs", "abc", "def"]) == 2
    assert capsys.readouterr().err == (
        "run 'abc': 2 runs have this id; name one by its folder [RK541]\n"
        "  runs/tiny/20250101T000000Z-abc\n"
        "  runs/tiny/20250103T000000Z-abc\n"
    )
    assert invoke(["runs", again.name, "def"]) == 0


def test_two_equal_runs_have_no_changes(
    two_runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare_runs(*two_runs)
    assert (found.recipe, found.data, found.versions, found.devices) == ((), (), (), ())
    assert invoke(["runs", "abc", "def"]) == 0
    assert "Unchanged: recipe, data, versions, devices." in capsys.readouterr().out


def test_changed_keys_files_revisions_versions_devices_and_figures_are_named(
    two_runs: list[Path],
) -> None:
    first, second = two_runs
    for run in two_runs:
        recipe = run / "recipe.resolved.yaml"
        source = "own: {use: pairs, file: data/whole.jsonl}"
        recipe.write_text(recipe.read_text().replace("mine: {use: pairs}", source))
    changed = recipe.read_text().replace("query_epochs: 3", "query_epochs: 4")
    recipe.write_text(changed.replace("use: margin", "use: llm, model: openai/any"))
    for run, more in (
        (first, {"identity": identity()}),
        (second, {"identity": identity(version=2, content="bb", commit="2e")}),
    ):
        change(run / "stages/collect/manifest.json", **more)
    for run, device, torch in ((first, "CPU", "2.8"), (second, "NVIDIA H200", "2.9")):
        change(run / "stages/train/manifest.json", device=device, versions={"torch": torch})
    for stage in ("collect", "mine", "judge", "evaluate", "export"):
        for run in two_runs:
            change(run / "stages" / stage / "manifest.json", versions={})
    rows = json.loads((first / "stages/evaluate/metrics.json").read_text())
    (first / "metrics.json").write_text(json.dumps(rows))
    rows[0]["value"] = 0.25
    (second / "metrics.json").write_text(json.dumps(rows[:-1]))
    found = compare_runs(first, second)
    assert set(found.recipe) == {
        "judge.judges.cautious: margin → llm",
        "train.phases.contrastive.query_epochs: 3 → 4",
    }
    assert set(found.data) == {
        "collect.sources.own.file (whole.jsonl): the content changed",
        'collect.sources.own.dataset: "1f" → "2e"',
    }
    assert found.versions == (
        'torch: "2.8" → "2.9"',
        "results of collect.sources.own: version 1 → 2",
    )
    assert found.devices == ("train: CPU → NVIDIA H200",)
    assert found.metrics[0].difference == pytest.approx(-0.15)
    assert (found.metrics[-1].second, found.metrics[-1].difference) == (None, None)


def test_changed_collected_data_is_counted_or_named(two_runs: list[Path]) -> None:
    first, second = two_runs
    change(second / "stages/collect/manifest.json", key="another")
    file = second / "stages/collect/queries.arrow"
    table = read_table(first / "stages/collect/queries.arrow")
    other = table.set_column(1, QUERIES.field("text"), pa.array(["x"] * 24, pa.large_string()))
    write_table(file, QUERIES, [other])
    assert compare_runs(first, second).data == ("queries: 24 as before, with other content",)
    write_table(file, QUERIES, [table.slice(0, 23)])
    assert compare_runs(first, second).data == ("queries: 24 → 23",)
