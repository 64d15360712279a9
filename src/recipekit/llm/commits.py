"""One commit for all that is written in one turn of an event loop: many calls that start or end
together share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from recipekit.llm.store import CallStore

__all__ = ["GroupCommit"]

T = TypeVar("T")


@dataclass
class _Write:
    act: Callable[[], Any]
    undo: Callable[[Any], None] | None
    done: asyncio.Future[Any]


class GroupCommit:
    """Gathers writes to a store."""

    def __init__(self, store: CallStore) -> None:
        self._store = store
        self._writes: list[_Write] = []

    async def write(self, act: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
        """Do it, and return its result once it is committed.

        Args:
            act: What to write.
            undo: Takes it back, given its result, where the waiting task is cancelled. Without it,
                the write is made in any case.
        """
        loop = asyncio.get_running_loop()
        write = _Write(act, undo, loop.create_future())
        if not self._writes:
            loop.call_soon(self._commit)
        self._writes.append(write)
        try:
            return await write.done  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            if undo is not None and not write.done.cancelled():
                undo(write.done.result())
            raise

    def _commit(self) -> None:
        writes = [
            write for write in self._writes if write.undo is None or not write.done.cancelled()
        ]
        self._writes = []
        try:
            with self._store.together():
                results = [write.act() for write in writes]
        except Exception as error:
            for write in writes:
                if not write.done.done():
                    write.done.set_exception(error)
        else:
            for write, result in zip(writes, results, strict=True):
                if not write.done.done():
                    write.done.set_result(result)
