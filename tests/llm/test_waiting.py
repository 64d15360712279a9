"""Which troubles of an endpoint a run outlasts, which single requests it gives up, and what ends
it; in virtual time.
"""

from __future__ import annotations

import asyncio
import re
from random import Random

import pytest
from llm_requests import PRICE, ask
from virtual_time import GOOD, VirtualLoop, asked

from recipekit.errors import RunError
from recipekit.llm import asking
from recipekit.llm.calls import Failure, Usage
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


# Single requests
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "status"), [("bad_request", 400), ("content_filter", 403)])
def test_what_the_endpoint_refuses_for_its_words_ends_neither_the_run_nor_a_rerun(
    tmp_path, kind, status
):
    poison = {str(number) for number in range(100, 500, 50)}
    first, again = (
        asked(refusing(poison, kind, status), some(500), tmp_path / "calls", concurrency=8)
        for _ in range(2)
    )
    assert first.error is again.error is None
    assert first.answers == {"ok": 492, kind: 8}
    assert again.answers == {"found": 492, kind: 8}


@pytest.mark.parametrize(
    ("kind", "status", "code"), [("bad_request", 400, "RK655"), ("content_filter", 403, "RK651")]
)
def test_an_endpoint_that_takes_nothing_ends_the_run(kind, status, code):
    told = asked(
        refusing({str(number) for number in range(500)}, kind, status), some(500), concurrency=8
    )
    assert told.error.code == code
    assert len(told.times) <= 5 + 8


def test_an_endpoint_that_takes_nothing_any_more_ends_the_run():
    told = asked(
        refusing({str(number) for number in range(100, 1500)}, "content_filter", 403),
        some(1500),
        concurrency=8,
    )
    assert told.error.code == "RK655"
    assert 1100 <= len(told.times) <= 1116


@pytest.mark.parametrize(
    ("kind", "status", "code"), [("bad_request", 400, "RK655"), ("content_filter", 403, "RK651")]
)
def test_answers_from_the_store_do_not_hide_that_nothing_is_taken_any_more(
    tmp_path, kind, status, code
):
    asked(refusing(set()), some(3000)[::2], tmp_path / "calls", concurrency=8)
    told = asked(
        refusing({str(number) for number in range(3000)}, kind, status),
        some(3000),
        tmp_path / "calls",
        concurrency=8,
    )
    assert told.error.code == code
    assert set(told.answers) == {"found", kind}
    assert 1000 <= len(told.times) <= 1016


def test_requests_that_are_refused_for_their_words_end_no_rerun_however_many(tmp_path):
    policy = refusing({str(number) for number in range(0, 27_500, 25)}, "content_filter", 403)
    first, again = (
        asked(policy, some(27_500), tmp_path / "calls", concurrency=8) for _ in range(2)
    )
    assert first.error is again.error is None
    assert again.answers == {"found": 26_400, "content_filter": 1100}


@pytest.mark.parametrize("kind", ["failed", "lost"])
@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("place", [0, 250, 499])
def test_a_request_that_always_fails_is_given_up_in_a_first_run_and_in_a_rerun(
    tmp_path, kind, concurrency, place
):
    policy = always_failing({str(place)}, kind)
    first, again = (
        asked(policy, some(500), tmp_path / "calls", concurrency=concurrency) for _ in range(2)
    )
    assert first.error is again.error is None
    assert first.answers == {"ok": 499, "unanswered": 1}
    assert again.answers == {"found": 499, "unanswered": 1}
    assert len(again.times) <= 7
    assert again.seconds < 60


def test_a_few_requests_that_always_fail_end_no_rerun(tmp_path):
    """Whether they are taken ill or the endpoint is down cannot be told any more: they are tried
    for as long as an outage may last.
    """
    policy = always_failing({"7", "77", "177", "277"})
    first, again = (asked(policy, some(300), tmp_path / "calls", concurrency=8) for _ in range(2))
    assert first.error is again.error is None
    assert again.answers == {"found": 296, "unanswered": 4}
    assert 600 <= again.seconds < 660


@pytest.mark.parametrize("concurrency", [8, 32])
def test_many_requests_that_always_meet_an_error_end_no_rerun_where_no_others_are_left(
    tmp_path, concurrency
):
    policy = always_failing({"7", "57", "77", "117", "177", "217", "277"})
    first, again = (
        asked(policy, some(300), tmp_path / "calls", concurrency=concurrency) for _ in range(2)
    )
    assert first.error is again.error is None
    assert again.answers == {"found": 293, "unanswered": 7}
    assert 600 <= again.seconds < 700


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("always", [False, True])
def test_an_empty_answer_is_asked_for_once_more_and_costs_what_was_counted(
    tmp_path, always, concurrency
):
    """A third of the requests: no sign that the endpoint is down, in a first run or in a rerun that
    asks nothing else.
    """
    seen = set()

    async def policy(question, now):
        await asyncio.sleep(0.2)
        if int(question) % 3 or (not always and question in seen):
            return GOOD
        seen.add(question)
        return Failure("unparsed", "an empty answer", usage=Usage(10, 0, 5, 0))

    first, again = (
        asked(policy, some(300), tmp_path / "calls", PRICE, concurrency=concurrency)
        for _ in range(2)
    )
    assert first.error is again.error is None
    assert not first.warnings
    assert first.answers == ({"ok": 200, "unparsed": 100} if always else {"ok": 300})
    assert again.answers == ({"found": 200, "unparsed": 100} if always else {"found": 300})
    assert (len(first.times), len(again.times)) == (400, 200 if always else 0)
    assert again.spent_usd == pytest.approx((600 if always else 400) * PRICE.cost(GOOD.usage))


def test_requests_that_always_fail_do_not_keep_the_others_waiting_for_long():
    told = asked(
        always_failing({str(number) for number in range(50, 56)}), some(300), concurrency=8
    )
    assert told.error is None
    assert told.answers == {"ok": 294, "unanswered": 6}
    assert told.seconds < 180


# Outages
# -------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", ["unreached", "unknown_host"])
@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("left", [1, 2, 4])
def test_what_could_not_be_sent_is_never_given_up(tmp_path, left, concurrency, kind):
    asked(always_failing(set()), some(300 - left), tmp_path / "calls", concurrency=concurrency)

    async def goes(question, now):
        await asyncio.sleep(0.2 if question == "0" else 0.4)
        if question not in ("0", "1"):
            raise Setback("no connection", kind)
        return GOOD

    in_one_run = asked(goes, some(2 + left), concurrency=concurrency)
    in_a_rerun = asked(
        down(0, 10_000, "unreached"), some(300), tmp_path / "calls", concurrency=concurrency
    )
    for told in (in_one_run, in_a_rerun):
        assert told.error.code == "RK650"
        assert "unanswered" not in told.answers
        assert 600 <= told.seconds < 660


@pytest.mark.parametrize("kind", ["failed", "lost", "unreached"])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_an_endpoint_that_never_served_ends_the_run_soon(kind, concurrency):
    told = asked(down(0, 10_000, kind), some(300), concurrency=concurrency)
    assert told.error.code == "RK650"
    assert not told.answers
    assert told.seconds < 60


# 429s
# ----------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("seconds", [60, 200, 500])
def test_429s_after_an_outage_count_from_its_end(seconds, concurrency, seed):
    """A server that comes back has no room for a while."""

    async def policy(question, now):
        await asyncio.sleep(0.2)
        if 1 <= now < 1 + seconds:
            raise Setback("503 down", "failed")
        if 1 + seconds <= now < 61 + seconds:
            raise Setback("429 no room", "limited")
        return GOOD

    told = asked(policy, some(300), concurrency=concurrency, seed=seed)
    assert told.error is None
    assert told.answers == {"ok": 300}


def test_429s_that_end_a_run_after_an_outage_are_told_with_their_own_time():
    async def policy(question, now):
        await asyncio.sleep(0.2)
        if now < 1:
            return GOOD
        raise Setback("503 down", "failed") if now < 300 else Setback("429 no room", "limited")

    told = asked(policy, some(300), concurrency=8)
    assert told.error.code == "RK650"
    assert (
        150
        <= int(re.search(r"refused everything for (\d+) s", str(told.error))[1])
        <= told.seconds - 270
    )


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


# The end of a run
# ----------------------------------------------------------------------------------------------------


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
    assert [warning for warning in first.warnings if "on the way" in warning]
