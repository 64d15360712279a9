"""The judge stage with an LLM over HTTP: a trial, a budget, a continued run, and the report."""

import json
from pathlib import Path

import pytest

from helpers import judged_over_http
from helpers.judged_over_http import RUN, summary
from recipekit.cli.main import invoke
from recipekit.judges.llm_judge.reply_forms import GradeForm
from servers.fenced_oracle import fenced_oracle, pairs_of
from servers.openai_server import Ledger, OpenAIServer, always, serving, text

RECIPE = judged_over_http.RECIPE.replace("canary_share: 0.1", "canary_share: 0")

ALL_NEGATIVE = '''
from typing import ClassVar

import numpy as np
from recipekit.component import JudgeSpec, Verdicts


class AllNegative(JudgeSpec):
    """Nothing is relevant."""

    def build(self, context):
        return self

    counts: ClassVar[dict] = {}
    figures: ClassVar[dict] = {}

    def judge(self, batches):
        for batch in batches:
            query, passage = batch.query[batch.wanted], batch.passage[batch.wanted]
            yield Verdicts(query, passage, np.zeros(len(query), dtype=np.int8))
'''

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An endpoint that knows all grades. The working directory is the recipe's folder."""
    queries = [f"what about word{number} and word{number + 1}" for number in range(20)]
    passages = [f"word{number} word{number + 1} word{number + 2} text" for number in range(20)]
    with (tmp_path / "pairs.jsonl").open("w") as file:
        for query, passage in zip(queries, passages, strict=True):
            file.write(json.dumps({"query": query, "positive": passage}) + "\n")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    truths = {(query, passage): 3 for query, passage in zip(queries, passages, strict=True)}
    truths |= {(query, passages[number + 1]): 2 for number, query in enumerate(queries[:-1])}
    with serving(
        fenced_oracle(truths, GradeForm((0, 1, 2, 3))), ledger=Ledger(pairs=pairs_of)
    ) as running:
        monkeypatch.setenv("JUDGE_URL", f"{running.url}/v1")
        monkeypatch.setenv("JUDGE_KEY", "secret-of-the-test")
        yield running


def test_a_trial_a_limited_run_and_a_full_run_pay_for_nothing_twice(
    server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["judge", "try", "recipe.yaml", "--n", "8"]) == 0
    trial = capsys.readouterr().out
    calls = server.ledger.billed
    assert calls >= 2
    assert f"{calls} calls for $" in trial
    assert "at this rate, all " in trial
    assert "POSITIVE (grade" in trial or "NEGATIVE (grade" in trial

    assert invoke([*RUN, "--set", "spending.max_calls=5"]) == 0
    ended = capsys.readouterr().out
    assert (
        "note: judge 'model': the budget is spent, " in ended
        and "To judge them, raise spending.max_calls (5)" in ended
    )
    assert server.ledger.billed == calls + 5
    limited = summary(tmp_path)
    assert limited["unjudged"] > 0
    assert limited["spent"]["calls"] == 5

    assert invoke([*RUN]) == 0
    full = summary(tmp_path)
    assert full["unjudged"] == 0
    assert full["spent"]["calls"] == server.ledger.billed - calls - 5
    assert server.ledger.paid_twice == []
    open_pairs = full["candidates"] - full["source_labels"]["positive"]
    assert f"at this rate, all {open_pairs:,} candidates would cost about $" in trial, (
        "only a share of the source positives is judged"
    )
    report = (tmp_path / "runs/judged/latest/report.md").read_text()
    section = report.partition("### Reliability of the judges")[2].partition("\n## ")[0]
    assert "source positives and 0 source negatives were drawn as control pairs" in section
    assert "no kappa because no labelled negative was judged" in section
    assert "paid calls and cost $" in section
    reliability = json.loads(
        (tmp_path / "runs/judged/latest/stages/judge/reliability.json").read_text()
    )
    assert reliability["source_labels"]["final"]["false_negative_rate"]["value"] == 0.0, (
        "the oracle calls every source positive relevant"
    )
    assert full["false_negatives"]["positive"] > 0
    assert "secret-of-the-test" not in report + trial + ended


def try_judges(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The output of a trial."""
    capsys.readouterr()
    assert invoke(["judge", "try", "recipe.yaml", "--n", "8", *options]) == 0
    return capsys.readouterr().out


def test_a_trial_asks_again_for_replies_without_grades_and_on_request(
    server: OpenAIServer, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle, server.policy = server.policy, always(text("Bonjour !"))
    assert "gave no usable answer" in try_judges(capsys)
    asked = server.ledger.billed
    out = try_judges(capsys, "--verbose")
    assert server.ledger.billed == 2 * asked, "an unusable reply is not replayed"
    assert out.count("[reply]\nBonjour !\n") == asked
    assert "passage 1 ===\nword" in out
    assert "This answer cannot be used: it is not one JSON object" in out

    server.policy = oracle
    out = try_judges(capsys)
    calls = server.ledger.billed - 2 * asked
    assert f"{calls} calls for $" in out and "[reply]" not in out
    out = try_judges(capsys, "--verbose")
    assert f"no call: all {calls} replies were in the store; --ask-again requests them again" in out
    assert out.count("[stored reply]\n{") == calls
    assert "at this rate, all " in out, "stored replies have a price"
    out = try_judges(capsys, "--ask-again")
    assert f"{calls} calls for $" in out
    assert server.ledger.billed == 2 * asked + 2 * calls
    assert invoke([*RUN]) == 0
    assert max(server.ledger.paid.values()) == 4, "the run finds the replies of the trial"


def test_a_trial_and_a_run_of_a_free_endpoint_say_that_its_price_is_zero(
    server: OpenAIServer, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path("recipe.yaml")
    recipe.write_text(RECIPE.replace("{input: 1.0, output: 4.0}", "{input: 0, output: 0}"))
    out = try_judges(capsys)
    assert " calls that cost nothing, since the endpoint's price is 0; the replies are kept" in out
    assert "candidates would cost nothing; `recipekit plan` has the details" in out
    assert invoke([*RUN]) == 0
    report = (Path("runs/judged/latest") / "report.md").read_text()
    assert " paid calls and cost nothing (the endpoint's price is 0)" in report
    assert "$0.00" not in out


def test_a_trial_reports_a_judge_that_gets_no_pairs(
    server: OpenAIServer, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path("recipe.yaml")
    second = RECIPE.partition("    model:\n")[2].partition("  control_pairs")[0]
    both = f"    strong:\n{second}      previous_verdicts: [ignore]\n  control_pairs"
    recipe.write_text(RECIPE.replace("  control_pairs", both))
    out = try_judges(capsys)
    assert "strong got none of these pairs: the judges before it decided all" in out
    assert "candidates would cost about $" in out and ", without strong; " in out
    out = try_judges(capsys)
    assert "no call: all " in out and "strong got none of these pairs" in out


def test_a_trial_without_any_question_estimates_no_cost(
    server: OpenAIServer, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--set", "judge.judges.model.previous_verdicts=[ignore]"]
    words += ["--set", "judge.control_pairs.share=0"]
    recipe = Path("recipe.yaml")
    first = "    first: {use: './nothing.py:AllNegative'}\n    model:\n"
    recipe.write_text(RECIPE.replace("    model:\n", first))
    Path("nothing.py").write_text(ALL_NEGATIVE)
    out = try_judges(capsys, *words, "--allow-local-code")
    assert "no call: no judge that costs money got a pair" in out
    assert "model got none of these pairs" in out
    assert "would cost" not in out
    assert server.ledger.billed == 0


def test_cached_judgments_are_reported_as_such_and_a_missed_floor_keeps_their_figures(
    server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*RUN]) == 0
    assert "Judging took " in capsys.readouterr().out
    assert invoke([*RUN]) == 0
    assert "Judging in an earlier run took " in capsys.readouterr().out
    assert invoke([*RUN, "--set", "judge.require={kappa: 0.3}"]) == 1
    assert "judge.require asks for figures that cannot be measured" in capsys.readouterr().err
    ended = tmp_path / "runs/judged/latest"
    assert json.loads((ended / "reliability.json").read_text())["source_labels"]
    assert "### Reliability of the judges" in (ended / "report.md").read_text()


def test_a_plan_shows_calls_tokens_and_cost(
    server: OpenAIServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["run", "recipe.yaml", "--until", "mine", "--cpu"]) == 0
    capsys.readouterr()
    assert invoke(["plan", "recipe.yaml"]) == 0
    line = next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("judge: model ")
    )
    assert " pairs, " in line and " calls, " in line and " tokens in" in line and "$" in line
    assert server.ledger.billed == 0


def test_an_endpoint_that_is_down_is_reported_before_any_work(
    server: OpenAIServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_URL", "http://127.0.0.1:1/v1")
    assert invoke([*RUN]) == 1
    printed = capsys.readouterr()
    assert (
        "recipe.yaml:14:7: judge.judges.model: openai/test-model at ${env:JUDGE_URL}: "
        "cannot be reached (" in printed.err
    )
    (record,) = (tmp_path / "runs/judged").glob("*/run.json")
    run = json.loads(record.read_text())
    assert run["status"] == "failed"
    assert run["ran"] == []
    assert not (tmp_path / "runs/judged/latest").exists()


def test_a_judge_whose_replies_are_all_stored_needs_no_endpoint(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke([*RUN]) == 0
    assert summary(tmp_path)["spent"]["calls"]
    monkeypatch.setenv("JUDGE_URL", "http://127.0.0.1:1/v1")
    assert (
        invoke(
            [
                *RUN,
                "--set",
                "judge.judges.model.grades={0: negative, 1: negative, 2: ignore, 3: positive}",
            ]
        )
        == 0
    )
    assert summary(tmp_path)["spent"]["calls"] == 0
