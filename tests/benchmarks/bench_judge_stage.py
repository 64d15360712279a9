"""Compare the judge stage with a language model with bare litellm and a semaphore.

Both send the same prompts of ten passages to one server in a separate process. They alternate,
each with a tenth of the calls per turn, so that other load on the machine affects both; the stage
pauses during the turn of litellm:

    python tests/benchmarks/bench_judge_stage.py --pairs 20000
    python tests/benchmarks/bench_judge_stage.py --pairs 200000

It prints calls per second and CPU time per call of both, for each turn and in total, the stage's
resident memory after each quarter, which should not grow, and the time of judging everything again,
which must make no call.
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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest import write_dataset
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import Slot
from recipekit.dataset import Dataset
from recipekit.judges.llm import LlmJudgeSpec
from recipekit.judges.llm_judge.groups import GroupPlan
from recipekit.judges.llm_judge.texts import TextCutter, read_queries
from recipekit.judging.candidate_pairs import load_pairs
from recipekit.llm.completion import Request
from recipekit.llm.litellm_import import litellm
from recipekit.llm.token_counter import token_counter
from recipekit.registry import Entry
from recipekit.stages.inputs import StageInputs
from recipekit.stages.judge.judge import judge
from recipekit.stages.judge.section import JudgeSection
from recipekit.tables import CANDIDATES, read_table, write_table
from servers.openai_server import Answer, Call, Policy

MODEL = "openai/test-model"
SERVER = Path(__file__).parent.parent / "servers" / "openai_server.py"
WORDS = (
    "river mountain valley engine turbine violin opera enzyme protein galaxy comet bread pepper "
    "the of and in is to"
).split()
PER_QUERY, PER_CALL = 100, 10
SEED = 13
TURNS = 10


def graded() -> Policy:
    """The server's policy: it grades every passage of a prompt."""

    def policy(call: Call) -> Answer:
        count = call.body["messages"][-1]["content"].count(" passage ")
        return Answer(
            json.dumps({str(number): int(number % 4 == 0) * 3 for number in range(1, count + 1)})
        )

    return policy


@contextmanager
def server(delay: float) -> Iterator[str]:
    command = [
        sys.executable,
        str(SERVER),
        "--port",
        "0",
        "--delay",
        str(delay),
        "--policy",
        f"{Path(__file__).resolve()}:graded",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def arrived(url: str) -> int:
    with urllib.request.urlopen(f"{url}/ledger") as reply:
        return int(json.load(reply)["arrived"])


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# Bare litellm in a process that reads from stdin how many calls to make
# -------------------------------------------------------------------------------------------------


def bare(url: str, file: Path, concurrency: int) -> None:
    """Send prompts with litellm, imported as any program does, and keep no reply.

    Reads numbers of calls from stdin, and prints the wall and CPU seconds of each.
    """

    import litellm as plain_litellm

    async def one(request: dict[str, Any], room: asyncio.Semaphore) -> None:
        try:
            await plain_litellm.acompletion(
                model=MODEL,
                **request,
                api_base=f"{url}/v1",
                api_key="none",
                timeout=60.0,
                num_retries=0,
                max_retries=0,
            )
        finally:
            room.release()

    async def several(lines: Iterable[str]) -> None:
        room = asyncio.Semaphore(concurrency)
        async with asyncio.TaskGroup() as group:
            for line in lines:
                request = json.loads(line)
                await room.acquire()
                group.create_task(one(request, room))

    with file.open() as lines, asyncio.Runner() as runner:
        for count in sys.stdin:
            began, worked = time.perf_counter(), time.process_time()
            runner.run(several(islice(lines, int(count))))
            print(
                json.dumps([time.perf_counter() - began, time.process_time() - worked]), flush=True
            )
        runner.run(plain_litellm.close_litellm_async_clients())


@dataclass
class Bare:
    """The process of bare litellm."""

    process: subprocess.Popen[str]

    def calls(self, count: int) -> tuple[float, float]:
        """Make calls; returns wall seconds and CPU seconds."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        seconds, worked = json.loads(self.process.stdout.readline())
        return seconds, worked


# The stage
# -------------------------------------------------------------------------------------------------


def write_inputs(folder: Path, pairs: int, words: int) -> StageInputs:
    """A data set with 100 candidates per query.

    There are a fifth as many passages as pairs, and at least 2,000.
    """
    draw = random.Random(SEED)
    n_queries, n_passages = pairs // PER_QUERY, max(2000, pairs // 5)
    passages = [(f"p{row}", " ".join(draw.choices(WORDS, k=words))) for row in range(n_passages)]
    queries = [
        (f"q{row}", f"query {row} about {' '.join(draw.choices(WORDS, k=8))}", "train")
        for row in range(n_queries)
    ]
    dataset = write_dataset(folder / "data", queries, passages, {(0, n_passages - 1): 1.0})
    found = np.concatenate(
        [
            np.random.default_rng(row).permutation(n_passages - 1)[:PER_QUERY]
            for row in range(n_queries)
        ]
    )
    scores = np.tile(np.arange(PER_QUERY, 0, -1, dtype=np.float32), n_queries)
    columns = [np.repeat(np.arange(n_queries), PER_QUERY), found, np.zeros(pairs, bool), scores]
    table = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, CANDIDATES, strict=True)],
        schema=CANDIDATES,
    )
    (folder / "mine").mkdir()
    write_table(folder / "mine" / "candidates.arrow", CANDIDATES, [table])
    artifacts = {
        "collect": Artifact("collect", "bench", dataset.path),
        "mine": Artifact("mine", "bench", folder / "mine"),
    }
    return StageInputs(
        "bench", SEED, artifacts, {}, None, Store(folder / "store"), FileHashes(), Quiet()
    )


def section(url: str, concurrency: int) -> JudgeSection:
    spec = LlmJudgeSpec(
        model=MODEL,
        api_base=f"{url}/v1",
        api_key="none",
        canary_share=0,
        concurrency=concurrency,
        price={"input": 1.0, "output": 4.0},
    )
    made = JudgeSection(judges={"model": Slot(use="llm")})
    made.judges["model"].bind(Entry("judge", "llm", "bench", "1", "bench:LlmJudgeSpec"), spec)
    return made


def requests(inputs: StageInputs, spec: LlmJudgeSpec) -> Iterator[Request]:
    """The requests of the stage in their order."""
    dataset: Dataset | None = inputs.dataset
    assert dataset is not None
    pairs = load_pairs(dataset, read_table(inputs.artifacts["mine"].path / "candidates.arrow"))
    wanted = (pairs.rank > 0) & ~pairs.source_positive
    batches = pairs.batches(wanted, pairs.standing_positives(), pairs.verdicts.verdict)
    counter = token_counter(MODEL)
    queries = TextCutter(dataset.queries, counter, spec.max_query_tokens)
    passages = TextCutter(dataset.passages, counter, spec.max_passage_tokens)
    plan, builder = GroupPlan(SEED, PER_CALL, 1, 0.0, 0.0), spec.request_builder(SEED)
    for texts in read_queries(batches, queries, passages, num_references=0, by_verdict=False):
        for group in plan.groups(texts):
            yield builder.build(texts, group, "text")


class Quiet:
    """A progress that shows nothing."""

    def log(self, event: str, **fields: object) -> None: ...
    def info(self, message: str) -> None: ...
    def warn(self, message: str) -> None:
        print("warning:", message)

    def track(self, name: str, total: int | None = None, unit: str = "") -> Quiet:
        return self

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *exc: object) -> None: ...
    def advance(self, n: int = 1, **figures: float | str) -> None: ...


@dataclass
class Turns(Quiet):
    """A progress that pauses the stage after each tenth of the pairs for a turn of litellm."""

    other: Bare
    total: int
    ours: list[tuple[int, float, float]] = field(default_factory=list)
    """Calls, seconds and CPU seconds of each turn."""
    others: list[tuple[int, float, float]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    done: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        self.began, self.worked = time.perf_counter(), time.process_time()

    def advance(self, n: int = 1, **figures: float | str) -> None:
        self.done += n
        if self.done < min(self.total, self.last + self.total / TURNS):
            return
        calls = (self.done - self.last) // PER_CALL
        self.ours.append(
            (calls, time.perf_counter() - self.began, time.process_time() - self.worked)
        )
        self.memory.append(resident())
        self.others.append((calls, *self.other.calls(calls)))
        self.show()
        self.last, self.began, self.worked = self.done, time.perf_counter(), time.process_time()

    def show(self) -> None:
        (calls, seconds, worked), (_, other, also) = self.ours[-1], self.others[-1]
        print(
            f"turn {len(self.ours):2}: stage {calls / seconds:6.1f} calls/s, "
            f"bare {calls / other:6.1f}, ratio {other / seconds:.3f}; "
            f"CPU time {worked / calls * 1000:.2f} and {also / calls * 1000:.2f} ms per call; "
            f"memory of the stage {self.memory[-1]:.0f} MB",
            flush=True,
        )


def main() -> None:
    if sys.argv[1:2] == ["bare"]:
        bare(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("pairs", 20_000), ("concurrency", 32), ("words", 90)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument(
        "--folder", type=Path, help="the working folder; by default a temporary one"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name, server(given.delay) as url:
        folder = Path(name)
        inputs = write_inputs(folder, given.pairs, given.words)
        judging = section(url, given.concurrency)
        with (folder / "prompts.jsonl").open("w") as file:
            spec = judging.judges["model"].spec
            assert isinstance(spec, LlmJudgeSpec)
            for request in requests(inputs, spec):
                file.write(json.dumps({"messages": request.messages, **request.parameters}) + "\n")
        command = [
            sys.executable,
            __file__,
            "bare",
            url,
            str(folder / "prompts.jsonl"),
            str(given.concurrency),
        ]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            other = Bare(process)
            litellm()
            measure(folder, inputs, judging, Turns(other, given.pairs), url)


def measure(
    folder: Path, inputs: StageInputs, judging: JudgeSection, turns: Turns, url: str
) -> None:
    """Judge everything in turns with litellm, then judge it again."""
    from dataclasses import replace

    first = replace(inputs, progress=turns)
    (folder / "first").mkdir()
    summary = judge(first, judging, folder / "first")
    assert summary["judges"]["model"]["judged"] == turns.total, summary
    made, end = turns.total // PER_CALL, resident()
    before, began = arrived(url), time.perf_counter()
    (folder / "again").mkdir()
    again = judge(inputs, judging, folder / "again")
    seconds, calls = time.perf_counter() - began, arrived(url) - before
    ratios = [
        other / ours for (_, ours, _), (_, other, _) in zip(turns.ours, turns.others, strict=True)
    ]
    (count, seconds_ours, worked), (_, seconds_bare, also) = (
        map(sum, zip(*rows, strict=True)) for rows in (turns.ours, turns.others)
    )
    quarters = [
        turns.memory[round(len(turns.memory) * quarter / 4) - 1] for quarter in (1, 2, 3, 4)
    ]
    print(
        f"\n{turns.total:,} pairs, {made:,} calls needed, "
        f"{summary['judges']['model']['counts']['calls']:,} made"
    )
    print(
        f"stage {count / seconds_ours:.1f} calls/s, bare litellm {count / seconds_bare:.1f} calls/s"
    )
    print(
        f"ratio {seconds_bare / seconds_ours:.3f} in total, "
        f"median of the turns {statistics.median(ratios):.3f}"
    )
    print(f"CPU time {worked / count * 1000:.2f} ms per call, bare {also / count * 1000:.2f}")
    shown = ", ".join(f"{megabytes:.0f}" for megabytes in quarters)
    print(f"memory at 25, 50, 75, 100 %: {shown} MB; at the end {end:.0f} MB")
    stored = again["judges"]["model"]["counts"]["from_store"]["replies"]
    print(f"again: {calls} calls, {stored:,} replies from the store, {seconds:.1f} s")


if __name__ == "__main__":
    main()
