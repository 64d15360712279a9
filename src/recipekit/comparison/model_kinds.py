"""The kind of a model, from its files. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from recipekit.encoding.model_files import hub_http_error, hub_snapshot
from recipekit.json_file import read_json

__all__ = ["BI_ENCODER", "fetch_small_files", "kind_of"]

BI_ENCODER: Final = "bi-encoder"
KINDS: Final = {
    "SentenceTransformer": BI_ENCODER,
    "CrossEncoder": "cross-encoder",
    "SparseEncoder": "sparse encoder",
    "MultiVectorEncoder": "multi-vector encoder",
}
"""Kinds of models by the class of sentence-transformers that loads them."""
SMALL_FILES: Final = (
    "modules.json",
    "config_sentence_transformers.json",
    "config.json",
    "README.md",
)


def kind_of(folder: Path) -> str:
    """Return the kind of model in a folder; a plain transformer is a bi-encoder.

    sentence-transformers writes the kind since version 5. Older cross-encoders are classifiers of
    transformers, and older sparse encoders have the pooling of SPLADE.
    """
    stated = _json(folder / "config_sentence_transformers.json").get("model_type")
    if stated in KINDS:
        return KINDS[stated]
    modules = _json_list(folder / "modules.json")
    if any(str(module.get("type", "")).endswith("SpladePooling") for module in modules):
        return KINDS["SparseEncoder"]
    architectures = _json(folder / "config.json").get("architectures") or []
    if not modules and any(str(a).endswith("ForSequenceClassification") for a in architectures):
        return KINDS["CrossEncoder"]
    return BI_ENCODER


def fetch_small_files(model: str, commit: str) -> Path:
    """Return the folder of a Hub model's commit in the cache, with its configuration and card.

    Files that cannot be had are left out: loading the model reports what is missing.
    """
    from huggingface_hub import hf_hub_download

    folder = hub_snapshot(model, commit)
    for name in SMALL_FILES:
        if (folder / name).is_file():
            continue
        try:
            hf_hub_download(model, name, revision=commit, cache_dir=folder.parents[2])
        except (OSError, ValueError, hub_http_error()):
            continue
    return folder


def _json(file: Path) -> dict[str, Any]:
    value = read_json(file)
    return value if isinstance(value, dict) else {}


def _json_list(file: Path) -> list[dict[str, Any]]:
    value = read_json(file)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
