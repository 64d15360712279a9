"""Every reply ever paid for, and what each ledger has spent, in one SQLite file.

A reply is found again by everything that was requested (`Request.key`), so that no call is paid for
twice. The file uses write-ahead logging and is flushed to disk at checkpoints: a killed process
loses no committed reply, a power cut at most those of the last seconds, and neither damages the
file. Several processes may share it. `ReplyCache.calls` reads it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipekit.artifacts.storage_errors import explained
from recipekit.errors import StoreError
from recipekit.llm.completion import Reply, Request, TokenLogprob, Usage
from recipekit.llm.sqlite_errors import explain_sqlite_errors

__all__ = ["PaidCall", "ReplyCache"]

SCHEMA_VERSION = 1
APPLICATION_ID = 0x7263706B  # "rcpk": distinguishes this file from other SQLite files
CHECKPOINT_PAGES = 4000  # 16 MB of log between two checkpoints, which are the only fsyncs
LOCK_TIMEOUT_SECONDS = 60.0
SECRETS = frozenset({"api_key", "extra_headers", "headers", "default_headers"})

SCHEMA = """
CREATE TABLE replies (
    key BLOB PRIMARY KEY,   -- Request.key
    request BLOB NOT NULL,  -- the fields of Request as JSON, deflated
    reply TEXT NOT NULL,    -- the fields of Reply as JSON
    at REAL NOT NULL        -- time of arrival, seconds since 1970
);
CREATE TABLE ledgers (
    name TEXT PRIMARY KEY,
    charged INTEGER NOT NULL DEFAULT 0,  -- 1e-12 USD: settled costs and open worst cases
    calls INTEGER NOT NULL DEFAULT 0     -- settled or in flight
);
"""
USES = """
CREATE TABLE IF NOT EXISTS uses (
    ledger TEXT NOT NULL,  -- the ledger of the recipe that asked
    key BLOB NOT NULL,     -- Request.key
    PRIMARY KEY (ledger, key)
) WITHOUT ROWID;
"""
"""Which replies each recipe used, its own and those that others had paid for."""


@dataclass(frozen=True)
class PaidCall:
    """A request with the reply that was paid for."""

    request: Request
    reply: Reply
    at: float
    """When the reply arrived, in seconds since 1970."""


class ReplyCache:
    """The cache file. A forked child must open its own.

    Every method raises `StoreError` if the disk is full, or if the file cannot be written, is
    damaged, or comes from a newer version.

    Args:
        path: The SQLite file, created with its folder if missing. None keeps no replies, and
            ledgers only in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        if path is not None and not path.exists():
            with explained(path), explain_sqlite_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _create(path)
        with explain_sqlite_errors(path):
            self._connection = _connect(path or ":memory:")
            try:
                if path is None:
                    self._connection.executescript(SCHEMA)
                else:
                    self._check_format()
                # With NORMAL, a commit writes to the log without an fsync.
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
                self._connection.execute(USES)
            except BaseException:
                self._connection.close()
                raise

    def find(self, key: str) -> Reply | None:
        """The reply stored under a request's key."""
        query = "SELECT reply FROM replies WHERE key = ?"
        row = self.fetch_one(query, (bytes.fromhex(key),))
        return None if row is None else _reply(row[0])

    def keep(self, request: Request, reply: Reply) -> None:
        """Store a reply. The first reply to a request stays, so that lookups never change.

        Raises:
            ValueError: The request contains credentials, which must not be written to disk.
        """
        if self.path is None:
            return
        if secrets := SECRETS & request.parameters.keys():
            raise ValueError(
                f"a request must not contain {', '.join(sorted(secrets))}: requests are written "
                f"to {self.path}"
            )
        # Level 1 takes a third of a prompt's size, in a fraction of level 6's time.
        deflated = zlib.compress(request.json.encode(), 1)
        values = (bytes.fromhex(request.key), deflated, _to_json(reply), time.time())
        self.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)", values)

    def forget(self, key: str) -> None:
        """Remove the reply stored under a request's key: the next call is made again."""
        self.execute("DELETE FROM replies WHERE key = ?", (bytes.fromhex(key),))

    def note_use(self, ledger: str, key: str) -> None:
        """Note that a recipe used the reply stored under a request's key."""
        statement = "INSERT OR IGNORE INTO uses VALUES (?, ?)"
        self.execute(statement, (ledger, bytes.fromhex(key)))

    def used_by(self, ledger: str) -> Iterator[tuple[str, str, str]]:
        """Yield the key, model and reply (as JSON) of every call that a recipe used, by key."""
        query = (
            "SELECT hex(replies.key), request, reply FROM uses JOIN replies USING (key) "
            "WHERE ledger = ? ORDER BY replies.key"
        )
        with explain_sqlite_errors(self.path):
            for key, deflated, reply in self._connection.execute(query, (ledger,)):
                model = json.loads(zlib.decompress(deflated))["model"]
                yield key.lower(), model, reply

    def add(self, key: str, model: str, reply: str) -> None:
        """Store a reply of another cache under its request's key, without its messages.

        Args:
            key: `Request.key`.
            model: `Request.model`.
            reply: The reply as JSON, from `used_by`.

        Raises:
            ValueError: The key or the reply is not valid.
            KeyError: The reply lacks a field.
        """
        _reply(reply)
        request = json.dumps({"model": model, "messages": [], "parameters": {}, "sample": 0})
        values = (bytes.fromhex(key), zlib.compress(request.encode(), 1), reply, time.time())
        self.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)", values)

    def calls(self) -> Iterator[PaidCall]:
        """Every paid call, oldest first."""
        last = 0
        query = "SELECT rowid, request, reply, at FROM replies WHERE rowid > ? LIMIT 1"
        while row := self.fetch_one(query, (last,)):
            last, deflated, reply, at = row
            with explain_sqlite_errors(self.path):
                stored = json.loads(zlib.decompress(deflated))
            stored["messages"] = tuple(stored["messages"])
            yield PaidCall(Request(**stored), _reply(reply), at)

    def __len__(self) -> int:
        """The number of stored replies."""
        return int(self.fetch_one("SELECT count(*) FROM replies")[0])

    def fetch_one(self, query: str, values: tuple[Any, ...] = ()) -> Any:
        """The first row of a query, None if there is none."""
        with explain_sqlite_errors(self.path):
            return self._connection.execute(query, values).fetchone()

    def execute(
        self, statement: str, values: Mapping[str, Any] | tuple[Any, ...] = ()
    ) -> sqlite3.Cursor:
        """Run a statement, in a commit of its own unless inside `transaction()`."""
        with explain_sqlite_errors(self.path):
            return self._connection.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything written inside together, or nothing."""
        with explain_sqlite_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file. The last process to close it folds the log into it."""
        with explain_sqlite_errors(self.path):
            self._connection.close()

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_format(self) -> None:
        version, application = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("user_version", "application_id")
        )
        if application != APPLICATION_ID:
            raise StoreError(
                f"{self.path}: is not recipekit's file of LLM calls; move it away", code="RK510"
            )
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: was written by another version of recipekit (format {version}, this "
                f"one knows {SCHEMA_VERSION}); use that version, or choose another folder with "
                "--cache",
                code="RK510",
            )


def _connect(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
    )


def _create(path: Path) -> None:
    """Create the file elsewhere and link it into place, so that nobody opens an incomplete file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with closing(_connect(temporary)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"{SCHEMA}; PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {SCHEMA_VERSION};"
            )
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        for leftover in path.parent.glob(f"{temporary.name}*"):
            leftover.unlink()


def _to_json(reply: Reply) -> str:
    """The fields of a reply. `dataclasses.asdict` would copy them deeply."""
    logprobs = None
    if reply.logprobs is not None:
        logprobs = [vars(piece) for piece in reply.logprobs]
    return json.dumps({**vars(reply), "usage": vars(reply.usage), "logprobs": logprobs})


def _reply(stored: str) -> Reply:
    fields = json.loads(stored)
    if fields["logprobs"] is not None:
        fields["logprobs"] = tuple(TokenLogprob(**piece) for piece in fields["logprobs"])
    return Reply(**{**fields, "usage": Usage(**fields["usage"]), "from_cache": True})
