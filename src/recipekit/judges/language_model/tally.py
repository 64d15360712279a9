"""What is counted while judging, by query, in a file that survives a kill; and what it adds up to.

A query's record is written before its verdicts are given away, and replaced if the query is judged
again because a kill came between the two: so nothing is lost, and nothing counts twice.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recipekit.llm.sqlite_errors import sqlite_explained

__all__ = ["Tally", "added", "chi_square_tail", "position_test"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS queries (query INTEGER PRIMARY KEY, counted TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Tally:
    """Counts by query, in SQLite.

    Every method raises `StoreError` where the disk is full or the file damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # The judge may be asked from one thread and closed from another; it is never used by two at
        # once.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with sqlite_explained(path):
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute(
                    "PRAGMA synchronous = NORMAL"
                )  # a killed process loses nothing, a power cut the last counts
                self._connection.executescript(SCHEMA)
        except BaseException:
            self._connection.close()
            raise

    def write(self, records: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Put the records of some queries in place of earlier ones."""
        rows = [(query, json.dumps(record)) for query, record in records]
        if not rows:
            return
        with sqlite_explained(self.path):
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT OR REPLACE INTO queries VALUES (?, ?)", rows)
            self._connection.execute("COMMIT")

    def total(self) -> dict[str, Any]:
        """All records added up."""
        total: dict[str, Any] = {}
        with sqlite_explained(self.path):
            for (counted,) in self._connection.execute(
                "SELECT counted FROM queries ORDER BY query"
            ):
                added(total, json.loads(counted))
        return total

    def noted(self, name: str, value: Any) -> Any:
        """A value that the first attempt noted; it is noted now if this is the first."""
        with sqlite_explained(self.path):
            self._connection.execute(
                "INSERT OR IGNORE INTO notes VALUES (?, ?)", (name, json.dumps(value))
            )
            (kept,) = self._connection.execute(
                "SELECT value FROM notes WHERE name = ?", (name,)
            ).fetchone()
        return json.loads(kept)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def added(total: dict[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Add nested counts to others, in place: numbers by key, lists by place."""
    for name, value in part.items():
        if isinstance(value, Mapping):
            added(total.setdefault(name, {}), value)
        elif isinstance(value, list):
            known = total.setdefault(name, [])
            known += [0] * (len(value) - len(known))
            for place, number in enumerate(value):
                known[place] += number
        else:
            total[name] = total.get(name, 0) + value
    return total


def position_test(positions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Whether it matters where in a call a passage stands: Cochran's Q over calls of one size,
    added up over sizes.

    With n places, X_j positives at place j and L_i positives in call i, Q = n (n - 1) · Σ_j (X_j -
    mean X)² / Σ_i L_i (n - L_i), which is chi-square distributed with n - 1 degrees of freedom
    where every order is as likely (Cochran, 1950). Shuffling makes it so.

    Args:
        positions: By size of call: `calls`, `positive` (by place) and `spread` (the denominator).

    Returns:
        `calls`, `judged` and `positive_share` by place over all sizes, and `p` (null where nothing
        varies).
    """
    longest = max((len(of["positive"]) for of in positions.values()), default=0)
    judged, positive = [0] * longest, [0] * longest
    statistic, freedom = 0.0, 0
    for of in positions.values():
        n, counts = len(of["positive"]), of["positive"]
        for place, count in enumerate(counts):
            judged[place] += of["calls"]
            positive[place] += count
        if of["spread"]:
            mean = sum(counts) / n
            statistic += n * (n - 1) * sum((count - mean) ** 2 for count in counts) / of["spread"]
            freedom += n - 1
    return {
        "calls": sum(of["calls"] for of in positions.values()),
        "judged": judged,
        "positive_share": [
            round(some / all_, 4) for some, all_ in zip(positive, judged, strict=True)
        ],
        "p": chi_square_tail(statistic, freedom) if freedom else None,
    }


def chi_square_tail(x: float, freedom: int) -> float:
    """P(X > x) of the chi-square distribution, by the finite series for whole degrees of freedom
    (Abramowitz and Stegun, 26.4.4-5).
    """
    half = x / 2
    if half <= 0:
        return 1.0
    if freedom % 2:
        tail, power = math.erfc(math.sqrt(half)), 0.5
    else:
        tail, power = 0.0, 0.0
    while power < freedom / 2:
        tail += math.exp(-half + power * math.log(half) - math.lgamma(power + 1))
        power += 1
    return min(1.0, tail)
