"""How a component names a model: the types of its fields, and what the named model adds to the component's identity.

Neither the name nor the revision is identity: the content of a folder counts (`model_files`), or the commit on the Hub
(`model_fingerprint`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo

from recipekit.component import NotIdentity
from recipekit.encoding.origin import absolute, cached_folder, hub_revision, local_folder
from recipekit.errors import ComponentError, ModelError

__all__ = [
    "ModelName",
    "Revision",
    "Sha256",
    "check_revision",
    "commit",
    "is_on_hub",
    "known_dimension",
    "model_files",
    "model_fingerprint",
    "same_name_here",
]


def _recipe_folder(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder", Path()))


def _from_recipe_folder(model: str, info: ValidationInfo) -> str:
    return absolute(model, _recipe_folder(info))


ModelName = Annotated[str, NotIdentity, AfterValidator(_from_recipe_folder)]
"""A Hub id, a folder, or `package:NAME/FOLDER`, a path absolute once validated."""
Revision = Annotated[str | None, NotIdentity, Field(min_length=1)]
"""Commit, tag or branch of a model on the Hub."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
"""A pinned hash of a model's weights."""


def is_on_hub(model: str) -> bool:
    """Whether a validated name is a Hub id."""
    return not model.startswith(("/", "package:"))


def check_revision(model: str, revision: str | None) -> None:
    """Refuse a revision of what has none.

    Raises:
        ValueError: The model is no Hub id.
    """
    if revision is not None and not is_on_hub(model):
        raise ValueError("revision: only a model on the Hub has revisions; pin a folder's weights by sha256")


def same_name_here(model: str, info: ValidationInfo) -> bool:
    """Whether the recipe's folder has one that is called as a Hub id is, which may be what was meant."""
    return is_on_hub(model) and (_recipe_folder(info) / model).is_dir()


def model_files(model: str) -> Mapping[str, Path]:
    """The model's folder, for `Component.files`, unless it comes from the Hub."""
    folder = local_folder(model)
    return {} if folder is None else {"model": folder}


def model_fingerprint(model: str, revision: str | None, *, hint_folder: bool = False) -> Any:
    """Id and commit of a model on the Hub, for `Component.fingerprint`; None for one whose files are here.

    Raises:
        ComponentError: It is not cached and cannot be reached.
    """
    if not is_on_hub(model):
        return None
    try:
        return {"model": model, "revision": commit(model, revision, hint_folder=hint_folder)}
    except ModelError as error:
        raise ComponentError(error.message, code="RK250") from error


def commit(model: str, revision: str | None, *, hint_folder: bool = False) -> str:
    """The commit that is used of a model on the Hub.

    Raises:
        ModelError: It is not cached and cannot be reached.
    """
    try:
        return hub_revision(model, revision)
    except ModelError as error:
        hint = f". For the folder of that name, write './{model}'" if hint_folder else ""
        raise ModelError(f"{error.message}{hint}", code=error.code) from error


def known_dimension(model: str, revision: str | None) -> int | None:
    """The dimension of a model's embeddings, as its files say; None where they are not here, or say nothing."""
    try:
        folder = local_folder(model) or cached_folder(model, revision)
    except ModelError:
        return None
    if folder is None:
        return None
    modules = _json(folder / "modules.json") or [{"path": "", "type": ""}]
    own = _json(folder / modules[0].get("path", "") / "config.json") or {}
    width = own.get("hidden_size") or own.get("dim")
    for module in modules[1:]:
        if str(module.get("type", "")).endswith("Dense"):
            width = (_json(folder / module["path"] / "config.json") or {}).get("out_features", width)
    return width if isinstance(width, int) else None


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
