"""Turns SQLite's errors into `StoreError`s that say what to do."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recipekit.errors import StoreError

__all__ = ["explain_sqlite_errors"]

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
READ_ONLY = (
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
)
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def explain_sqlite_errors(path: Path | None) -> Iterator[None]:
    """Raise a `StoreError` in place of an error of SQLite, or of zlib on stored data."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.DatabaseError, zlib.error) as error:
        explained = _explained(path, error)
        if explained is None:
            raise
        raise explained from error


def _explained(path: Path | None, error: Exception) -> StoreError | None:
    # The primary result code is the lower byte of the extended one.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, zlib.error) or code in DAMAGED:
        return StoreError(
            f"{path}: is damaged ({error}); recover it (`sqlite3 {path} .recover | sqlite3 "
            "recovered.sqlite`, then replace it), or move it away: the calls in "
            "it are then made, and paid for, again",
            code="RK512",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreError(
            f"no space left on the disk of {path}: free some space, then run again; what was paid "
            "for is kept",
            code="RK501",
        )
    if code in READ_ONLY:
        return StoreError(
            f"{path}: cannot be written ({error}); choose another folder with --cache", code="RK502"
        )
    if code in BUSY:
        return StoreError(
            f"{path}: another process has locked it for a minute; end that process, then run again",
            code="RK511",
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"{path}: cannot be written ({error}); check that its disk is present and not full. "
            "What was paid for is kept",
            code="RK501",
        )
    return None
