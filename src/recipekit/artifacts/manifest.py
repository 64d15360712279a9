"""The manifest of an artifact: what produced it, and what it counted.

It holds the stage, the key and its identity, the keys of inputs and by-products, the stage's
summary (counts that the report shows), creation time, duration, device, peak memory, and package
versions. It contains no secrets: identities leave out every field in which `${env:NAME}` is
allowed.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["VERSIONED", "manifest", "versions"]

VERSIONED = (
    "recipekit", "torch", "transformers", "tokenizers", "sentence-transformers", "accelerate",
    "peft", "datasets", "bm25s", "PyStemmer", "pytrec-eval-terrier", "mteb", "numpy", "pyarrow",
)  # fmt: skip
"""The distributions whose versions can matter to a result of most recipes.

Components name further ones, such as the client of a server (`Component.distributions`)."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the distributions that can matter, from metadata."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    """Read the versions once: a run of a small recipe needs them a dozen times."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def manifest(
    *,
    stage: str,
    key: str,
    identity: Any,
    inputs: Mapping[str, str],
    summary: Mapping[str, Any],
    by_products: Sequence[tuple[str, str]] = (),
    seconds: float | None = None,
    peak_bytes: int | None = None,
    ranks: int = 1,
    device: str | None = None,
) -> dict[str, Any]:
    """Return the manifest of an artifact.

    `seconds` is wall time, `peak_bytes` resident memory of its largest process, `device` what it
    computed on, in words.
    """
    return {
        "format": 1,
        "stage": stage,
        "key": key,
        "identity": identity,
        "inputs": dict(inputs),
        "by_products": [list(used) for used in sorted(set(by_products))],
        "summary": dict(summary),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "peak_bytes": peak_bytes,
        "ranks": ranks,
        "device": device,
        "versions": versions(),
    }
