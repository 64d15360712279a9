"""Compare calls per second of the client (cache, budget, limits, retries) with bare litellm.

Both send prompts of ten passages to one server in a separate process, in alternating rounds:

    python tests/benchmarks/bench_judging_calls.py --calls 2000 --rounds 3 --concurrency 32
    python tests/benchmarks/bench_judging_calls.py --calls 20000 --rounds 1  # 200,000 pairs

It prints each round's rates and their ratio, the resident memory halfway and at the end, which
should be equal, and the time of a rerun, which must make no call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recipekit.component.context import Account, Spending
from recipekit.llm.budget import Budget
from recipekit.llm.client import Client
from recipekit.llm.completion import Request
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.litellm_import import litellm
from recipekit.llm.pricing import TokenPrice
from recipekit.llm.rate_limiter import RateLimiter
from recipekit.llm.reply_cache import ReplyCache
from recipekit.llm.token_counter import token_counter

MODEL = "openai/test-model"
SERVER = Path(__file__).parent.parent / "servers" / "openai_server.py"
WORDS = (
    "river mountain valley engine turbine violin opera enzyme protein galaxy comet bread pepper "
    "the of and in is to"
).split()


@contextmanager
def server(delay: float) -> Iterator[str]:
    command = [sys.executable, str(SERVER), "--port", "0", "--delay", str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def ledger(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/ledger") as reply:
        return json.load(reply)


def requests(calls: int, name: str, passages: int, words: int) -> Iterator[Request]:
    """Prompts of numbered passages, all different."""
    draw = random.Random(name)
    for number in range(calls):
        lines = [
            f"[{place}] {' '.join(draw.choices(WORDS, k=words))}"
            for place in range(1, passages + 1)
        ]
        prompt = f"Query {name} {number}\n" + "\n".join(lines)
        yield Request(
            MODEL, ({"role": "user", "content": prompt},), {"max_tokens": 200, "temperature": 0.0}
        )


def bare(url: str, requests: Iterator[Request], concurrency: int) -> None:
    """Send the requests with litellm and a semaphore, and keep no reply."""

    async def one(request: Request, room: asyncio.Semaphore) -> None:
        try:
            await litellm().acompletion(
                model=request.model,
                messages=[dict(message) for message in request.messages],
                **request.parameters,
                api_base=f"{url}/v1",
                api_key="none",
                timeout=60.0,
                num_retries=0,
                max_retries=0,
            )
        finally:
            room.release()

    async def everything() -> None:
        room = asyncio.Semaphore(concurrency)
        async with asyncio.TaskGroup() as group:
            for request in requests:
                await room.acquire()
                group.create_task(one(request, room))
        await litellm().close_litellm_async_clients()

    asyncio.run(everything())


def ours(
    url: str, requests: Iterator[Request], calls: int, concurrency: int, cache: ReplyCache
) -> tuple[int, list[int]]:
    """How many replies came from the cache, and resident memory (MB) halfway and at the end."""

    async def one(client: Client, request: Request, room: asyncio.Semaphore) -> bool:
        try:
            return (await client.complete(request)).from_cache
        finally:
            room.release()

    async def everything() -> tuple[int, list[int]]:
        client = Client(
            Endpoint(f"{url}/v1"),
            cache,
            Budget(cache, Spending((Account("bench", max_cost_usd=1e6),))),
            TokenPrice(input=1.0, output=4.0, cached_input=0.1),
            token_counter("openai/gpt-4o-mini").prompt_bound,
            limiter=RateLimiter(concurrency),
        )
        room, cached, memory = asyncio.Semaphore(concurrency), 0, []
        running: set[asyncio.Task[bool]] = set()
        for number, request in enumerate(requests, start=1):
            await room.acquire()
            running.add(asyncio.create_task(one(client, request, room)))
            finished = {task for task in running if task.done()}
            running -= finished
            cached += sum(task.result() for task in finished)
            if number in (calls // 2, calls):
                memory.append(resident())
        cached += sum(await asyncio.gather(*running))
        await client.aclose()
        return cached, memory

    return asyncio.run(everything())


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("calls", 2000),
        ("rounds", 3),
        ("concurrency", 32),
        ("passages", 10),
        ("words", 90),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each reply")
    given = parser.parse_args()
    size = (given.passages, given.words)
    ratios = []
    with (
        server(given.delay) as url,
        tempfile.TemporaryDirectory() as folder,
        ReplyCache(Path(folder) / "calls.sqlite") as cache,
    ):
        bare(url, requests(50, "warm", *size), given.concurrency)
        for turn in range(given.rounds):
            rates, busy = {}, {}
            for client in ("bare", "ours") if turn % 2 == 0 else ("ours", "bare"):
                prompts = requests(given.calls, f"{client} {turn}", *size)
                began, worked = time.perf_counter(), time.process_time()
                if client == "bare":
                    bare(url, prompts, given.concurrency)
                else:
                    _, memory = ours(url, prompts, given.calls, given.concurrency, cache)
                rates[client] = given.calls / (time.perf_counter() - began)
                busy[client] = (time.process_time() - worked) / given.calls * 1000
            ratios.append(rates["ours"] / rates["bare"])
            print(
                f"round {turn + 1}: bare {rates['bare']:6.1f} calls/s, "
                f"recipekit {rates['ours']:6.1f} calls/s, ratio {ratios[-1]:.3f}; "
                f"CPU time {busy['bare']:.2f} and {busy['ours']:.2f} ms a call; "
                f"resident {memory[0]} MB halfway, {memory[-1]} MB at the end",
                flush=True,
            )
        print(
            f"median ratio {statistics.median(ratios):.3f} "
            f"over {given.rounds} rounds of {given.calls} calls"
        )
        before, began = ledger(url)["arrived"], time.perf_counter()
        cached, _ = ours(
            url, requests(given.calls, "ours 0", *size), given.calls, given.concurrency, cache
        )
        seconds, made = time.perf_counter() - began, ledger(url)["arrived"] - before
        print(
            f"rerun: {cached} of {given.calls} from the cache, {made} calls, {seconds:.2f} s; "
            f"paid twice: {ledger(url)['paid_twice']}"
        )


if __name__ == "__main__":
    main()
