"""The command line: what it prints, its exit status, and what it does not import."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.plain_text import plain_text
from recipekit.cli.main import COMMANDS, app_for, invoke
from recipekit.cli.plan import plan_blocks
from recipekit.pipeline.plan import Plan, StagePlan
from recipekit.recipe.slots import model_in
from recipekit.stages import PIPELINE
from recipekit.stages.recipe import recipe_model

SECTIONS = [stage.name for stage in PIPELINE]

HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "mteb",
    "litellm",
    "elasticsearch",
    "qdrant_client",
}


def imported_by(*commands: tuple[str, ...]) -> set[str]:
    """Top-level modules that commands import in a new process."""
    code = (
        "import sys\nfrom recipekit.cli.main import invoke\n"
        f"assert not any([invoke(list(args)) for args in {commands!r}])\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print('modules:', *names, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.partition("modules:")[2].split())


def test_help_imports_neither_pydantic_nor_torch() -> None:
    modules = imported_by(("--help",))
    assert "typer" in modules
    assert not modules & {"pydantic", "numpy", "pyarrow", *HEAVY}


def test_commands_that_only_read_recipes_import_nothing_heavy() -> None:
    modules = imported_by(
        ("validate", "quickstart"),
        ("components",),
        ("keys", "train"),
        ("schema",),
        ("fill", "quickstart"),
    )
    assert "pydantic" in modules
    assert not modules & HEAVY


def test_the_help_of_every_command_imports_nothing_heavy() -> None:
    assert not imported_by(*((name, "--help") for name in COMMANDS)) & HEAVY


def test_help_lists_the_commands_in_the_order_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--help"]) == 0
    listed = [
        line.split()[0]
        for line in capsys.readouterr().out.partition("Commands:")[2].splitlines()
        if line.strip()
    ]
    assert listed == list(COMMANDS)


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["vlidate"]) == 2
    assert "Did you mean 'validate'?" in capsys.readouterr().err


def test_validate_lists_the_components_of_a_valid_recipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert invoke(["validate", "quickstart"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "quickstart: valid (encoders: student=bi_encoder; collect: stdlib=python_code; "
        "mine: lexical=bm25, dense=exact;"
    )
    monkeypatch.setenv("COLUMNS", "120")
    assert invoke(["validate", "quickstart"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert len(line) <= 120
    assert "margin=margin" in line


def test_validate_reports_valid_recipes_next_to_invalid_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("recipe: 2\n")
    assert invoke(["validate", "bad.yaml", "quickstart"]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("quickstart: valid")
    assert captured.err.splitlines() == [
        "bad.yaml:1:1: name: missing (the recipe's name) [RK104]",
        "bad.yaml:1:1: collect: missing [RK104]",
        "bad.yaml:1:9: recipe: must be 1, found the number 2 [RK105]",
    ]


def test_a_filled_recipe_is_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["fill", "quickstart", "--set", "train.batch_size=7"]) == 0
    (tmp_path / "filled.yaml").write_text(capsys.readouterr().out)
    assert invoke(["fill", str(tmp_path / "filled.yaml")]) == 0
    assert capsys.readouterr().out == (tmp_path / "filled.yaml").read_text()


@pytest.mark.usefixtures("installed")
def test_components_are_listed_including_broken_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["components"]) == 0
    lines = capsys.readouterr().out.splitlines()
    pantry = next(line for line in lines if " pantry " in line)
    assert pantry.split()[:4] == ["retriever", "pantry", "kitchen", "1.0"]
    assert "kitchen.py:" in pantry and pantry.endswith("Finds jars.")
    burnt = next(line for line in lines if " burnt " in line)
    assert re.search(
        r"kitchen 1\.0 +broken +judge 'burnt' \(kitchen\) cannot be imported: "
        r"RuntimeError: the oven is on fire$",
        burnt,
    )
    assert invoke(["components", "retrievers"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["kind", "name", "distribution", "location", "summary"]
    assert {line.split()[0] for line in lines} == {"retriever"}


@pytest.mark.usefixtures("installed")
def test_a_component_is_described_with_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["components", "retriever", "pantry"]) == 0
    out = capsys.readouterr().out
    assert "distribution  kitchen 1.0" in out
    assert (
        "port: integer >= 1 (default 9200; not part of the cache key, may hold ${env:NAME})\n"
        "    The port of the pantry." in out
    )
    assert "boost: number or list of number (default 1.0)" in out
    assert "login: map or null (default null)" in out
    assert invoke(["components", "source", "shelf"]) == 0
    assert "path: path (required; not part of the cache key" in capsys.readouterr().out


def test_every_key_of_every_section_is_shown_with_its_documentation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for section in SECTIONS:
        assert invoke(["keys", section]) == 0
        lines = capsys.readouterr().out.splitlines()
        model = model_in(recipe_model().model_fields[section].annotation)
        assert model is not None
        for key in model.model_fields:
            [at] = [number for number, line in enumerate(lines) if line.startswith(f"{key}: ")]
            assert re.fullmatch(rf"{key}: .+ \((required|optional|default .+)\)", lines[at])
            assert re.match("    [A-Z]", lines[at + 1]), f"{section}.{key} is documented"


@pytest.mark.parametrize(
    ("path", "title", "expected"),
    [
        ("train", "train", "batch_size: integer >= 1 (default 64)\n    Queries per optimizer step"),
        ("train", "train", "phases: map to phase (required)\n    The phases of training, in order"),
        ("judge", "judge", "control_pairs: map (optional)\n    Which pairs with known labels"),
        ("judge.control_pairs", "judge.control_pairs", "share: number >= 0, < 1 (default 0.1)"),
        (
            "train.batch_size",
            "train.batch_size",
            "batch_size: integer >= 1 (default 64)\n    Queries per optimizer step",
        ),
        ("train.phases", "train.phases", "`recipekit components phase` lists the choices"),
        ("judge.judges", "judge.judges", "`recipekit components judge` lists the choices"),
        ("evaluate", "evaluate", "baselines: map to retriever (default {bm25: {use: bm25}})"),
    ],
)
def test_keys_are_shown_at_any_path(
    path: str, title: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["keys", path]) == 0
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first == title
    assert expected in rest


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("trian", "trian: not a key of a recipe. Did you mean 'train'?"),
        ("train.batch", "train.batch: not a key of a recipe. Did you mean 'batch_size'?"),
        ("zzz", "zzz: not a key of a recipe. There are: recipe, name,"),
        ("collect..split", "collect..split: write keys with a dot between them"),
        ("train.batch_size.more", "train.batch_size: there are no keys below it"),
        (
            "judge.judges.mine.model",
            "judge.judges: the keys of its judge are shown by `recipekit components judge NAME`",
        ),
    ],
)
def test_a_path_without_keys_is_one_clear_error(
    path: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["keys", path]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


def test_keys_of_the_whole_recipe_show_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["keys"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{section}: map" in out for section in SECTIONS)
    assert "Read queries, passages and labels from sources" in out


def test_schema_is_printed_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["schema", "--distribution", "recipekit"]) == 0
    printed = capsys.readouterr().out
    assert (
        invoke(["schema", "--distribution", "recipekit", "--output", str(tmp_path / "s.json")]) == 0
    )
    assert (tmp_path / "s.json").read_text() == printed
    assert json.loads(printed)["$schema"].endswith("2020-12/schema")
    assert invoke(["schema", "--output", str(tmp_path / "no" / "s.json")]) == 1


def test_a_closed_pipe_causes_no_traceback() -> None:
    code = "from recipekit.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (1, 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", [["schema"], ["--help"], ["keys", "train.batch_size"]])
def test_output_to_a_full_disk_is_an_error_of_one_line(command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "recipekit", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "no space left on the disk\n")


def test_a_closed_stdout_is_not_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recipekit", "validate", "quickstart"]
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_run_succeeds_with_closed_streams_and_fails_if_stderr_is_full(
    tmp_path: Path,
) -> None:
    (tmp_path / "pairs.csv").write_text("query,positive\nwhat is jam,boiled fruit\n")
    (tmp_path / "r.yaml").write_text(
        "recipe: 1\nname: r\ncollect:\n  sources:\n    own: {use: pairs, file: pairs.csv}\n"
    )
    command = [sys.executable, "-m", "recipekit", "run", "r.yaml", "--from", "collect"]
    for closed, code, status in (
        (">&-", 0, "finished"),
        (">&- 2>&-", 0, "finished"),
        ("2>/dev/full", 1, "failed"),
    ):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        assert json.loads((tmp_path / "runs/r/latest/run.json").read_text())["status"] == status


def test_an_interrupt_prints_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGINT)\n")
    (tmp_path / "r.yaml").write_text(
        "recipe: 1\nname: r\ncollect:\n  sources:\n    own: {use: './own.py:Own'}\n"
    )
    code = "from recipekit.cli.main import main; main()"
    command = [sys.executable, "-c", code, "validate", "r.yaml", "--allow-local-code"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("receivers", "sent", "status", "reason"),
    [
        ("run", "SIGINT", 130, "interrupted"),
        ("run", "SIGTERM", 143, "ended by SIGTERM"),
        ("stage run", "SIGTERM", 143, "ended by SIGTERM"),  # as schedulers do
    ],
)
def test_an_interrupted_run_prints_the_command_that_resumes_it(
    receivers: str, sent: str, status: int, reason: str, tmp_path: Path
) -> None:
    source = (
        "import os, signal, time\n\nfrom recipekit.component import SourceSpec\n\n\n"
        "class Own(SourceSpec):\n    def build(self, context):\n"
        "        processes = {'run': os.getppid(), 'stage': os.getpid()}\n"
        f"        to_all = 'kill -{sent[3:]} ' + ' '.join("
        f"str(processes[name]) for name in '{receivers}'.split())\n"
        "        os.system(to_all)\n        time.sleep(60)\n"
    )
    (tmp_path / "own.py").write_text(source)
    (tmp_path / "r.yaml").write_text(
        "recipe: 1\nname: r\ncollect:\n  sources:\n    own: {use: './own.py:Own'}\n"
    )
    command = [sys.executable, "-m", "recipekit", "run", "r.yaml", "--allow-local-code"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.stderr.endswith(f"{reason}. To resume: recipekit run r.yaml --allow-local-code\n")
    assert done.returncode == status
    [run] = (tmp_path / "runs" / "r").glob("*Z-*")
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert not (run / "run.lock").exists()


def test_init_and_cache_name_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["init", "."]) == 2
    assert capsys.readouterr().err == ".: is a folder; name a file, such as recipe.yaml [RK507]\n"
    (tmp_path / "file").touch()

    def read(*arguments: object, **options: object) -> None:
        raise AssertionError("the data is read, although the recipe cannot be written")

    monkeypatch.setattr("recipekit.starter.data.find_source", read)
    assert invoke(["init", "file/recipe.yaml"]) == 1
    assert (
        capsys.readouterr().err
        == "file/recipe.yaml: cannot be written (file is not a folder) [RK502]\n"
    )
    (tmp_path / "file").unlink()
    (tmp_path / "link.yaml").symlink_to("nowhere/r.yaml")
    assert invoke(["init", "link.yaml"]) == 1
    assert capsys.readouterr().err == "link.yaml: cannot be written (it is a broken link) [RK502]\n"
    monkeypatch.setattr("recipekit.cli.init.os.access", lambda path, mode: False)
    assert invoke(["init", "new.yaml"]) == 1
    assert capsys.readouterr().err == "new.yaml: cannot be written (Permission denied) [RK502]\n"
    (tmp_path / "link.yaml").unlink()
    assert invoke(["cache", "ls", "--cache", "elsewhere"]) == 0
    assert (
        capsys.readouterr().err
        == "elsewhere: there is no cache here (--cache names another folder)\n"
    )
    assert not list(tmp_path.iterdir())


def test_errors_show_no_value_from_the_environment(
    tmp_path: Path,
    installed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PANTRY_PORT", "hunter2")
    (tmp_path / "r.yaml").write_text(
        "recipe: 1\nname: r\ncollect:\n  sources:\n    s: {use: shelf, path: a}\n"
        'mine:\n  retrievers:\n    p: {use: pantry, port: "${env:PANTRY_PORT}"}\n'
    )
    assert invoke(["validate", str(tmp_path / "r.yaml")]) == 2
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err
    assert "${env:PANTRY_PORT}" in captured.err


def test_only_the_called_command_is_imported() -> None:
    known = [
        command.name
        for command in app_for(["validate", "x"]).registered_commands
        if command.callback.__name__ == command.name
    ]
    assert known == ["validate"]


def test_a_plan_states_once_what_is_unknown() -> None:
    later = {"unknown until": "collect has run"}
    stages = [
        StagePlan(name, "k" * 64, "miss", ("not cached",), estimate=later)
        for name in ("mine", "judge")
    ]
    text = plain_text(plan_blocks(Plan("two", Path("cache"), tuple(stages))))
    assert text.splitlines() == [
        "Recipe two, cache cache",
        "stage  state     key           reason",
        "mine   will run  kkkkkkkkkkkk  not cached",
        "judge  will run  kkkkkkkkkkkk  not cached",
        "",
        "The work of mine, judge is unknown until collect has run.",
    ]


def test_a_plan_lists_the_work_of_stages_and_their_components() -> None:
    estimate = {
        "pairs at most": 25_000_000,
        "max_cost_usd": 1500,
        "judges": {"llm": {"calls": 1_000_000, "tokens in": 2_990_000_000, "usd": 539.0}},
    }
    cached = StagePlan("mine", "a" * 64, "hit", estimate={"queries": 5})
    judge = StagePlan("judge", None, "unknown", ("depends on mine",), estimate=estimate)
    text = plain_text(plan_blocks(Plan("one", Path("cache"), (cached, judge))))
    assert text.splitlines() == [
        "Recipe one, cache cache",
        "stage  state    key           reason",
        "mine   cached   aaaaaaaaaaaa",
        "judge  unknown                depends on mine",
        "",
        "stage       expected work",
        "judge       at most 25,000,000 pairs, limit $1,500",
        "judge: llm  1,000,000 calls, 2.99 B tokens in, $539",
    ]
