"""A loopback HTTP server that speaks the part of the Hugging Face Hub's API that baselines need.

Repositories, commits and files are in memory. Uploads take both ways that the Hub knows: text files
inside the commit, others through Git LFS's batch API. A file that was not uploaded before its
commit is refused, and so is content whose sha256 is not the stated one.

    with hub_serving(tokens={"hf_writer": "acme"}) as hub:
        ...                       # HF_ENDPOINT=hub.url, HF_TOKEN=hf_writer, HF_HUB_DISABLE_XET=1
        assert hub.files("acme/baseline")["recipe.yaml"]
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]
KINDS = {"models": "", "datasets": "datasets/"}
REPO = r"(?P<id>[\w.-]+/[\w.-]+)"
API = rf"/api/(?P<kind>models|datasets)/{REPO}"


@dataclass
class Repository:
    """A repository with its commits."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files) -> str:
        """Add a commit, and return its id."""
        listing = "".join(f"{name} {hashlib.sha1(files[name]).hexdigest()}" for name in files)
        text = f"{len(self.commits)} {listing}"
        found = hashlib.sha1(text.encode()).hexdigest()
        self.commits[found] = files
        self.branches[branch] = found
        return found

    def at(self, revision: str) -> str | None:
        """Return the commit of a branch or commit."""
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None


@dataclass
class Refusal(Exception):
    """An answer that is an error."""

    status: int
    code: str = ""
    message: str = ""


class FakeHub:
    """The content of the Hub, and what arrived."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self.tokens = dict(tokens)
        """The owner that each token may write to."""
        self.repositories: dict[tuple[str, str], Repository] = {}
        """By kind (`models` or `datasets`) and id."""
        self.large: dict[str, bytes] = {}
        """Content of Git LFS, by sha256."""
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and token of every request."""
        self.refuse: Callable[[str, str], Refusal | None] = lambda _method, _path: None
        """Errors that a test wants, by method and path."""
        self.url = ""

    def files(self, id: str, kind: str = "models", revision: str = "main") -> Files:
        """Return the files of a repository."""
        repository = self.repositories[kind, id]
        return repository.commits[repository.at(revision) or revision]

    def make(self, id: str, kind: str = "models", **keys: bool) -> Repository:
        """Make a repository with its first commit."""
        repository = self.repositories[kind, id] = Repository(**keys)
        repository.commit("main", {".gitattributes": b"*.bin filter=lfs\n"})
        return repository


class Api(BaseHTTPRequestHandler):
    """One connection."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        method = "GET" if self.command == "HEAD" else self.command
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        self.hub.requests.append((self.command, path, self._token()))
        try:
            if refusal := self.hub.refuse(self.command, path):
                raise refusal
            if self._token() is not None and self._token() not in self.hub.tokens:
                raise Refusal(401, "", "Invalid credentials in Authorization header")
            for routed, pattern, route in ROUTES:
                found = re.fullmatch(pattern, path)
                if routed == method and found:
                    route(self, body, **found.groupdict())
                    return
            raise Refusal(404, "", f"no route for {method} {path}")
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self._send(refusal.status, {"error": refusal.message or refusal.code}, headers)

    do_GET = do_POST = do_PUT = do_HEAD = _answer

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _send(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _token(self) -> str | None:
        _, _, token = (self.headers.get("Authorization") or "").partition("Bearer ")
        return token or None

    def _owner(self) -> str | None:
        return self.hub.tokens.get(self._token() or "")

    def _readable(self, kind: str, id: str) -> Repository:
        """Return a repository, as the Hub answers for one that may not be seen."""
        repository = self.hub.repositories.get((kind, id))
        mine = self._owner() == id.partition("/")[0]
        if repository is None or (repository.private and not mine):
            raise Refusal(404 if self._token() else 401, "RepoNotFound", "Repository not found")
        if repository.gated and not mine:
            raise Refusal(403, "GatedRepo", "Access to this repository is restricted")
        return repository

    def _writable(self, id: str) -> None:
        if self._token() is None:
            raise Refusal(401, "", "Invalid username or password.")
        if self._owner() != id.partition("/")[0]:
            raise Refusal(403, "", "You don't have the rights to do this under this namespace")

    def _commit(self, kind: str, id: str, revision: str) -> tuple[Repository, str]:
        repository = self._readable(kind, id)
        commit = repository.at(revision)
        if commit is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, commit

    def whoami(self, _body: bytes) -> None:
        """Say whose token it is."""
        if self._owner() is None:
            raise Refusal(401, "", "Invalid username or password.")
        role = "read" if "read" in str(self._token()) else "write"
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
        self._send(200, {"type": "user", "name": self._owner(), "auth": auth})

    def create(self, body: bytes) -> None:
        """Make a repository; 409 if it exists."""
        asked = json.loads(body)
        id = f"{asked['organization']}/{asked['name']}"
        kind = f"{asked.get('type') or 'model'}s"
        self._writable(id)
        answer = {"url": f"{self.hub.url}/{KINDS[kind]}{id}", "name": id, "id": "1"}
        if (kind, id) in self.hub.repositories:
            self._send(409, {**answer, "error": "You already created this repo"})
            return
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.hub.make(id, kind, private=private)
        self._send(200, answer)

    def branch(self, _body: bytes, kind: str, id: str, branch: str) -> None:
        """Make a branch at main; 409 if it exists."""
        self._writable(id)
        repository = self._readable(kind, id)
        if branch in repository.branches:
            raise Refusal(409, "", "Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        self._send(200, {})

    def info(self, _body: bytes, kind: str, id: str, revision: str = "main") -> None:
        """Return the commit and the files."""
        repository, commit = self._commit(kind, id, revision)
        siblings = [{"rfilename": name} for name in repository.commits[commit]]
        self._send(200, {"id": id, "sha": commit, "private": repository.private,
                         "siblings": siblings, "tags": []})  # fmt: skip

    def tree(self, _body: bytes, kind: str, id: str, revision: str) -> None:
        """Return the files with their sizes."""
        repository, commit = self._commit(kind, id, revision)
        self._send(200, [
            {"type": "file", "path": name, "size": len(content), "oid": _git_oid(content)}
            for name, content in sorted(repository.commits[commit].items())
        ])  # fmt: skip

    def preupload(self, body: bytes, kind: str, id: str, revision: str) -> None:
        """Say which files belong into Git LFS."""
        self._writable(id)
        self._commit(kind, id, revision)
        self._send(200, {"files": [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith((".arrow", ".gz")) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]})  # fmt: skip

    def batch(self, body: bytes, id: str) -> None:
        """Return where large files go; files that are there already need no upload."""
        self._writable(id)
        objects = []
        for file in json.loads(body)["objects"]:
            actions = {"upload": {"href": f"{self.hub.url}/large/{file['oid']}"},
                       "verify": {"href": f"{self.hub.url}/verify"}}  # fmt: skip
            known = file["oid"] in self.hub.large
            objects.append({**file, **({} if known else {"actions": actions})})
        self._send(200, {"transfer": "basic", "objects": objects})

    def large(self, body: bytes, oid: str) -> None:
        """Store a large file."""
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refusal(422, "", "the content has another sha256")
        self.hub.large[oid] = body
        self._send(200, {})

    def verify(self, body: bytes) -> None:
        """Say that a large file has arrived."""
        if json.loads(body)["oid"] not in self.hub.large:
            raise Refusal(404, "", "no such object")
        self._send(200, {})

    def commit(self, body: bytes, kind: str, id: str, revision: str) -> None:
        """Apply the lines of a commit."""
        self._writable(id)
        repository, parent = self._commit(kind, id, revision)
        files = dict(repository.commits[parent])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.large:
                    raise Refusal(400, "", f"{value['path']} was not uploaded")
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        made = repository.commit(revision, files)
        address = f"{self.hub.url}/{KINDS[kind]}{id}/commit/{made}"
        self._send(200, {"success": True, "commitOid": made, "commitUrl": address})

    def resolve(self, _body: bytes, id: str, revision: str, name: str, prefix: str = "") -> None:
        """Return a file."""
        repository, commit = self._commit("datasets" if prefix else "models", id, revision)
        content = repository.commits[commit].get(name)
        if content is None:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        etag = hashlib.sha256(content).hexdigest()
        self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def readme(self, _body: bytes) -> None:
        """Accept the head of a README."""
        self._send(200, {"errors": [], "warnings": []})


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", Api.whoami),
    ("POST", "/api/repos/create", Api.create),
    ("POST", "/api/validate-yaml", Api.readme),
    ("POST", rf"{API}/branch/(?P<branch>.+)", Api.branch),
    ("GET", API, Api.info),
    ("GET", rf"{API}/revision/(?P<revision>.+)", Api.info),
    ("GET", rf"{API}/tree/(?P<revision>[^/]+)", Api.tree),
    ("POST", rf"{API}/preupload/(?P<revision>.+)", Api.preupload),
    ("POST", rf"{API}/commit/(?P<revision>.+)", Api.commit),
    ("POST", rf"/(?:datasets/)?{REPO}\.git/info/lfs/objects/batch", Api.batch),
    ("PUT", r"/large/(?P<oid>\w+)", Api.large),
    ("POST", "/verify", Api.verify),
    ("GET", rf"/(?P<prefix>datasets/)?{REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)",
     Api.resolve),
]  # fmt: skip


@contextmanager
def hub_serving(tokens: Mapping[str, str]) -> Iterator[FakeHub]:
    """Serve a fake Hub on loopback.

    Args:
        tokens: The owner that each token may write to.
    """
    hub = FakeHub(tokens)
    api = type("BoundApi", (Api,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), api)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
