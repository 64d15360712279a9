"""The keys by which a component names a model, and what they add to its identity."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from recipekit.component import NotIdentity
from recipekit.encoding.known_length import check_length, first_module, stated_positions
from recipekit.encoding.model_files import absolute, cached_folder, hub_revision, local_folder
from recipekit.errors import ComponentError, ModelError
from recipekit.json_file import read_json
from recipekit.records import Similarity

__all__ = [
    "NamedModel",
    "declared_similarity",
    "files_here",
    "has_mask_token",
    "known_dimension",
]

WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")
"""The names of the width of embeddings in the configurations of transformers."""


def _recipe_folder(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder", Path()))


def _from_recipe_folder(model: str, info: ValidationInfo) -> str:
    return absolute(model, _recipe_folder(info))


class NamedModel(BaseModel):
    """The keys that name a model's files.

    Neither the name nor the revision is part of the identity. The content of a folder is (`files`),
    or the commit on the Hub (`fingerprint`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    model: Annotated[str, NotIdentity, AfterValidator(_from_recipe_folder)]
    """A Hub id (`sentence-transformers/all-MiniLM-L6-v2`), a folder (`./models/mine`, relative to
    the recipe), or `package:NAME/FOLDER` for files inside an installed package."""
    revision: Annotated[str | None, NotIdentity, Field(min_length=1)] = None
    """Commit, tag or branch of a model on the Hub. By default the cached copy is used, or the
    newest commit if none is cached."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    """The sha256 that the model's weights (`model.safetensors`) must have, as 64 hex digits."""
    _same_name_here: bool = PrivateAttr(default=False)
    """Whether a folder next to the recipe has the same name as the Hub id, and may be meant."""

    @model_validator(mode="after")
    def _only_the_hub_has_revisions(self, info: ValidationInfo) -> Self:
        if self.revision is not None and not self._is_on_hub:
            raise ValueError(
                "revision: only a model on the Hub has revisions; pin a folder's weights by sha256"
            )
        self._same_name_here = self._is_on_hub and (_recipe_folder(info) / self.model).is_dir()
        return self

    @property
    def _is_on_hub(self) -> bool:
        return not self.model.startswith(("/", "package:"))

    def files(self) -> Mapping[str, Path]:
        """Return the model's folder, unless it comes from the Hub."""
        folder = local_folder(self.model)
        return {} if folder is None else {"model": folder}

    def fingerprint(self) -> Any:
        """Return id and commit of a model on the Hub; None for a local model.

        Raises:
            ComponentError: The model is not cached, and the Hub cannot be reached.
        """
        if not self._is_on_hub:
            return None
        try:
            return {"model": self.model, "revision": self.commit()}
        except ModelError as error:
            raise ComponentError(error.message, code="RK250") from error

    def length_mistakes(self, max_length: int | None) -> Iterator[tuple[str, ModelError]]:
        """Yield the key and the error if the model has fewer positions than `max_length`.

        Nothing is known of a model whose files are not on this machine, or do not state positions.
        """
        folder = files_here(self.model, self.revision)
        limit = None if folder is None else stated_positions(folder)
        if max_length is None or limit is None:
            return
        try:
            check_length(self.model, max_length, limit)
        except ModelError as error:
            yield "max_length", error

    def commit(self) -> str:
        """Return the commit that is used of a model on the Hub.

        Raises:
            ModelError: The model is not cached, and the Hub cannot be reached.
        """
        try:
            return hub_revision(self.model, self.revision)
        except ModelError as error:
            hint = (
                f". For the folder of that name, write './{self.model}'"
                if self._same_name_here
                else ""
            )
            raise ModelError(f"{error.message}{hint}", code=error.code) from error


def known_dimension(model: str, revision: str | None) -> int | None:
    """Read the dimension of a model's embeddings from its files.

    None if the files are not on this machine, or do not state it.
    """
    folder = files_here(model, revision)
    if folder is None:
        return None
    modules = read_json(folder / "modules.json") or [{"path": "", "type": ""}]
    first = folder / modules[0].get("path", "")
    if str(modules[0].get("type", "")).endswith("StaticEmbedding"):
        width = _static_width(first / "model.safetensors")
    else:
        own = read_json(first / "config.json") or {}
        own = own.get("text_config") or own
        width = next((own[name] for name in WIDTHS if name in own), None)
    for module in modules[1:]:
        if str(module.get("type", "")).endswith("Dense"):
            width = (read_json(folder / module["path"] / "config.json") or {}).get(
                "out_features", width
            )
    return width if isinstance(width, int) else None


def _static_width(weights: Path) -> int | None:
    """Read the width of a StaticEmbedding from the header of its weights."""
    try:
        with weights.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except (OSError, ValueError):
        return None
    tensors = [header[name] for name in ("embedding.weight", "embeddings") if name in header]
    return int(tensors[0]["shape"][1]) if tensors else None


def declared_similarity(model: str, revision: str | None) -> Similarity | None:
    """Read how a model's embeddings are compared from its files: `cosine` if they do not state it.

    None if the files are not on this machine.
    """
    folder = files_here(model, revision)
    if folder is None:
        return None
    config = read_json(folder / "config_sentence_transformers.json") or {}
    stated: Similarity = config.get("similarity_fn_name") or "cosine"
    return stated


def has_mask_token(model: str, revision: str | None) -> bool | None:
    """Read whether a model is a transformer whose tokenizer has a mask token.

    None if the files are not on this machine, or do not state it.
    """
    folder = files_here(model, revision)
    if folder is None:
        return None
    first, kind = first_module(folder)
    if kind.endswith("StaticEmbedding"):
        return False
    tokenizer = read_json(first / "tokenizer_config.json")
    if tokenizer is None:
        return None
    stated = tokenizer | (read_json(first / "special_tokens_map.json") or {})
    if stated.get("mask_token"):
        return True
    # A tokenizer saves all of its special tokens or none; old files leave them to its class.
    return False if {"unk_token", "eos_token"} & stated.keys() else None


def files_here(model: str, revision: str | None) -> Path | None:
    """Return the folder of a model's files; None if they are not on this machine."""
    try:
        return local_folder(model) or cached_folder(model, revision)
    except ModelError:
        return None
