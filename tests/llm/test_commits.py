"""Writes of one turn of the event loop share a commit."""

from __future__ import annotations

import asyncio

import pytest

from recipekit.llm.commits import GroupCommit
from recipekit.llm.store import CallStore


class Counting(CallStore):
    """Counts the commits that are asked for."""

    commits = 0

    def together(self):
        self.commits += 1
        return super().together()


def test_what_starts_together_is_committed_together():
    async def story(store):
        group = GroupCommit(store)
        return await asyncio.gather(
            *(group.write(lambda number=number: number) for number in range(30))
        )

    with Counting(None) as store:
        assert asyncio.run(story(store)) == list(range(30))
        assert store.commits == 1


def test_a_write_that_fails_fails_all_that_share_its_commit():
    async def story(store):
        group = GroupCommit(store)
        return await asyncio.gather(
            group.write(lambda: 1), group.write(lambda: 1 / 0), return_exceptions=True
        )

    with CallStore(None) as store:
        assert [type(outcome) for outcome in asyncio.run(story(store))] == [ZeroDivisionError] * 2


@pytest.mark.parametrize("turns", [0, 1])
def test_what_a_cancelled_task_wrote_is_undone(turns):
    """Cancelled before the commit, or between the commit and the task's next step."""
    held = set()

    async def story(store):
        group = GroupCommit(store)
        task = asyncio.ensure_future(group.write(lambda: held.add("it") or "it", held.discard))
        await asyncio.sleep(0)
        for _ in range(turns):
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with CallStore(None) as store:
        asyncio.run(story(store))
    assert held == set()
