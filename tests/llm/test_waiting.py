"""Which troubles of an endpoint a run outlasts, which single requests it gives up, and what ends it; in virtual time."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from llm_requests import ask
from virtual_time import GOOD, VirtualLoop, asked

from recipekit.errors import RunError
from recipekit.llm import asking
from recipekit.llm.calls import Failure
from recipekit.llm.setbacks import Setback

SEEDS = range(5)


@pytest.fixture(autouse=True)
def hours(monkeypatch):
    """Hours pass at once."""
    monkeypatch.setattr(asking, "_Loop", VirtualLoop)


def some(n):
    return [ask(number) for number in range(n)]


def always_failing(poison, kind="failed", seconds=0.2):
    """Good, but for some questions."""

    async def policy(question, now):
        await asyncio.sleep(seconds)
        if question in poison:
            raise Setback("500 boom", kind, maybe_paid=kind == "lost")
        return GOOD

    return policy


def down(since, until, kind="failed", seconds=0.2):
    """Serves nobody for a while."""

    async def policy(question, now):
        await asyncio.sleep(seconds)
        if since <= now < until:
            raise Setback("503 down", kind)
        return GOOD

    return policy


def refusing(poison, kind="bad_request", status=400):
    async def policy(question, now):
        await asyncio.sleep(0.2)
        return Failure(kind, f"{status} no", status=status) if question in poison else GOOD

    return policy


# Single requests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "status"), [("bad_request", 400), ("content_filter", 403)])
def test_what_the_endpoint_refuses_for_its_words_ends_neither_the_run_nor_a_rerun(tmp_path, kind, status):
    poison = {str(number) for number in range(100, 500, 50)}
    first, again = (asked(refusing(poison, kind, status), some(500), tmp_path / "calls", concurrency=8) for _ in range(2))
    assert first.error is again.error is None
    assert first.answers == {"ok": 492, kind: 8}
    assert again.answers == {"found": 492, kind: 8}


@pytest.mark.parametrize(("kind", "status", "code"), [("bad_request", 400, "RK655"), ("content_filter", 403, "RK651")])
def test_an_endpoint_that_takes_nothing_ends_the_run(kind, status, code):
    told = asked(refusing({str(number) for number in range(500)}, kind, status), some(500), concurrency=8)
    assert told.error.code == code
    assert len(told.times) <= 5 + 8


def test_an_endpoint_that_takes_nothing_any_more_ends_the_run():
    told = asked(refusing({str(number) for number in range(100, 500)}, "content_filter", 403), some(500), concurrency=8)
    assert told.error.code == "RK655"
    assert 200 <= len(told.times) <= 216


@pytest.mark.parametrize("kind", ["failed", "lost"])
@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("place", [0, 250, 499])
def test_a_request_that_always_fails_is_given_up_in_a_first_run_and_in_a_rerun(tmp_path, kind, concurrency, place):
    policy = always_failing({str(place)}, kind)
    first, again = (asked(policy, some(500), tmp_path / "calls", concurrency=concurrency) for _ in range(2))
    assert first.error is again.error is None
    assert first.answers == {"ok": 499, "unanswered": 1}
    assert again.answers == {"found": 499, "unanswered": 1}
    assert len(again.times) <= 7
    assert again.seconds < 60


def test_a_few_requests_that_always_fail_end_no_rerun(tmp_path):
    """Whether they are taken ill or the endpoint is down cannot be told any more: they are tried for as long as an outage may last."""
    policy = always_failing({"7", "77", "177", "277"})
    first, again = (asked(policy, some(300), tmp_path / "calls", concurrency=8) for _ in range(2))
    assert first.error is again.error is None
    assert again.answers == {"found": 296, "unanswered": 4}
    assert 600 <= again.seconds < 660


def test_requests_that_always_fail_do_not_keep_the_others_waiting_for_long():
    told = asked(always_failing({str(number) for number in range(50, 56)}), some(300), concurrency=8)
    assert told.error is None
    assert told.answers == {"ok": 294, "unanswered": 6}
    assert told.seconds < 180


# Outages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("concurrency", [2, 32])
@pytest.mark.parametrize("seconds", [10, 30, 60, 300])
def test_an_outage_of_minutes_loses_nothing(concurrency, seconds, seed):
    told = asked(down(1, 1 + seconds), some(300), concurrency=concurrency, seed=seed)
    assert told.error is None
    assert told.answers == {"ok": 300}
    assert told.seconds < seconds + 90
    tries = [time for time in told.times if 1 <= time < 1 + seconds]
    assert len(tries) < 3 * concurrency + 10 + seconds / 10  # one at a time, and seldom


def test_an_outage_is_told_with_its_end():
    told = asked(down(1, 40), some(300), concurrency=8)
    (warning,) = [warning for warning in told.warnings if "one at a time" in warning]
    assert "at the latest" in warning


@pytest.mark.parametrize("concurrency", [1, 8])
def test_an_endpoint_that_stays_down_ends_the_run_after_ten_minutes(tmp_path, concurrency):
    told = asked(down(1, 10_000), some(300), tmp_path / "calls", concurrency=concurrency)
    assert told.error.code == "RK650"
    assert set(told.answers) == {"ok"}
    assert 600 <= told.seconds < 660
    assert "has not served for" in str(told.error)


@pytest.mark.parametrize("kind", ["failed", "lost", "unreached"])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_an_endpoint_that_never_served_ends_the_run_soon(kind, concurrency):
    told = asked(down(0, 10_000, kind), some(300), concurrency=concurrency)
    assert told.error.code == "RK650"
    assert not told.answers
    assert told.seconds < 60


# 429s ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("concurrency", [1, 2, 8, 16])
def test_a_limit_by_the_minute_that_names_no_time_is_waited_out(concurrency, seed):
    window = [-1, 0]

    async def policy(question, now):
        if now // 60 != window[0]:
            window[:] = now // 60, 0
        window[1] += 1
        fits = window[1] <= 60
        await asyncio.sleep(0.5 if fits else 0.05)
        if not fits:
            raise Setback("429", "limited")
        return GOOD

    told = asked(policy, some(200), concurrency=concurrency, seed=seed)
    assert told.error is None
    assert told.answers == {"ok": 200}


def test_an_endpoint_that_has_no_room_at_all_ends_the_run():
    async def policy(question, now):
        raise Setback("429 no room", "limited")

    told = asked(policy, some(300), concurrency=8)
    assert told.error.code == "RK650"
    assert "no room" in str(told.error)
    assert 150 <= told.seconds < 210


def test_429s_count_for_nothing_when_another_failure_comes():
    chance = Random(0)

    async def policy(question, now):
        await asyncio.sleep(0.2)
        if (drawn := chance.random()) < 0.7:
            raise Setback("429", "limited")
        if drawn < 0.75:
            raise Setback("500", "failed")
        return GOOD

    assert asked(policy, some(300), concurrency=8).answers == {"ok": 300}


# The end of a run ----------------------------------------------------------------------------------------------------


def test_answers_that_are_on_their_way_when_a_run_ends_are_kept(tmp_path):
    def policy(broken):
        async def answer(question, now):
            await asyncio.sleep(0.1 if question == "40" else 5)
            if question == "40" and broken:
                raise RunError("no credit", code="RK654")
            if question == "41" and broken:
                raise Setback("503", "failed")
            return GOOD

        return answer

    first = asked(policy(True), some(100), tmp_path / "calls", concurrency=32)
    assert first.error.code == "RK654"
    sent = len(first.times)
    assert sent == 64
    again = asked(policy(False), some(100), tmp_path / "calls", concurrency=32)
    assert again.answers == {"found": sent - 2, "ok": 100 - sent + 2}
    assert [warning for warning in first.warnings if "on their way" in warning]
