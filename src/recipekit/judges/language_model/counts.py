"""What the judge tells of its work, for the stage's summary and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipekit.judges.language_model.tally import position_test

__all__ = ["counts_of"]

BILLED = ("refusal", "content_filter", "cut", "unparsed")
"""Failures that are among the calls made; the others were not answered, and are taken back."""


def counts_of(
    total: Mapping[str, Any],
    priced: bool,
    paid_usd: float,
    made: int,
    refused_usd: float | None = None,
) -> dict[str, Any]:
    """The counts as JSON values.

    Args:
        total: All queries' records, added up.
        priced: Whether the model's price is known.
        paid_usd: What this artifact's ledger paid for this judge, in all attempts.
        made: Calls that it made.
        refused_usd: What the call that its budget did not allow could have cost at most.

    Returns:
        `pairs`, `verdicts` (its own, on these), `calls` and `usd` (made and paid for this
        artifact), `from_store` (replies that were paid for earlier, and what they had cost),
        `pairs_over_budget` (pairs that the budget left unjudged), `refused_usd` (where it left some),
        `missing` (pairs without a grade, by reason), `asked_again`, `failures`, `cut`, `tokens`,
        `models` and, where they are known, `canaries`, `positions`, `repeat` and `mean_confidence`.
    """
    failed = sum(total.get("failures", {}).get(kind, 0) for kind in BILLED)
    replies = total.get("replies", 0)
    stored = max(0, replies - max(0, made - failed))
    missing = dict(total.get("missing", {}))
    counts: dict[str, Any] = {
        "pairs": total.get("pairs", 0),
        "verdicts": total.get("verdicts", {}),
        "calls": made,
        "usd": round(paid_usd, 6) if priced else None,
        "from_store": {
            "replies": stored,
            "usd": round(max(0.0, total.get("usd", 0.0) - paid_usd), 6) if priced else None,
        },
        "pairs_over_budget": missing.pop("unpaid", 0),
        "missing": missing,
        "asked_again": total.get("asked_again", {}),
        "failures": total.get("failures", {}),
        "cut": total.get("cut", {}),
        "tokens": total.get("tokens", {}),
        "models": total.get("models", {}),
    }
    if counts["pairs_over_budget"] and refused_usd:
        counts["refused_usd"] = round(refused_usd, 6)
    if canaries := total.get("canaries"):
        counts["canaries"] = {
            kind: {**of, "pass_rate": round(of["passed"] / of["seen"], 4)}
            for kind, of in canaries.items()
        }
    if positions := total.get("positions"):
        counts["positions"] = position_test(positions)
    if repeat := total.get("repeat"):
        counts["repeat"] = {
            "pairs": repeat["pairs"],
            "same": round(repeat["same"] / repeat["pairs"], 4),
        }
    if confidence := total.get("confidence"):
        counts["mean_confidence"] = round(confidence["sum"] / confidence["pairs"], 4)
    return counts
