"""Output for programs: `--json` of every command, the events of a run, and `--quiet`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from helpers.in_process import call_in_process
from helpers.markdown import ROOT
from helpers.small_run import call_cli
from recipekit.cli.main import invoke
from recipekit.pipeline.run_events import EVENTS
from recipekit.recipe.shipped import shipped, shipped_baselines

NOISY_SOURCE = """\
from recipekit.component import Source, SourceSpec
from recipekit.records import Label, Passage, Query


class NoisySpec(SourceSpec):
    def build(self, context):
        return Noisy()


class Noisy(Source):
    def load(self):
        print("printed by a plugin")
        for n in range(9):
            yield Passage(f"p{n}", f"it is {n}")
            yield Query(f"q{n}", f"what is {n}")
            yield Label(f"q{n}", f"p{n}")
"""


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"query": f"what is {n}", "positive": f"it is {n}"} for n in range(40)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("recipe.yaml").write_text(
        "recipe: 1\nname: tiny\ncollect:\n  sources:\n    own: {use: pairs, file: pairs.jsonl}\n"
        "mine:\n  retrievers:\n    lexical: {use: bm25, depth: 5}\n"
    )
    return tmp_path


def test_the_page_lists_every_event_with_its_fields() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    table = page.partition("## Events of a run")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    listed = {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    assert listed == dict(EVENTS)


@pytest.mark.slow
def test_a_run_prints_documented_events_and_nothing_else(folder: Path) -> None:
    ended = call_cli(folder, "run", "--json")
    first = events(ended.stdout)
    assert ended.stderr == ""
    for event in first:
        assert set(event) == {"event", "time", *EVENTS[event["event"]]}
    assert [event["event"] for event in first if event["event"] != "done"] == [
        "run_started",
        *("stage_started", "stage_finished") * 2,
        "run_finished",
    ]
    assert [stage["state"] for stage in first[0]["stages"]] == ["miss", "miss"]
    assert (first[-1]["status"], first[-1]["ran"]) == ("finished", ["collect", "mine"])
    files = {name: Path(first[-1][name]).name for name in ("report", "report_html")}
    assert files == {"report": "report.md", "report_html": "report.html"}
    again = events(call_cli(folder, "run", "--json").stdout)
    assert [event["event"] for event in again[1:-1]] == ["stage_cached"] * 2
    assert again[1]["key"] == first[0]["stages"][0]["key"]
    assert call_in_process(folder, "run", "--quiet").stdout == ""


@pytest.mark.slow
def test_what_a_component_prints_is_not_among_the_events(folder: Path) -> None:
    (folder / "noisy.py").write_text(NOISY_SOURCE)
    (folder / "recipe.yaml").write_text(
        "recipe: 1\nname: noisy\ncollect:\n  sources:\n    own: {use: ./noisy.py:NoisySpec}\n"
    )
    ended = call_cli(folder, "run", "--json", "--allow-local-code")
    assert events(ended.stdout)[-1]["status"] == "finished"
    assert "printed by a plugin" in ended.stderr


@pytest.mark.slow
def test_a_failed_run_ends_with_its_error(folder: Path) -> None:
    (folder / "pairs.jsonl").write_text('{"query": "a", "positive": "b"}\nnot JSON\n')
    ended = call_cli(folder, "run", "--json", status=1)
    *_, finished, error = events(ended.stdout)
    assert (finished["event"], finished["status"]) == ("run_finished", "failed")
    assert (error["event"], error["code"], error["problems"]) == ("error", "RK304", [])
    assert "pairs.jsonl:2" in error["message"]
    assert error["message"].splitlines()[0] in ended.stderr
    quiet = call_in_process(folder, "run", "--quiet", status=1)
    assert quiet.stdout == ""
    assert "pairs.jsonl:2" in quiet.stderr and "running" not in quiet.stderr


@pytest.mark.usefixtures("folder")
def test_a_wrong_recipe_has_a_list_of_problems(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "--json", "--set", "nope=1", "--set", "seed=x"]) == 2
    (error,) = events(capsys.readouterr().out)
    assert [problem["where"] for problem in error["problems"]] == ["--set nope=1", "--set seed=x"]
    assert set(error["problems"][0]) == {"where", "path", "message", "code"}


@pytest.mark.usefixtures("folder")
def test_quiet_excludes_json() -> None:
    assert invoke(["run", "--quiet", "--json"]) == 2


@pytest.mark.slow
def test_commands_that_show_something_print_it_as_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_in_process(folder, "run")

    def printed(*command: str) -> Any:
        assert invoke([*command, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    report = printed("report")
    assert (report["recipe"], report["status"]) == ("tiny", "finished")
    assert [stage["stage"] for stage in report["stages"]] == ["collect", "mine"]
    assert report["stages"][0]["summary"]["sources"]["own"]["queries"] == 40
    cache = printed("cache", "ls")
    assert {found["artifact"] for found in cache["artifacts"]} == {"bm25", "collect", "mine"}
    assert {found["state"] for found in cache["artifacts"]} == {"needed"}
    assert cache["bytes"] == sum(found["bytes"] for found in cache["artifacts"])


def test_components_keys_and_recipes_are_printed_as_json(
    capsys: pytest.CaptureFixture[str], installed: Path
) -> None:
    def printed(*command: str) -> Any:
        assert invoke([*command, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    found = {component["name"]: component for component in printed("components")}
    assert found["bm25"]["summary"].startswith("BM25") and found["bm25"]["error"] is None
    assert "oven is on fire" in found["burnt"]["error"] and found["burnt"]["summary"] is None
    one = printed("components", "loss", "infonce")
    assert one["schema"]["properties"]["temperature"]["default"] == 0.05
    key = printed("keys", "train.batch_size")
    assert list(key["schema"]["properties"]) == ["batch_size"]
    assert key["description"].startswith("Queries per optimizer step")
    assert printed("keys", "mine.retrievers")["component"] == "retriever"
    listed = {recipe["name"]: recipe["baseline"] for recipe in printed("recipes")}
    assert listed == {name: name in shipped_baselines() for name in shipped()}
    assert any(listed.values())
    assert printed("recipes", "quickstart")["text"].startswith("#")
