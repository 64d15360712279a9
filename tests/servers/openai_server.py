"""A loopback HTTP server that speaks the OpenAI protocol and misbehaves as a test's policy demands.

A policy is a callable that takes a `Call` and returns an `Answer`. The server keeps its own count
of requests and of what it would have billed, so that a test does not depend on the client's
figures:

    with serving(always(text("yes"))) as server:
        ...                       # call server.url + "/v1"
        assert server.ledger.paid_twice == []

It runs in a thread of the test, or as a separate process that prints its URL:

    python tests/servers/openai_server.py --port 0 --policy binary --delay 0.01
    python tests/servers/openai_server.py --policy my_policies.py:make_policy --argument truths.json
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

# Input and output of a policy
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A chat completion as it arrived."""

    body: Mapping[str, Any]
    number: int
    """From 1, over all calls to this server."""
    headers: Mapping[str, str]
    """Lower-cased names."""

    @property
    def prompt(self) -> str:
        """The text of all messages."""
        return "\n".join(message["content"] for message in self.body["messages"])


@dataclass(frozen=True)
class Answer:
    """What the server does with a call."""

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    """The model's name in the reply. Default: the requested one."""
    finish_reason: str | None = None
    """Default: `stop`, or `length` if `max_tokens` cut the text."""
    refusal: str | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    logprob: float = -0.1
    """Of each token, if log-probabilities are requested."""
    body: bytes | None = None
    """Sent unchanged instead of a completion or an error."""
    error: Mapping[str, Any] | None = None
    """The error object, for a status other than 200."""
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
    """An error. Header names are written with underscores: `retry_after="2"`."""
    body = {"message": message, "type": kind, "param": None, "code": code}
    return Answer(
        status=status,
        error=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def rate_limited(seconds: float | None = None) -> Answer:
    """A 429, with `Retry-After` if `seconds` is not None."""
    headers = {} if seconds is None else {"retry_after": f"{seconds:g}"}
    return error(429, "Rate limit reached", code="rate_limit_exceeded", kind="requests", **headers)


def always(answer: Answer) -> Policy:
    """The same answer to every call."""
    return lambda call: answer


def in_turn(answers: Sequence[Answer | Policy], then: Answer | Policy) -> Policy:
    """The first calls get one of these each; all later ones get `then`."""

    def policy(call: Call) -> Answer:
        chosen = answers[call.number - 1] if call.number <= len(answers) else then
        return chosen if isinstance(chosen, Answer) else chosen(call)

    return policy


def at_rates(
    faults: Mapping[Callable[[Answer], Answer], float], then: Policy, seed: int = 0
) -> Policy:
    """A policy with faults at given rates: `{lambda good: rate_limited(): 0.1}`."""
    chance = random.Random(seed)

    def policy(call: Call) -> Answer:
        drawn = chance.random()
        for fault, rate in faults.items():
            drawn -= rate
            if drawn < 0:
                return fault(then(call))
        return then(call)

    return policy


@dataclass(frozen=True)
class Oracle:
    """Answers from known grades, with errors at a given rate.

    The same (query, passage) always gets the same grade. The caller provides how to read a prompt
    and how to write grades.
    """

    truths: Mapping[tuple[str, str], int]
    """Grades by (query, passage); missing ones are 0."""
    read: Callable[[Mapping[str, Any]], tuple[str, Sequence[str]]]
    """A request's body to its query and passages, in order."""
    write: Callable[[Sequence[int]], str]
    """Grades to the reply's text."""
    error_rate: float = 0.0
    highest: int = 1
    """A wrong grade is `highest` minus the true one."""
    seed: int = 0

    def grades(self, body: Mapping[str, Any]) -> list[int]:
        """The grades of a request's passages."""
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


# Billing
# --------------------------------------------------------------------------------------------------


def tokens(content: str) -> int:
    """This server's token count: four UTF-8 bytes per token."""
    return math.ceil(len(content.encode("utf-8", "replace")) / 4)


@dataclass
class Ledger:
    """The server's own count of calls and costs.

    A call is billed when it is answered, whether or not the answer arrives.
    """

    usd_in: float = 1.0
    """USD per million input tokens."""
    usd_out: float = 4.0
    usd_cached: float = 0.1
    """USD per million cached input tokens."""
    pairs: Callable[[Mapping[str, Any]], Iterable[Hashable]] | None = None
    """The pairs that a request's body asks about, to be counted in `billed_pairs`."""
    arrived: int = 0
    delivered: int = 0
    """Replies that were sent completely on an open connection."""
    statuses: Counter[int] = field(default_factory=Counter)
    paid: Counter[str] = field(default_factory=Counter)
    """Billed calls by the SHA-256 of the request."""
    billed_pairs: Counter[Hashable] = field(default_factory=Counter)
    """Billed calls by pair."""
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    in_flight: int = 0
    most_in_flight: int = 0
    arrivals: list[float] = field(default_factory=list)
    """Seconds, on the server's clock, at which calls arrived."""

    def bill(self, body: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
        """Bill one answered call."""
        content = json.dumps(body, sort_keys=True, separators=(",", ":"))
        self.paid[hashlib.sha256(content.encode()).hexdigest()] += 1
        if self.pairs:
            self.billed_pairs.update(self.pairs(body))
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
        """The number of billed calls."""
        return self.paid.total()

    @property
    def paid_twice(self) -> list[str]:
        """Requests that were billed more than once."""
        return [request for request, times in self.paid.items() if times > 1]

    def summary(self) -> dict[str, Any]:
        """The ledger as JSON values, as `GET /ledger` returns it."""
        return {
            "arrived": self.arrived,
            "billed": self.billed,
            "delivered": self.delivered,
            "paid_twice": len(self.paid_twice),
            "pairs": len(self.billed_pairs),
            "pairs_twice": sum(times > 1 for times in self.billed_pairs.values()),
            "extra_pairs": self.billed_pairs.total() - len(self.billed_pairs),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "usd": self.usd,
            "most_in_flight": self.most_in_flight,
            "statuses": {str(status): times for status, times in self.statuses.items()},
        }


# The protocol
# --------------------------------------------------------------------------------------------------


def completion(call: Call, answer: Answer) -> dict[str, Any]:
    """A chat completion object, with the text cut to `max_tokens`."""
    body = call.body
    content, finish = answer.text, answer.finish_reason or "stop"
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
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
    if body.get("logprobs"):
        pieces = re.findall(r"\s*\w+|\s*[^\w\s]", content)
        choice["logprobs"] = {
            "content": [_token_logprob(piece, answer.logprob) for piece in pieces]
        }
    return {
        "id": f"chatcmpl-{call.number}",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": answer.model or body["model"],
        "choices": [choice],
        "usage": _usage(call, content, answer),
    }


def _token_logprob(piece: str, logprob: float) -> dict[str, Any]:
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
    """One keep-alive connection, whose requests are answered in order."""

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
        # Anthropic's path is for errors only; its replies have another form.
        if (verb, path) in (("POST", "/v1/chat/completions"), ("POST", "/v1/messages")):
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
            unknown = error(404, "no such path", kind="invalid_request_error").error
            self.transport.write(_http(404, json.dumps({"error": unknown}).encode()))

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
    """The server. `url` is set once it runs."""

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
        """The exception of a broken policy."""
        self.url = ""

    def answer(self, call: Call) -> Answer:
        """The policy's answer; a 500 if the policy raises, which `serving` raises again."""
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
        """Serve until `stopping` is set, then close all connections."""
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
    """A server in a thread of this process. An exception of the policy is raised at the end."""
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
# --------------------------------------------------------------------------------------------------


def numbered_passages(body: Mapping[str, Any]) -> int:
    """The number of passages in a prompt that numbers them `[1]`, `[2]`, ... by line."""
    return max(
        (
            int(number)
            for number in re.findall(r"^\[(\d+)\]", body["messages"][-1]["content"], re.MULTILINE)
        ),
        default=1,
    )


def binary(call: Call) -> Answer:
    """A policy that calls the first passage relevant and the others not."""
    return Answer(json.dumps({"verdicts": [1] + [0] * (numbered_passages(call.body) - 1)}))


def policy_named(name: str, argument: str | None) -> Policy:
    """The policy `binary`, or the result of `FILE.py:FUNCTION` called with the argument, if any."""
    if name == "binary":
        return binary
    path, _, function = name.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"unknown policy {name!r}: use 'binary' or FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    make = getattr(module, function)
    return make(argument) if argument is not None else make()


async def _serve_forever(server: OpenAIServer, port: int) -> None:
    await server.run(port, lambda: print(server.url, flush=True), asyncio.Event())


def main() -> None:
    """Serve until killed. `GET /ledger` returns the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--policy", default="binary")
    parser.add_argument("--argument", help="for the policy's function")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    policy = policy_named(options.policy, options.argument)
    delayed = (lambda call: replace(policy(call), delay=options.delay)) if options.delay else policy
    asyncio.run(_serve_forever(OpenAIServer(delayed), options.port))


if __name__ == "__main__":
    main()
