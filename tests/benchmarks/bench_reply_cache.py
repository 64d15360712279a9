"""Compare the reply cache and the budget with bare sqlite3: the overhead of a paid call.

    python tests/benchmarks/bench_reply_cache.py --calls 5000 --words 1200

A paid call reserves (one commit), keeps and settles (one commit together), and finds. The bare
database commits one insert of the same text into a table of two columns, with WAL and
synchronous=NORMAL, in the same process and on the same disk.
"""

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path

import numpy as np

from recipekit.component.context import Account, Spending
from recipekit.llm.budget import Budget
from recipekit.llm.completion import Reply, Request, Usage
from recipekit.llm.reply_cache import ReplyCache

WORDS = np.array(
    [
        f"{a}{b}{c}"
        for a in ("re", "con", "tra", "pre")
        for b in ("lat", "duc", "spor", "mit")
        for c in ("ion", "ed", "ing", "s")
    ]
)


def make_requests(options):
    random = np.random.default_rng(0)
    for number in range(options.calls):
        text = f"{number} {' '.join(random.choice(WORDS, options.words))}"
        yield Request(
            "openai/gpt-5-nano", ({"role": "user", "content": text},), {"max_tokens": 300}
        )


def timed(each, requests):
    started = time.perf_counter()
    for request in requests:
        each(request)
    return (time.perf_counter() - started) / len(requests)


def bare(folder, requests):
    connection = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
        "CREATE TABLE calls (key TEXT PRIMARY KEY, prompt TEXT)"
    )
    seconds = timed(
        lambda r: connection.execute(
            "INSERT INTO calls VALUES (?, ?)", (r.key, r.messages[0]["content"])
        ),
        requests,
    )
    connection.close()
    return seconds


def ours(folder, requests):
    reply = Reply(
        '{"relevant": [1, 4, 7]}', "gpt-5-nano-2025-08-07", Usage(2000, 1024, 60, 40), 0.0005, 0.8
    )
    with ReplyCache(folder / "calls.sqlite") as cache:
        budget = Budget(cache, Spending((Account("bench", max_cost_usd=1e6),)))

        reservations = iter([budget.reserve(0.001) for _ in requests])

        def paid(request):
            with cache.transaction():
                cache.keep(request, reply)
                next(reservations).settle(0.0005)

        return {
            "reserve": timed(lambda request: budget.reserve(0.001), requests),
            "keep + settle": timed(paid, requests),
            "find": timed(lambda request: cache.find(request.key), requests),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--words", type=int, default=1200)
    options = parser.parse_args()
    requests = list(make_requests(options))
    for request in requests:
        assert request.key  # computes the key, which the caller needs in both cases
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        base = bare(folder, requests)
        steps = ours(folder, requests)
        sizes = [
            (folder / file).stat().st_size / len(requests)
            for file in ("bare.sqlite", "calls.sqlite")
        ]
    print(f"{'bare insert':14} {base * 1e6:7.0f} µs  {sizes[0]:6.0f} bytes a call")
    for step, seconds in {**steps, "all of a call": sum(steps.values())}.items():
        print(f"{step:14} {seconds * 1e6:7.0f} µs  {seconds / base:6.2f} of a bare insert")
    print(f"{'ours':14}             {sizes[1]:6.0f} bytes a call")


if __name__ == "__main__":
    main()
