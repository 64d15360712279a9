"""Counts of an LLM judge by query, in a file that survives a kill, and their summary.

A query's counts are written before its verdicts are yielded, and replaced if the query is judged
again because a kill came between the two: nothing is lost, and nothing counts twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipekit.judges.llm_judge.position_bias import position_bias
from recipekit.llm.sqlite_errors import explain_sqlite_errors

__all__ = ["CountsFile", "add_counts", "summarize"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS queries (query INTEGER PRIMARY KEY, counts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
ANSWERED_FAILURES = ("refusal", "content_filter", "cut", "empty")
"""Failures that count as calls of the budget; others were not answered."""
COUNTED = ("asked_again", "failures", "cut", "tokens", "models")
"""Counts that the summary shows as they are."""


class CountsFile:
    """Counts by query, in SQLite.

    Every method raises `StoreError` if the disk is full or the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # It may be closed by another thread than it was opened by, but is not shared.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with explain_sqlite_errors(path):
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.executescript(SCHEMA)
        except BaseException:
            self._connection.close()
            raise

    def write(self, records: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Write the counts of some queries, in place of earlier ones."""
        rows = [(query, json.dumps(counts)) for query, counts in records]
        if not rows:
            return
        with explain_sqlite_errors(self.path):
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT OR REPLACE INTO queries VALUES (?, ?)", rows)
            self._connection.execute("COMMIT")

    def total(self) -> dict[str, Any]:
        """The sum over all queries."""
        total: dict[str, Any] = {}
        with explain_sqlite_errors(self.path):
            for (counts,) in self._connection.execute("SELECT counts FROM queries ORDER BY query"):
                add_counts(total, json.loads(counts))
        return total

    def first_value(self, name: str, value: Any) -> Any:
        """The value that the first attempt stored under a name, which is `value` the first time."""
        with explain_sqlite_errors(self.path):
            self._connection.execute(
                "INSERT OR IGNORE INTO notes VALUES (?, ?)", (name, json.dumps(value))
            )
            (stored,) = self._connection.execute(
                "SELECT value FROM notes WHERE name = ?", (name,)
            ).fetchone()
        return json.loads(stored)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def add_counts(total: dict[str, Any], counts: Mapping[str, Any]) -> None:
    """Add nested counts in place: numbers by key, lists by index."""
    for name, value in counts.items():
        if isinstance(value, Mapping):
            add_counts(total.setdefault(name, {}), value)
        elif isinstance(value, list):
            numbers = total.setdefault(name, [])
            numbers += [0] * (len(value) - len(numbers))
            for index, number in enumerate(value):
                numbers[index] += number
        else:
            total[name] = total.get(name, 0) + value


def summarize(
    total: Mapping[str, Any],
    *,
    price_known: bool,
    usd: float,
    calls: int,
    refused_usd: float | None,
    limits_reached: Sequence[str],
) -> dict[str, Any]:
    """The counts as JSON values, for the stage's summary and the report.

    Args:
        total: The sum of all queries' counts.
        price_known: Whether the model's price is known.
        usd: What this artifact paid for this judge, in all attempts.
        calls: The calls that it paid for.
        refused_usd: The worst-case cost of the call that the budget did not allow.
        limits_reached: The limits that did not allow it, as paths of the recipe.

    Returns:
        `pairs`, `verdicts`, `calls` and `usd` (of this artifact), `from_store` (replies that were
        paid for earlier, and what they had cost), `pairs_over_budget` (which the budget left
        unjudged), `refused_usd` and `limits_reached` (if there are any), `missing` (pairs without a
        grade, by reason), `asked_again`, `failures`, `cut`, `tokens`, `models` and, where known,
        `canaries`, `positions`, `repeat` and `mean_confidence`.
    """
    missing = dict(total.get("missing", {}))
    unpaid = missing.pop("unpaid", 0)
    summary: dict[str, Any] = {
        "pairs": total.get("pairs", 0),
        "verdicts": total.get("verdicts", {}),
        "calls": calls,
        "usd": round(usd, 6) if price_known else None,
        "from_store": _from_store(total, price_known, usd, calls),
        "pairs_over_budget": unpaid,
        "missing": missing,
    }
    summary |= {name: total.get(name, {}) for name in COUNTED}
    if unpaid and refused_usd:
        summary["refused_usd"] = round(refused_usd, 6)
    if unpaid and limits_reached:
        summary["limits_reached"] = list(limits_reached)
    return summary | dict(_measured(total))


def _from_store(
    total: Mapping[str, Any], price_known: bool, usd: float, calls: int
) -> dict[str, Any]:
    """The replies that were not paid for in this artifact, and what they had cost."""
    failures = total.get("failures", {})
    paid = max(0, calls - sum(failures.get(kind, 0) for kind in ANSWERED_FAILURES))
    cached_usd = round(max(0.0, total.get("usd", 0.0) - usd), 6)
    return {
        "replies": max(0, total.get("replies", 0) - paid),
        "usd": cached_usd if price_known else None,
    }


def _measured(total: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What canaries, positions, repeated calls and confidences show, where there are any."""
    if canaries := total.get("canaries"):
        yield (
            "canaries",
            {
                kind: {**one, "pass_rate": round(one["passed"] / one["seen"], 4)}
                for kind, one in canaries.items()
            },
        )
    if positions := total.get("positions"):
        yield "positions", position_bias(positions)
    if repeat := total.get("repeat"):
        same = round(repeat["same"] / repeat["pairs"], 4)
        yield "repeat", {"pairs": repeat["pairs"], "same": same}
    if confidence := total.get("confidence"):
        yield "mean_confidence", round(confidence["sum"] / confidence["pairs"], 4)
