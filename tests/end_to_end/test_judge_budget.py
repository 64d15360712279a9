"""A limit on spending, checked against the server's own bill, and continuing after it."""

import json
import re
import signal
from pathlib import Path

import pytest

from helpers.judged_over_http import (
    DELAY,
    RUN,
    KillingPolicy,
    end,
    judgments,
    run_here,
    start,
    summary,
    write_recipe,
)
from recipekit.cli.main import invoke
from servers.openai_server import Ledger, serving

pytestmark = pytest.mark.slow
QUERIES = 40


def estimated_usd(capsys: pytest.CaptureFixture[str]) -> float:
    capsys.readouterr()
    assert invoke(["plan", "recipe.yaml", "--json"]) == 0
    planned = {stage["stage"]: stage for stage in json.loads(capsys.readouterr().out)}
    usd: float = planned["judge"]["estimate"]["judges"]["model"]["usd"]
    return usd


@pytest.mark.usefixtures("in_process")
def test_spending_never_exceeds_the_limit_and_continues_when_it_is_raised(
    tmp_path: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    oracle = write_recipe(tmp_path, words, QUERIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUDGE_KEY", "key-of-the-test")
    with serving(oracle, ledger=Ledger(usd_in=1.0, usd_out=4.0)) as server:
        monkeypatch.setenv("JUDGE_URL", f"{server.url}/v1")
        assert invoke([*RUN[:2], "--until", "mine"]) == 0
        estimate = estimated_usd(capsys)
        limit = 0.37 * estimate

        def limited(usd: float) -> str:
            assert invoke([*RUN, "--set", f"spending.max_cost_usd={usd:.9f}"]) == 0
            return capsys.readouterr().out

        output = limited(limit)
        first, at_limit = summary(tmp_path), server.ledger.usd
        assert 0.7 * limit < at_limit <= limit, "the limit is used, and not passed"
        assert first["spent"]["usd"] == pytest.approx(at_limit, abs=1e-6)
        assert first["unjudged"] > 0
        assert re.search(
            r"note: judge 'model': the budget is spent, and \d+ of \d+ pairs have no verdict from "
            r"it. To judge them, raise spending.max_cost_usd",
            output,
        )

        # Half as much again. What was spent before counts towards it, so it is not all there once
        # more.
        limited(1.5 * limit)
        second = summary(tmp_path)
        assert at_limit < server.ledger.usd <= 1.5 * limit
        assert first["unjudged"] > second["unjudged"] > 0
        assert second["spent"]["usd"] + at_limit == pytest.approx(server.ledger.usd, abs=1e-6)

        limited(10 * estimate)
        assert summary(tmp_path)["unjudged"] == 0
        assert server.ledger.paid_twice == []
        billed, spent = server.ledger.billed, server.ledger.usd
        limited(10 * estimate)
        assert invoke([*RUN]) == 0
        assert (server.ledger.billed, server.ledger.usd) == (billed, spent), (
            "judging again costs nothing"
        )
    limit_free = judgments(tmp_path)
    assert spent == pytest.approx(estimate, rel=0.5), "the estimate is one"
    assert len(limit_free) == 480


def test_a_stage_that_is_killed_and_resumed_never_exceeds_its_own_limit(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = write_recipe(tmp_path, words, QUERIES)
    monkeypatch.chdir(tmp_path)
    limits = ["--set", "judge.spending.max_calls=30", "--set", "spending.max_calls=1000"]
    policy = KillingPolicy(oracle)
    with serving(policy, ledger=Ledger(usd_in=1.0, usd_out=4.0)) as server:
        policy.moment = (12, DELAY / 2)
        killed = start(tmp_path, server.url, *limits)
        policy.group = killed.pid
        end(killed)
        assert killed.returncode == -signal.SIGKILL
        assert server.ledger.billed < 30
        policy.moment = None
        output = run_here(tmp_path, server.url, *limits)
        counts = summary(tmp_path)
        assert counts["spent"]["limit_reached"]
        assert "To judge them, raise judge.spending.max_calls (30) by about" in output
        assert server.ledger.billed <= 30, "calls in flight at the kill count, too"
        assert counts["spent"]["calls"] == 30

        whole = run_here(tmp_path, server.url, "--set", "spending.max_calls=1000")
        assert "budget is spent" not in whole
        assert summary(tmp_path)["unjudged"] == 0
