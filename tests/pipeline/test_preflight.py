"""Later stages are checked before earlier ones run."""

import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.plain_text import plain_text
from recipekit.cli.plan import plan_blocks
from recipekit.errors import ComponentError, DataError, RecipeError, RunError
from recipekit.pipeline.execute import run
from recipekit.pipeline.plan import plan
from recipekit.pipeline.preflight import check_data, check_keys, check_servers
from recipekit.stages.recipe import load_recipe

RECIPE = """\
recipe: 1
name: held-out
encoders: {student: {use: bi_encoder, model: some/model}}
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}}
evaluate:
  evaluators:
    good: {use: retrieval, split: train}
    bad: {use: retrieval, split: test}
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return load_recipe(tmp_path / "recipe.yaml")


def test_an_evaluator_without_data_fails_once_the_data_is_collected(recipe, make_dataset):
    dataset = make_dataset([("q0", "one", "train")], [("p", "1")], {(0, 0): 1.0})
    message = "recipe.yaml:8:10: evaluate.evaluators.bad: split 'test' has no query with a positive"
    with pytest.raises(DataError, match=re.escape(message)):
        check_data(recipe, ["collect", "evaluate"], dataset)


def test_stages_that_will_not_run_are_not_checked(recipe, make_dataset):
    check_data(
        recipe, ["collect"], make_dataset([("q0", "one", "train")], [("p", "1")], {(0, 0): 1.0})
    )


def test_suitable_data_passes(recipe, tiny_dataset):
    check_data(recipe, ["collect", "evaluate"], tiny_dataset)


# Keys and the files that they are about
# -------------------------------------------------------------------------------------------------

TABLES = """\
recipe: 1
name: tables
collect:
  sources:
    own: {{use: pairs, file: {file}, query: q, positive: a, title: t}}
evaluate:
  evaluators:
    scored: {{use: sts, file: scored.csv, first: q, where: {{split: test}}}}
  baselines: {{}}
encoders: {{student: {{use: bi_encoder, model: some/model}}}}
"""


def mistakes(folder, monkeypatch, file, content, scored="q,sentence2,score,split\nx,y,1,test\n"):
    monkeypatch.chdir(folder)
    (folder / "recipe.yaml").write_text(TABLES.format(file=file))
    (folder / "scored.csv").write_text(scored)
    if isinstance(content, str):
        (folder / file).write_text(content)
    elif content is not None:
        pq.write_table(pa.table(content), folder / file)
    try:
        check_keys(load_recipe("recipe.yaml"))
    except RecipeError as error:
        return [
            (pointed_at(problem.where), problem.path, problem.code) for problem in error.problems
        ]
    return []


def pointed_at(where):
    """The text at a location, up to the next comma, colon or bracket."""
    file, line, column = where.split(":")
    text = Path(file).read_text().splitlines()[int(line) - 1][int(column) - 1 :]
    return re.match(r"[^,:}]*", text)[0]


WRONG = [("t", "collect.sources.own.title", "RK305")]


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("own.csv", "q,a,t\n1,2,3\n", []),
        ("own.csv", "q,a,u\n1,2,3\n", WRONG),
        ("own.tsv", "q\ta\tu\n1\t2\t3\n", WRONG),
        ("own.parquet", {"q": ["1"], "a": ["2"]}, WRONG),
        ("own.jsonl", '{"q": "1", "a": "2"}\n{"q": "1", "a": "2", "t": "3"}\n', []),
        ("own.jsonl", '{"q": "1", "a": "2"}\n', WRONG),
        # A later line of a long file may have an optional key, not one that every line must have.
        ("own.jsonl", '{"q": "1", "a": "2"}\n' * 1000, []),
        (
            "own.jsonl",
            '{"q": "1", "b": "2"}\n' * 1000,
            [("a", "collect.sources.own.positive", "RK305")],
        ),
        # What reads these files reports what is wrong with them.
        ("own.csv", None, []),
        ("own.csv", "q;a;t\n1;2;3\n", []),
        ("own.csv", "", []),
        ("own.txt", "q,a\n", []),
        ("own.parquet", "no table", []),
    ],
)
def test_a_column_that_a_file_does_not_have_is_reported_at_its_key(
    tmp_path, monkeypatch, file, content, expected
):
    assert mistakes(tmp_path, monkeypatch, file, content) == expected


def test_columns_of_evaluators_are_checked_too(tmp_path, monkeypatch):
    found = mistakes(tmp_path, monkeypatch, "own.csv", None, "q,sentence2\nx,y\n")
    assert found == [
        ("scored", "evaluate.evaluators.scored.score", "RK305"),
        ("{split", "evaluate.evaluators.scored.where", "RK305"),
    ]


def test_a_recipe_in_memory_has_no_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text("question,positive\nx,y\n")
    source = {"use": "pairs", "file": "own.csv"}
    recipe = load_recipe({"recipe": 1, "name": "m", "collect": {"sources": {"own": source}}})
    with pytest.raises(RecipeError, match=r"collect\.sources\.own\.query: .*no column 'query'"):
        check_keys(recipe)


COLLECTS = """\
recipe: 1
name: scored
collect: {{sources: {{own: {{use: pairs, file: own.csv{keys}}}}}}}
"""


@pytest.mark.usefixtures("in_process")
def test_doubtful_keys_are_shown_by_plans_and_by_runs_of_their_stage(tmp_path, capsys):
    (tmp_path / "own.csv").write_text("query,positive,score\na,b,0.9\nc,d,0.1\n")
    (tmp_path / "recipe.yaml").write_text(COLLECTS.format(keys=""))
    recipe = load_recipe(tmp_path / "recipe.yaml")
    folders = {"cache": tmp_path / "cache", "runs": tmp_path / "runs"}
    (note,) = plan(recipe, cache=tmp_path / "cache").notes
    assert re.search(r"recipe\.yaml:3:45: collect\.sources\.own\.file: .*'score' is not read", note)
    assert f"warning: {note}" in plain_text(plan_blocks(plan(recipe, cache=tmp_path / "cache")))

    run(recipe, **folders)
    assert capsys.readouterr().err.count(f"warning: {note}") == 1
    run(recipe, **folders)
    assert "warning" not in capsys.readouterr().err, "the stage is cached"


# Servers
# -------------------------------------------------------------------------------------------------

SERVERS = """\
recipe: 1
name: servers
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}}
mine:
  retrievers:
    here: {use: bm25}
    there: {use: qdrant, encoder: student, url: "http://127.0.0.1:1"}
encoders: {student: {use: bi_encoder, model: some/model}}
"""


def test_an_unreachable_server_is_reported_with_its_location_in_the_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(SERVERS)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    message = (
        "recipe.yaml:7:12: mine.retrievers.there: Qdrant at http://127.0.0.1:1 cannot be reached"
    )
    with pytest.raises(ComponentError, match=re.escape(message)) as error:
        check_servers(recipe, ["collect", "mine"])
    assert error.value.code == "RK260"
    check_servers(recipe, ["collect"])


@pytest.mark.parametrize("section", ["spending", "judge.spending"])
def test_a_limit_in_usd_needs_the_price_of_the_model(tmp_path, section):
    model = "use: llm, model: openai/no-such-model, api_base: 'http://127.0.0.1:1/v1'"
    judge = f"judge: {{judges: {{mine: {{{model}}}}}}}\n"
    (tmp_path / "recipe.yaml").write_text(
        SERVERS.replace(
            '    there: {use: qdrant, encoder: student, url: "http://127.0.0.1:1"}\n', ""
        )
        + judge
    )
    message = (
        "recipe.yaml:8:24: judge.judges.mine: max_cost_usd needs the price of openai/no-such-model"
    )
    with pytest.raises(ComponentError, match=re.escape(message)) as error:
        recipe = load_recipe(tmp_path / "recipe.yaml", [f"{section}.max_cost_usd=1"])
        check_servers(recipe, ["mine", "judge"])
    assert error.value.code == "RK240"


MTEB = """\
recipe: 1
name: offline
encoders: {{student: {{use: bi_encoder, model: {model}}}}}
collect: {{sources: {{own: {{use: pairs, file: pairs.jsonl}}}}}}
evaluate:
  baselines: {{}}
  evaluators:
    named: {{use: mteb, tasks: [NFCorpus]}}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_the_first_stage_that_runs_is_checked_before_it_starts(tmp_path, tiny_model, monkeypatch):
    (tmp_path / "recipe.yaml").write_text(MTEB.format(model=tiny_model))
    (tmp_path / "pairs.jsonl").write_text('{"query": "a", "positive": "b"}\n' * 2)
    folders = {"cache": tmp_path / "cache", "runs": tmp_path / "runs"}
    recipe = load_recipe(tmp_path / "recipe.yaml")
    run(recipe, until="collect", **folders)
    finished = os.readlink(tmp_path / "runs/offline/latest")

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    events = []
    with pytest.raises(RunError, match=r"evaluators\.named: mteb downloads .*cannot be reached"):
        run(recipe, on_event=lambda event: events.append(event.name), **folders)
    assert events == ["run_started", "run_finished"]
    assert os.readlink(tmp_path / "runs/offline/latest") == finished
