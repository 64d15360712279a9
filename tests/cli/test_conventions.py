"""Habits of command lines: -h, a default recipe, exit statuses, JSON, and `latest`."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, NoReturn

import pytest

from recipekit.cli.main import COMMANDS, invoke
from recipekit.cli.options import KIND_HELP
from recipekit.cli.recipes import summary_of
from recipekit.component import KINDS
from recipekit.error_codes import ERROR_CODES, exit_status
from recipekit.errors import DataError, RunError
from recipekit.exit_statuses import EXIT_USAGE
from recipekit.llm.completion import Reply, Request, Usage
from recipekit.llm.reply_cache import ReplyCache
from recipekit.pipeline import execution
from recipekit.pipeline.job import Job
from recipekit.pipeline.stage_process import StageProcesses
from recipekit.recipe.shipped import shipped

TINY = """\
recipe: 1
name: tiny
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl}
  split: {dev: 0.1, test: 0.2}
mine:
  retrievers:
    lexical: {use: bm25, depth: 5}
judge:
  judges:
    model: {use: llm, model: openai/gpt-5-nano, prompt: binary}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    rows = [{"query": f"what is {n}", "positive": f"it is {n}"} for n in range(40)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("recipe.yaml").write_text(TINY)
    return tmp_path


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["judge", "try"]])
def test_h_is_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([*command, "-h"]) == 0
    short = capsys.readouterr().out
    assert invoke([*command, "--help"]) == 0
    assert short == capsys.readouterr().out
    assert "-h, --help" in short


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["judge", "try"]])
def test_help_fits_the_terminal(
    width: int,
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert invoke([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert "..." not in out.partition("Commands:")[2]  # no summary is cut


def test_help_lists_every_kind_of_component() -> None:
    kinds = KIND_HELP.removesuffix(".").replace(" or ", ", ").split(", ")
    assert kinds == list(KINDS)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["validate", "plan", "fill"])
def test_the_default_recipe_is_recipe_yaml(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([command]) == 0
    default = capsys.readouterr().out
    assert invoke([command, "recipe.yaml"]) == 0
    assert default == capsys.readouterr().out
    assert "tiny" in default or "recipe.yaml" in default


@pytest.mark.parametrize("command", ["run", "validate", "plan", "fill"])
def test_a_missing_default_recipe_is_one_line(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke([command]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("recipe.yaml: no such recipe file. `recipekit init` writes one.")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["nope"], 2),
        (["run", "--nope"], 2),
        (["run", "--from", "nope"], 2),
        (["plan", "--until", "nope"], 2),
        (["plan", "--from", "judge", "--until", "mine"], 2),
        (["keys", "nope"], 2),
        (["components", "nope"], 2),
        (["recipes", "nope"], 2),
        (["init", "--source", "nope"], 2),
        (["validate", "nope.yaml"], 2),
        (["run", "--set", "nope=1"], 2),
        (["report", "nope"], 2),
        (["search", "nope", "a query"], 2),
        (["schema", "--distribution", "nope"], 2),
        (["components", "loss", "nope"], 2),
        (["judge", "try"], 1),
        (["judge", "try", "--set", "judge=null"], 2),
        (["judge", "sample", "--output", "sample.txt"], 2),
        (["run", "--export-to", "."], 2),
        (["run", "--until", "mine", "--export-to", "recipe.yaml"], 2),
        (["init", "."], 2),
        (["run", "--num-processes", "0"], 2),
        (["run", "--accelerate-config", "nope.yaml"], 2),
        (["init", "--data", "nope.csv", "other.yaml"], 1),
        (["init"], 2),
        (["recipes"], 0),
    ],
)
def test_the_exit_status_is_2_for_usage_and_1_for_failures(command: list[str], status: int) -> None:
    assert invoke(command) == status


@pytest.mark.usefixtures("folder")
def test_plan_selects_stages_as_run_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["plan", "--until", "mine", "--json"]) == 0
    assert [stage["stage"] for stage in json.loads(capsys.readouterr().out)] == ["collect", "mine"]


@pytest.mark.usefixtures("folder")
def test_validate_prints_a_json_object_per_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text("recipe: 2\n")
    assert invoke(["validate", "recipe.yaml", "bad.yaml", "--json"]) == 2
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["recipe"], good["valid"], good["problems"]) == ("recipe.yaml", True, [])
    assert bad["valid"] is False
    first = bad["problems"][0]
    assert (first["where"], first["path"]) == ("bad.yaml:1:1", "name")
    assert first["message"].startswith("missing")


def test_shipped_recipes_are_listed_printed_and_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["recipes"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped())
    assert all(len(line.split()) > 5 and line.endswith(".") for line in lines)
    for file in shipped().values():
        _, first, *_ = file.read_text().splitlines()
        assert first == f"# {summary_of(file)}" and len(first) < 90, "one short line"
    assert invoke(["recipes", "quickstart"]) == 0
    printed = capsys.readouterr().out
    copy = tmp_path / "mine.yaml"
    assert invoke(["recipes", "quickstart", "--copy-to", str(copy)]) == 0
    assert copy.read_text() == printed
    assert invoke(["validate", str(copy)]) == 0
    assert invoke(["recipes", "quickstart", "--copy-to", str(copy)]) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_run_without_its_api_key_does_not_become_latest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latest = folder / "runs" / "tiny" / "latest"
    assert invoke(["run"]) == 1  # before the first stage
    assert "OPENAI_API_KEY" in capsys.readouterr().err
    assert not latest.is_symlink()
    assert invoke(["run", "--until", "mine"]) == 0
    finished = latest.readlink()
    assert invoke(["run"]) == 1  # judge is the first stage that runs
    assert latest.readlink() == finished
    assert json.loads((latest / "run.json").read_text())["status"] == "finished"
    capsys.readouterr()
    assert invoke(["report"]) == 0
    by_file = capsys.readouterr().out
    assert by_file.startswith("# ")
    for name in ("recipe.yaml", "tiny", str(latest)):
        assert invoke(["report", name]) == 0
        assert capsys.readouterr().out == by_file


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("paid", [False, True])
def test_latest_is_a_failed_run_only_if_it_paid_for_calls(
    paid: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(["run", "--until", "mine"]) == 0
    latest = folder / "runs" / "tiny" / "latest"
    before = latest.readlink()

    def fail(self: StageProcesses, job: Job, lock: IO[str], **more: object) -> NoReturn:
        if paid:
            with ReplyCache(Path(job.cache) / "calls.sqlite") as replies:
                request = Request("openai/any", ({"role": "user", "content": "?"},))
                replies.keep(request, Reply("!", "any", Usage(1, 1), None, 0.1))
        raise RunError("the endpoint is overloaded", code="RK650")

    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setattr(StageProcesses, "run", fail)
    assert invoke(["run"]) == 1
    assert (latest.readlink() != before) == paid


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_latest_stays_if_a_later_stage_cannot_use_the_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(["run", "--until", "mine"]) == 0
    latest = folder / "runs" / "tiny" / "latest"
    before = latest.readlink()

    def refuse(*args: object) -> NoReturn:
        raise DataError("too few labels", code="RK337")

    monkeypatch.setattr(execution, "check_data", refuse)
    assert invoke(["run", "--until", "mine"]) == 1
    assert latest.readlink() == before


def test_the_exit_status_of_a_code_is_in_its_table() -> None:
    assert {code for code in ERROR_CODES if code.startswith("RK1")} <= {
        code for code in ERROR_CODES if exit_status(code) == EXIT_USAGE
    }
    assert exit_status("RK606") == 130
    assert exit_status("RK301") == exit_status("a plugin's own code") == 1


@pytest.mark.slow
def test_ctrl_c_is_130(folder: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from recipekit.cli import main\n"
        "import recipekit.pipeline.execution as execution\n"
        "def stop(*a, **k): os.kill(os.getpid(), signal.SIGINT)\n"
        "execution.check_servers = stop\n"
        "sys.exit(main.invoke(['run', '--until', 'collect']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 128 + signal.SIGINT
    assert "To resume: recipekit run --until collect" in done.stderr
