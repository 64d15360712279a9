"""Pairs for which a judge gave no usable answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["ungraded_pairs"]


def ungraded_pairs(judges: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line for each judge with ungraded pairs: how many of how many, and why.

    Args:
        judges: Each judge's counts, from the judge stage's summary.
    """
    for name, counts in judges.items():
        reasons = (counts.get("counts") or {}).get("missing") or {}
        missing = {reason: count for reason, count in reasons.items() if count}
        if missing:
            listed = ", ".join(f"{count:,} {reason}" for reason, count in missing.items())
            total = counts["pairs"] + counts.get("control_pairs", 0)
            ungraded = sum(missing.values())
            pairs = f"{ungraded:,} of {total:,} pairs ({listed})"
            yield f"judge '{name}' gave no usable answer for {pairs}"
