"""By-products of a comparison in the cache, by what decides them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.arrays import Floats
from recipekit.artifacts.key import key_of
from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.store import Store, write_json

__all__ = ["kept_json", "kept_matrix", "texts_hash"]


def kept_json(store: Store, kind: str, identity: Any, compute: Callable[[], Any]) -> Any:
    """Return a JSON value, computed once for an identity."""

    def build(folder: Path) -> None:
        write_json(folder / "value.json", compute())

    return json.loads((_kept(store, kind, identity, build) / "value.json").read_text())


def kept_matrix(store: Store, kind: str, identity: Any, compute: Callable[[], Floats]) -> Floats:
    """Return a matrix, computed once for an identity."""

    def build(folder: Path) -> None:
        np.save(folder / "matrix.npy", compute())

    matrix: Floats = np.load(_kept(store, kind, identity, build) / "matrix.npy")
    return matrix


def _kept(store: Store, kind: str, identity: Any, build: Callable[[Path], None]) -> Path:
    whole = {"by_product": kind, "identity": identity}
    key = key_of(whole)

    def build_with_manifest(folder: Path) -> dict[str, Any]:
        build(folder)
        return manifest(stage=kind, key=key, identity=whole, inputs={}, summary={})

    return store.make(kind, key, build_with_manifest).path


def texts_hash(texts: Sequence[str]) -> str:
    """Return the sha256 of texts and their order."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
