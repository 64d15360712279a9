"""Batches by length: as many texts as a budget of padded tokens allows, with little padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Rows

__all__ = ["length_batches"]

PADDING_SHARE = 1 / 16
"""A batch ends before its padding exceeds this share of the budget, even if it is not full."""


def length_batches(
    lengths: npt.NDArray[np.integer[Any]],
    max_tokens_per_batch: int,
    *,
    multiple: int = 1,
    padding: int | None = None,
) -> list[Rows]:
    """Group texts of similar length, the longest first; every text is in exactly one batch.

    A batch of n texts whose longest has w tokens costs n * w padded tokens: at most
    `max_tokens_per_batch`, unless one text alone (or `multiple` of them) has more. The result
    depends only on the arguments.

    Args:
        lengths: Tokens of each text, (n,).
        max_tokens_per_batch: The budget of padded tokens.
        multiple: Full batches hold a multiple of this many texts; batches that end early because
            of padding may not.
        padding: Padding tokens that a batch may have; by default a sixteenth of its budget.

    Returns:
        Positions in `lengths`, one int64 array per batch.
    """
    most = max_tokens_per_batch * PADDING_SHARE if padding is None else padding
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    sizes = lengths[order].astype(np.int64)
    batches: list[Rows] = []
    start = 0
    while start < len(order):
        width = max(int(sizes[start]), 1)
        full = max(max_tokens_per_batch // width // multiple * multiple, multiple)
        padded = np.cumsum(width - sizes[start : start + full])
        count = max(int(np.searchsorted(padded, most, side="right")), 1)
        batches.append(order[start : start + count])
        start += count
    return batches
