"""A real HTTP server on loopback that speaks the OpenAI protocol and misbehaves as a test's policy
says.

A policy is a callable that is given a `Call` and returns an `Answer`. The server counts by itself
what it was asked and what it would have billed, so that a test need not believe the client's own
figures:

    with serving(always(text("yes"))) as server:
        ...                       # ask server.url + "/v1"
        assert server.ledger.paid_twice == []

It runs in a thread of the test, or as a process of its own that prints its URL:

    python tests/servers/openai_server.py --port 0 --policy binary --delay 0.01
    python tests/servers/openai_server.py --port 0 --policy my_policies.py:make_policy --argument
    truths.json
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib.util
import json
import math
import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# What a policy is given and gives
# -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A chat completion as it arrived."""

    body: Mapping[str, Any]
    number: int
    """From 1, over all calls that this server was sent."""
    headers: Mapping[str, str]
    """Lower-cased names."""

    @property
    def prompt(self) -> str:
        """Every message's text."""
        return "\n".join(message["content"] for message in self.body["messages"])


@dataclass(frozen=True)
class Answer:
    """What the server does with a call."""

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    """The name it claims; the one asked for by default."""
    finish_reason: str | None = None
    """`stop` by default, `length` where `max_tokens` cut the text."""
    refusal: str | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    logprob: float = -0.1
    """Of each token, where log-probabilities are asked for."""
    body: bytes | None = None
    """Sent as it is instead of a completion or an error."""
    error: Mapping[str, Any] | None = None
    """The error object of a status that is not 200."""
    delay: float = 0.0
    """Seconds before the first byte."""
    hang: bool = False
    """Never send a byte."""
    cut: float | None = None
    """Close the connection after this share of the reply's bytes (0: before the first)."""
    drip: float | None = None
    """Seconds between single bytes."""


Policy = Callable[[Call], Answer]


def text(content: str, **changes: Any) -> Answer:
    """A good answer."""
    return Answer(content, **changes)


def error(
    status: int,
    message: str = "no",
    *,
    code: str | None = None,
    kind: str = "error",
    **headers: str,
) -> Answer:
    """An error status; header names are given with underscores (`retry_after="2"`)."""
    body = {"message": message, "type": kind, "param": None, "code": code}
    return Answer(
        status=status,
        error=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def rate_limited(seconds: float | None = None) -> Answer:
    """429, with `Retry-After` where seconds are given."""
    headers = {} if seconds is None else {"retry_after": f"{seconds:g}"}
    return error(429, "Rate limit reached", code="rate_limit_exceeded", kind="requests", **headers)


def always(answer: Answer) -> Policy:
    """The same answer to every call."""
    return lambda call: answer


def in_turn(answers: Sequence[Answer | Policy], then: Answer | Policy) -> Policy:
    """The first calls get these, one each; all later ones get `then`."""

    def policy(call: Call) -> Answer:
        chosen = answers[call.number - 1] if call.number <= len(answers) else then
        return chosen if isinstance(chosen, Answer) else chosen(call)

    return policy


def at_rates(
    faults: Mapping[Callable[[Answer], Answer], float], then: Policy, seed: int = 0
) -> Policy:
    """A good policy whose answers are spoilt at set rates: `{lambda good: rate_limited(): 0.1}`."""
    chance = random.Random(seed)

    def policy(call: Call) -> Answer:
        drawn = chance.random()
        for spoil, rate in faults.items():
            drawn -= rate
            if drawn < 0:
                return spoil(then(call))
        return then(call)

    return policy


@dataclass(frozen=True)
class Oracle:
    """Answers from known truths, wrong at a set rate, and always alike for the same (query,
    passage).

    How a prompt is read and how grades are written belongs to whoever wrote the prompt, and is
    given.
    """

    truths: Mapping[tuple[str, str], int]
    """Grades by (query, passage); what is missing is 0."""
    read: Callable[[Mapping[str, Any]], tuple[str, Sequence[str]]]
    """A request's body to its query and passages, in order."""
    write: Callable[[Sequence[int]], str]
    """Grades to the reply's text."""
    error_rate: float = 0.0
    highest: int = 1
    """A wrong grade is the true one's mirror image in 0 ... highest."""
    seed: int = 0

    def grades(self, body: Mapping[str, Any]) -> list[int]:
        """The grades given for a request's passages."""
        query, passages = self.read(body)
        return [self._grade(query, passage) for passage in passages]

    def _grade(self, query: str, passage: str) -> int:
        truth = self.truths.get((query, passage), 0)
        digest = hashlib.blake2b(
            f"{self.seed}\0{query}\0{passage}".encode(), digest_size=8
        ).digest()
        wrong = int.from_bytes(digest, "big") / 2**64 < self.error_rate
        return self.highest - truth if wrong else truth

    def __call__(self, call: Call) -> Answer:
        return Answer(self.write(self.grades(call.body)))


# What it would have billed
# -------------------------------------------------------------------------------------------


def tokens(content: str) -> int:
    """This server's tokenizer: four UTF-8 bytes a token."""
    return math.ceil(len(content.encode("utf-8", "replace")) / 4)


@dataclass
class Ledger:
    """The server's own account.

    A call is billed when an answer was made, whether or not it arrived.
    """

    usd_in: float = 1.0
    """A million tokens in."""
    usd_out: float = 4.0
    usd_cached: float = 0.1
    """A million tokens in that were cached."""
    marks: Callable[[Mapping[str, Any]], Iterable[Hashable]] | None = None
    """What a request's body asks about (its pairs), to be counted in `marked`."""
    arrived: int = 0
    delivered: int = 0
    """Good answers sent whole to a connection that was still open."""
    statuses: Counter[int] = field(default_factory=Counter)
    paid: Counter[str] = field(default_factory=Counter)
    """Billed calls by the SHA-256 of what was asked."""
    marked: Counter[Hashable] = field(default_factory=Counter)
    """Billed calls by what they asked about."""
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    in_flight: int = 0
    most_in_flight: int = 0
    arrivals: list[float] = field(default_factory=list)
    """Seconds, on the server's clock, at which calls arrived."""

    def bill(self, body: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
        """Count one answered call."""
        asked = json.dumps(body, sort_keys=True, separators=(",", ":"))
        self.paid[hashlib.sha256(asked.encode()).hexdigest()] += 1
        if self.marks:
            self.marked.update(self.marks(body))
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        self.tokens_in += usage["prompt_tokens"]
        self.tokens_out += usage["completion_tokens"]
        dollars = (
            (usage["prompt_tokens"] - cached) * self.usd_in
            + cached * self.usd_cached
            + usage["completion_tokens"] * self.usd_out
        )
        self.usd += dollars / 1e6

    @property
    def billed(self) -> int:
        """Calls billed in all."""
        return self.paid.total()

    @property
    def paid_twice(self) -> list[str]:
        """What was asked and billed more than once."""
        return [asked for asked, times in self.paid.items() if times > 1]

    def summary(self) -> dict[str, Any]:
        """The account as JSON values, as `GET /ledger` shows it."""
        return {
            "arrived": self.arrived,
            "billed": self.billed,
            "delivered": self.delivered,
            "paid_twice": len(self.paid_twice),
            "marks": len(self.marked),
            "marks_twice": sum(times > 1 for times in self.marked.values()),
            "extra_marks": self.marked.total() - len(self.marked),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "usd": self.usd,
            "most_in_flight": self.most_in_flight,
            "statuses": {str(status): times for status, times in self.statuses.items()},
        }


# The protocol
# --------------------------------------------------------------------------------------------------------


def completion(call: Call, answer: Answer) -> dict[str, Any]:
    """A chat completion object; the text is cut where `max_tokens` says so."""
    asked = call.body
    content, finish = answer.text, answer.finish_reason or "stop"
    limit = asked.get("max_tokens") or asked.get("max_completion_tokens")
    if limit is not None and tokens(content) + answer.reasoning_tokens > limit:
        content, finish = (
            content.encode("utf-8", "replace")[
                : max(0, limit - answer.reasoning_tokens) * 4
            ].decode(errors="ignore"),
            "length",
        )
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": answer.refusal}
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "finish_reason": finish,
        "logprobs": None,
    }
    if asked.get("logprobs"):
        pieces = re.findall(r"\s*\w+|\s*[^\w\s]", content)
        choice["logprobs"] = {"content": [_chance(piece, answer.logprob) for piece in pieces]}
    return {
        "id": f"chatcmpl-{call.number}",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": answer.model or asked["model"],
        "choices": [choice],
        "usage": _usage(call, content, answer),
    }


def _chance(piece: str, logprob: float) -> dict[str, Any]:
    return {"token": piece, "logprob": logprob, "bytes": list(piece.encode()), "top_logprobs": []}


def _usage(call: Call, content: str, answer: Answer) -> dict[str, Any]:
    prompt, out = tokens(call.prompt), tokens(content) + answer.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": out,
        "total_tokens": prompt + out,
        "prompt_tokens_details": {"cached_tokens": min(answer.cached_tokens, prompt)},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    }


class _Connection(asyncio.Protocol):
    """One keep-alive connection: requests by Content-Length, answered in order."""

    def __init__(self, server: OpenAIServer) -> None:
        self.server = server
        self.buffer = bytearray()
        self.transport: asyncio.Transport
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            first, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
            }
            stop = end + 4 + int(headers.get("content-length", 0))
            if len(self.buffer) < stop:
                return
            body = bytes(self.buffer[end + 4 : stop])
            del self.buffer[:stop]
            verb, path, _ = first.split(" ", 2)
            self.route(verb, path, headers, body)

    def route(self, verb: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        server = self.server
        if (verb, path) in (
            ("POST", "/v1/chat/completions"),
            ("POST", "/v1/messages"),
        ):  # Anthropic's, for errors: its answers differ
            self.complete(headers, json.loads(body))
        elif (verb, path) == ("GET", "/v1/models"):
            models = [
                {"id": name, "object": "model", "created": 0, "owned_by": "tests"}
                for name in server.models
            ]
            self.transport.write(
                _http(200, json.dumps({"object": "list", "data": models}).encode())
            )
        elif (verb, path) == ("GET", "/ledger"):
            self.transport.write(_http(200, json.dumps(server.ledger.summary()).encode()))
        else:
            self.transport.write(
                _http(
                    404,
                    b'{"error": {"message": "no such path", "type": "invalid_request_error", "code": null}}',
                )
            )

    def complete(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> None:
        ledger = self.server.ledger
        ledger.arrived += 1
        ledger.arrivals.append(asyncio.get_running_loop().time())
        ledger.in_flight += 1
        ledger.most_in_flight = max(ledger.most_in_flight, ledger.in_flight)
        call = Call(body, ledger.arrived, headers)
        answer = self.server.answer(call)
        ledger.statuses[answer.status] += 1
        if answer.status == 200:
            reply = completion(call, answer)
            ledger.bill(body, reply["usage"])
            payload = json.dumps(reply).encode() if answer.body is None else answer.body
        else:
            payload = (
                json.dumps({"error": answer.error or {}}).encode()
                if answer.body is None
                else answer.body
            )
        message = _http(answer.status, payload, answer.headers)
        if answer.delay or answer.hang or answer.drip is not None:
            task = asyncio.get_running_loop().create_task(self.send_slowly(message, answer))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self.send(message, answer)

    def send(self, message: bytes, answer: Answer) -> None:
        ledger = self.server.ledger
        ledger.in_flight -= 1
        if answer.cut is not None:
            self.transport.write(message[: int(len(message) * answer.cut)])
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write(message)
            ledger.delivered += answer.status == 200

    async def send_slowly(self, message: bytes, answer: Answer) -> None:
        try:
            await asyncio.sleep(answer.delay)
            if answer.hang:
                await asyncio.get_running_loop().create_future()
            for position in range(len(message) if answer.drip is not None else 0):
                self.transport.write(message[position : position + 1])
                await asyncio.sleep(answer.drip or 0)
        except asyncio.CancelledError:
            self.server.ledger.in_flight -= 1
            raise
        self.send(b"" if answer.drip is not None else message, answer)


def _http(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {status} -",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class OpenAIServer:
    """The server: `url` once it runs, `ledger` as it counts."""

    def __init__(
        self,
        policy: Policy,
        *,
        ledger: Ledger | None = None,
        models: Sequence[str] = ("test-model",),
    ) -> None:
        self.policy = policy
        self.ledger = ledger or Ledger()
        self.models = models
        self.connections: set[_Connection] = set()
        self.failure: BaseException | None = None
        """What a policy raised: the test's own mistake."""
        self.url = ""

    def answer(self, call: Call) -> Answer:
        """What the policy says; a broken policy is a 500 that the test is told of."""
        try:
            return self.policy(call)
        except Exception as failure:
            self.failure = failure
            return error(500, f"the policy failed: {failure!r}")

    async def start(self, port: int = 0) -> asyncio.Server:
        """Listen on loopback."""
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", port, backlog=1024
        )
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def run(self, port: int, started: Callable[[], None], stopping: asyncio.Event) -> None:
        """Serve until told to stop, then cut every connection."""
        server = await self.start(port)
        started()
        await stopping.wait()
        server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        await server.wait_closed()


@contextmanager
def serving(policy: Policy, *, port: int = 0, **options: Any) -> Iterator[OpenAIServer]:
    """A server in a thread of this process, stopped at the end; raises what the policy raised."""
    server = OpenAIServer(policy, **options)
    started, loop = threading.Event(), asyncio.new_event_loop()
    stopping = asyncio.Event()

    def serve() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(server.run(port, started.set, stopping))

    thread = threading.Thread(target=serve, name="openai-server", daemon=True)
    thread.start()
    if not started.wait(10):
        raise RuntimeError("the test server did not start")
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
    if server.failure:
        raise server.failure


# As a process
# --------------------------------------------------------------------------------------------------------


def numbered_passages(body: Mapping[str, Any]) -> int:
    """How many passages a prompt numbers `[1]`, `[2]`, ... at the start of a line."""
    return max(
        (
            int(number)
            for number in re.findall(r"^\[(\d+)\]", body["messages"][-1]["content"], re.MULTILINE)
        ),
        default=1,
    )


def binary(call: Call) -> Answer:
    """`{"relevant": [1]}`, or as many zeros and ones as a prompt numbers passages: the first one is
    relevant.
    """
    return Answer(json.dumps({"verdicts": [1] + [0] * (numbered_passages(call.body) - 1)}))


def policy_named(name: str, argument: str | None) -> Policy:
    """`binary`, or `FILE.py:NAME`: a function that makes the policy, given the argument if there is
    one.
    """
    if name == "binary":
        return binary
    path, _, function = name.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"no policy {name!r}: say 'binary' or FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    make = getattr(module, function)
    return make(argument) if argument is not None else make()


async def _serve_forever(server: OpenAIServer, port: int) -> None:
    await server.run(port, lambda: print(server.url, flush=True), asyncio.Event())


def main() -> None:
    """Serve until killed. `GET /ledger` tells what was counted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--policy", default="binary")
    parser.add_argument("--argument", help="handed to the policy's function")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    given = parser.parse_args()
    policy = policy_named(given.policy, given.argument)
    delayed = (lambda call: replace(policy(call), delay=given.delay)) if given.delay else policy
    asyncio.run(_serve_forever(OpenAIServer(delayed), given.port))


if __name__ == "__main__":
    main()
