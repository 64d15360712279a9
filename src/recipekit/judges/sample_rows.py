"""The rows of a drawn sample: how many pairs each stands for, and its ids in a form that a
spreadsheet leaves alone.

A sample is drawn evenly over strata, so that rare verdicts and deep ranks are among its pairs. A
pair then stands for as many as its stratum holds for each one drawn, and what is counted on the
sample has to be weighted by that. Written as a number, this weight would tell the person who labels
the rank and the verdict, and a label that is given in their knowledge measures nothing. So it is
hidden in each row, differently in each: it is the labeller who is to be blind, and whoever reads
this code can uncover it. It is no secret.

The row's ids are part of how it is hidden. A row that was shifted, or whose ids a spreadsheet
rewrote (0012 becomes 12), is noticed.
"""

from __future__ import annotations

import math
import struct
from hashlib import blake2b
from typing import Final

__all__ = ["bare", "hidden", "inert", "weight_of"]

MARK: Final = "w"
"""Begins the text, so that no spreadsheet takes it for a number: 12 hexadecimal digits may read as
1e10.
"""
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "'")
"""What a formula begins with, and our own mark of a text that is none."""


def hidden(weight: float, query_id: str, passage_id: str) -> str:
    """A weight as 13 letters and digits that mean nothing without the row's ids.

    They are `w`, the 4 bytes of the weight as float32, masked by a hash of the ids, and 2 bytes of
    a hash of ids and weight.
    """
    ids = f"{query_id}\0{passage_id}".encode()
    plain = struct.pack("<f", weight)
    return f"{MARK}{_masked(plain, ids).hex()}{_checksum(ids, plain).hex()}"


def weight_of(text: str, query_id: str, passage_id: str) -> float:
    """The weight, of float32's precision, that `hidden` put into a text.

    Raises:
        ValueError: The text, or one of the ids, is not as it was.
    """
    ids = f"{query_id}\0{passage_id}".encode()
    masked, checksum = bytes.fromhex(text[1:9]), bytes.fromhex(text[9:])
    plain = _masked(masked, ids)
    if not text.startswith(MARK) or _checksum(ids, plain) != checksum:
        raise ValueError(
            f"{text!r} does not belong to query {query_id!r} and passage {passage_id!r}"
        )
    [weight] = struct.unpack("<f", plain)
    if not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"{text!r} holds no weight")
    return float(weight)


def _masked(plain: bytes, ids: bytes) -> bytes:
    """Four bytes with a hash of the ids laid over them; the same again gives them back."""
    return bytes(
        byte ^ mask for byte, mask in zip(plain, blake2b(ids, digest_size=4).digest(), strict=True)
    )


def _checksum(ids: bytes, plain: bytes) -> bytes:
    return blake2b(ids + plain, digest_size=2).digest()


def inert(text: str) -> str:
    """A text that no spreadsheet takes for a formula, for a cell: ids and passages may come from
    anybody.
    """
    return f"'{text}" if text.startswith(FORMULA) else text


def bare(text: str) -> str:
    """What `inert` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text
