"""Every call to a language model that was ever paid for, in one SQLite file, and what each ledger
has spent.

A reply is kept in one commit when it has come, and is found again by everything that was asked
(`Request.key`), so that nothing is paid twice, whoever asks. The log is written ahead (WAL) and
flushed to the disk at its checkpoints: a killed process loses nothing that was kept, a power cut at
most the last seconds, and neither harms the file. Several processes may share it.

A person reads it with `CallStore.calls`, or with the sqlite3 command, which inflates what was
asked: `SELECT sqlar_uncompress(asked, asked_bytes), text FROM replies`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipekit.artifacts.key import canonical
from recipekit.artifacts.store import explained
from recipekit.errors import StoreError
from recipekit.llm.calls import Reply, Request, TokenChance, Usage
from recipekit.llm.sqlite_errors import sqlite_explained

__all__ = ["CallStore", "KeptCall"]

SCHEMA_VERSION = 1
APPLICATION = 0x7263706B  # "rcpk": tells our files from other SQLite files
CHECKPOINT_PAGES = 4000  # 16 MB of log: pages that many commits write, such as a ledger's, reach the file and the disk once
PATIENCE_SECONDS = 60.0  # how long another process may hold the file's lock
SECRETS = frozenset({"api_key", "extra_headers", "headers", "default_headers"})

SCHEMA = """
CREATE TABLE replies (
    key BLOB PRIMARY KEY,             -- sha256 of all that was asked
    model TEXT NOT NULL,              -- as it was asked for
    asked BLOB NOT NULL,              -- the messages as JSON, deflated
    asked_bytes INTEGER NOT NULL,     -- their length before
    sampling TEXT NOT NULL,           -- JSON
    sample INTEGER NOT NULL,
    text TEXT NOT NULL,
    returned_model TEXT NOT NULL,
    prompt INTEGER NOT NULL, cached INTEGER NOT NULL, completion INTEGER NOT NULL, reasoning INTEGER NOT NULL,
    cost_usd REAL,                    -- null where no price was known
    seconds REAL NOT NULL,
    chances BLOB,                     -- [[token, logprob], ...] as JSON, deflated
    at REAL NOT NULL                  -- when it came, seconds since 1970
);
CREATE TABLE ledgers (
    name TEXT PRIMARY KEY,
    spent INTEGER NOT NULL DEFAULT 0,     -- in units of 1e-12 USD, which add up exactly
    reserved INTEGER NOT NULL DEFAULT 0,  -- for calls in flight
    calls INTEGER NOT NULL DEFAULT 0      -- made or in flight
);
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY,
    ledger TEXT NOT NULL,
    key BLOB NOT NULL,
    amount INTEGER NOT NULL,
    lost INTEGER NOT NULL DEFAULT 0,  -- left open by a process that died: counted in the ledger as spent
    at REAL NOT NULL
);
"""


@dataclass(frozen=True)
class KeptCall:
    """A paid call, as it is kept."""

    request: Request
    reply: Reply
    at: float
    """When the reply came, in seconds since 1970."""


class CallStore:
    """The calls' file. One connection, which any thread of this process may use; a forked child
    must open its own.

    Every method raises `StoreError` where the disk is full, the file cannot be written, is damaged,
    or comes from a newer version.

    Args:
        path: The SQLite file, made with its folder where it is missing. None keeps no replies, and
            ledgers only in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        if path is not None and not path.exists():
            with explained(path), sqlite_explained(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _create(path)
        with sqlite_explained(path):
            self._connection = _connect(path or ":memory:")
            try:
                self._check() if path is not None else self._connection.executescript(SCHEMA)
                # NORMAL flushes at checkpoints alone: a commit is a write without fsync, and a
                # killed process still loses nothing.
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            except BaseException:
                self._connection.close()
                raise

    def find(self, key: str) -> Reply | None:
        """The reply that was paid for under a request's key; None if there is none."""
        row = self.read(f"SELECT {REPLY} FROM replies WHERE key = ?", (bytes.fromhex(key),))
        with sqlite_explained(self.path):
            return None if row is None else _reply(row)

    def keep(self, request: Request, reply: Reply) -> None:
        """Keep a paid reply, in one commit. Of two replies to the same request the first stays, so
        that what is found never changes.

        Raises:
            ValueError: The request holds credentials: they belong to the endpoint, and are never
                written anywhere.
        """
        if self.path is None:
            return
        if secrets := SECRETS & request.sampling.keys():
            raise ValueError(
                f"a request must not hold {', '.join(sorted(secrets))}: what is asked is written to {self.path}"
            )
        asked = _json(list(map(dict, request.messages)))
        usage = reply.usage
        with self.together():
            self.write(
                f"INSERT OR IGNORE INTO replies VALUES ({', '.join('?' * 16)})",
                (
                    bytes.fromhex(request.key),
                    request.model,
                    _deflated(asked),
                    len(asked),
                    canonical(dict(request.sampling)),
                    request.sample,
                    _storable(reply.text),
                    _storable(reply.model),
                    usage.prompt,
                    usage.cached,
                    usage.completion,
                    usage.reasoning,
                    reply.cost_usd,
                    reply.seconds,
                    None
                    if reply.chances is None
                    else _deflated(
                        _json([[chance.token, chance.logprob] for chance in reply.chances])
                    ),
                    time.time(),
                ),
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make everything that is written inside one commit: all of it, or nothing.

        `keep` and `Budget.settle`, for example.
        """
        with self._lock, sqlite_explained(self.path):
            self._depth += 1
            try:
                if self._depth == 1:
                    self._connection.execute("BEGIN IMMEDIATE")
                yield
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def calls(self) -> Iterator[KeptCall]:
        """Every paid call, oldest first, for a person to look at."""
        last = 0
        while row := self.read(
            f"SELECT rowid, model, asked, sampling, sample, at, {REPLY} FROM replies WHERE rowid > ? LIMIT 1",
            (last,),
        ):
            last, model, asked, sampling, sample, at, *reply = row
            with sqlite_explained(self.path):
                call = KeptCall(
                    Request(model, _inflated(asked), json.loads(sampling), sample),
                    _reply(reply),
                    at,
                )
            yield call

    def __len__(self) -> int:
        """How many replies are kept."""
        row = self.read("SELECT count(*) FROM replies")
        return 0 if row is None else int(row[0])

    def close(self) -> None:
        """Close the file; the last to close it folds the log into it."""
        with self._lock, sqlite_explained(self.path):
            self._connection.close()

    def __enter__(self) -> CallStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # For ledgers (`recipekit.llm.budget`)
    # -----------------------------------------------------------------------------

    def read(self, query: str, values: tuple[Any, ...] = ()) -> Any:
        """The first row of a query, None if there is none."""
        with self._lock, sqlite_explained(self.path):
            return self._connection.execute(query, values).fetchone()

    def write(
        self, statement: str, values: Mapping[str, Any] | tuple[Any, ...] = ()
    ) -> sqlite3.Cursor:
        """Run a statement, inside `together()`."""
        with self._lock, sqlite_explained(self.path):
            return self._connection.execute(statement, values)

    def _check(self) -> None:
        version, application = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("user_version", "application_id")
        )
        if application != APPLICATION:
            raise StoreError(
                f"{self.path}: is no file of recipekit's calls; move it away", code="RK510"
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: was written by a newer recipekit (format {version}, this one knows {SCHEMA_VERSION}); "
                "update recipekit, or choose another folder with --cache",
                code="RK510",
            )


def _connect(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
    )


def _create(path: Path) -> None:
    """Make the file whole, elsewhere, and link it into place: nobody meets half of it, and of
    several processes one is first.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with closing(_connect(temporary)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"{SCHEMA}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA_VERSION};"
            )
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        for left in path.parent.glob(f"{temporary.name}*"):
            left.unlink()


REPLY = "text, returned_model, prompt, cached, completion, reasoning, cost_usd, seconds, chances"


def _reply(row: Any) -> Reply:
    text, model, prompt, cached, completion, reasoning, cost, seconds, chances = row
    pairs = None if chances is None else tuple(TokenChance(*pair) for pair in _inflated(chances))
    return Reply(
        _stored(text),
        _stored(model),
        Usage(prompt, cached, completion, reasoning),
        cost,
        seconds,
        pairs,
        from_cache=True,
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def _deflated(data: bytes) -> bytes:
    return zlib.compress(
        data, 1
    )  # a prompt to a third of its size, at a fraction of the usual level's time


def _inflated(data: bytes) -> Any:
    return tuple(json.loads(zlib.decompress(data).decode("utf-8", "surrogatepass")))


def _storable(text: str) -> str | bytes:
    """A text as SQLite takes it: half a character (a lone surrogate), which JSON can hold and UTF-8
    cannot, makes it bytes.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _stored(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "surrogatepass")
