"""Parallel requests with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["map_in_order"]

T = TypeVar("T")
R = TypeVar("R")


def map_in_order(
    function: Callable[[T], R], items: Iterable[T], *, threads: int, name: str
) -> Iterator[R]:
    """Apply a function to each item on several threads and yield the results in order.

    At most 2 · `threads` items are started before their results are taken, which bounds memory. The
    first failure, or closing the iterator, cancels the items that have not started.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix=name) as pool:
        started: deque[Future[R]] = deque()
        try:
            for item in items:
                started.append(pool.submit(function, item))
                if len(started) >= 2 * threads:
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
