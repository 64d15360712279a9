"""Requests on several threads, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], *, threads: int, name: str) -> Iterator[R]:
    """What `work` gives for each item, in order.

    At most 2 · `threads` items are begun and not yet taken, so that memory is bounded and no thread
    waits for the one that takes. The first failure ends all: what has not begun is not begun any
    more, and so it is where whoever takes stops.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix=name) as pool:
        begun: deque[Future[R]] = deque()
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) >= 2 * threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
