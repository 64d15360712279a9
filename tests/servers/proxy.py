"""An HTTP proxy that fakes replies which a real server cannot be made to send.

```python
with Proxy("http://127.0.0.1:9200") as proxy:
    proxy.rule("POST", "/_bulk", Answer(429, {"Retry-After": "0"}), times=2)
    proxy.rule("POST", "/_msearch", Rewrite(lambda reply: {**reply, "timed_out": True}))
```
A rule applies to the first `times` requests that it matches; all others are forwarded.
`proxy.seen` lists the requests.
"""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Answer", "Call", "Cut", "Proxy", "Request", "Rewrite"]

AS_ELASTICSEARCH = {
    "content-type": "application/vnd.elasticsearch+json;compatible-with=8",
    "x-elastic-product": "Elasticsearch",
}
"""Default headers of faked replies. The client rejects a server without the second one."""


@dataclass(frozen=True)
class Request:
    """A request; `path` includes the query string."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """Reply without forwarding the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """A JSON value, or bytes."""


@dataclass(frozen=True)
class Cut:
    """Close the connection without a reply, before or after the server handled the request."""

    after: bool = False


@dataclass(frozen=True)
class Rewrite:
    """Forward the request, and change the JSON value of the reply."""

    change: Callable[[Any], Any]


@dataclass(frozen=True)
class Call:
    """Call a function of the test (kill the server, wait for an event), then forward."""

    act: Callable[[], object]


Action = Answer | Cut | Rewrite | Call


@dataclass
class _Rule:
    method: str
    part: str
    action: Action
    times: int
    body: bytes
    after: int


class Proxy:
    """A proxy on a free loopback port; a context manager."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self.seen: list[Request] = []
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self})
        )
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def rule(
        self,
        method: str,
        part: str,
        action: Action,
        *,
        times: int = 1,
        body: bytes = b"",
        after: int = 0,
    ) -> None:
        """Act on the requests of a method with certain parts of path and body.

        Args:
            method: GET, POST, PUT, HEAD or DELETE.
            part: A part of the path.
            action: What to do.
            times: How many requests to act on; -1 for all.
            body: A part of the body.
            after: How many requests to forward first.
        """
        self._rules.append(_Rule(method, part, action, times, body, after))

    def requests(self, method: str, part: str) -> list[Request]:
        """The requests so far of a method whose path contains `part`."""
        return [
            request for request in self.seen if request.method == method and part in request.path
        ]

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _action(self, request: Request) -> Action | None:
        with self._lock:
            self.seen.append(request)
            for rule in self._rules:
                if (
                    rule.times
                    and rule.method == request.method
                    and rule.part in request.path
                    and rule.body in request.body
                ):
                    if rule.after:
                        rule.after -= 1
                        continue
                    rule.times -= 1
                    return rule.action
        return None

    def _forward(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(
            self._upstream.hostname or "", self._upstream.port, timeout=60
        )
        dropped = {"host", "connection", "content-length", "accept-encoding"}
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in dropped
        }
        try:
            connection.request(
                request.method, request.path, body=request.body or None, headers=headers
            )
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        kept = {
            name: value
            for name, value in reply.getheaders()
            if name.lower() not in ("content-length", "connection", "transfer-encoding")
        }
        return reply.status, kept, content


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        request = Request(self.command, self.path, dict(self.headers), body)
        with suppress(ConnectionError):  # the client may have timed out
            self._act(request, self.proxy._action(request))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _serve

    def _act(self, request: Request, action: Action | None) -> None:
        if isinstance(action, Answer):
            content = (
                action.body
                if isinstance(action.body, bytes)
                else json.dumps(action.body or {}).encode()
            )
            return self._reply(action.status, {**AS_ELASTICSEARCH, **action.headers}, content)
        if isinstance(action, Call):
            action.act()
        if action == Cut():
            return self._cut()
        try:
            status, headers, content = self.proxy._forward(request)
        except (OSError, http.client.HTTPException):
            return self._cut()  # the server is down
        if isinstance(action, Cut):
            return self._cut()
        if isinstance(action, Rewrite):
            content = json.dumps(action.change(json.loads(content))).encode()
        return self._reply(status, headers, content)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _reply(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
