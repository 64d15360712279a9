"""SQLite's refusals as errors that say what to do."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recipekit.errors import StoreError

__all__ = ["sqlite_explained"]

DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
READ_ONLY = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
)
BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


@contextmanager
def sqlite_explained(path: Path | None) -> Iterator[None]:
    """Turn what SQLite (or zlib, of what is in its rows) cannot do with a file into a `StoreError`."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.DatabaseError, zlib.error) as error:
        if (told := _told(path, error)) is None:
            raise
        raise told from error


def _told(path: Path | None, error: Exception) -> StoreError | None:
    if isinstance(error, zlib.error):
        return _damaged(path, error)
    code = (
        getattr(error, "sqlite_errorcode", 0) & 0xFF
    )  # the primary code: what follows tells the kind of it
    if code in DAMAGED:
        return _damaged(path, error)
    if code == sqlite3.SQLITE_FULL:
        return StoreError(
            f"no space left on the disk of {path}: free some, then run again; what was paid is kept",
            code="RK501",
        )
    if code in READ_ONLY:
        return StoreError(
            f"{path}: cannot be written ({error}); choose another folder with --cache", code="RK502"
        )
    if code in BUSY:
        return StoreError(
            f"{path}: another process has held it locked for a minute; end that one, then run again",
            code="RK511",
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"{path}: cannot be written ({error}): is its disk full, or gone? What was paid is kept",
            code="RK501",
        )
    return None


def _damaged(path: Path | None, error: Exception) -> StoreError:
    return StoreError(
        f"{path}: is damaged ({error}); recover it (`sqlite3 {path} .recover | sqlite3 recovered.sqlite`, then put it in its place), "
        "or move it away: what it held is then asked, and paid, again",
        code="RK512",
    )
