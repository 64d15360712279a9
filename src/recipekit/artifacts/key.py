"""Identities: everything that decides an artifact, as canonical JSON, and its hash.

Everything that decides a result counts, except fields marked `NotIdentity`. Files count by content.
Their hashes are kept by size, modification time and inode, so that an unchanged file is not read
again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from recipekit.component import Component, Slot, is_identity
from recipekit.component.method_errors import method_errors
from recipekit.data_files.compression import check_regular_file
from recipekit.errors import DataError, error_location

__all__ = [
    "FileHashes",
    "canonical",
    "component_identity",
    "fields_identity",
    "key_of",
    "slot_identity",
]

KEY_LENGTH = 32
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def canonical(value: Any) -> str:
    """Return the same text for equal values: sorted keys, no spaces, ASCII.

    A value that JSON cannot hold is a TypeError.
    """
    return _ENCODER.encode(value)


def key_of(identity: Any) -> str:
    """Return the first 32 hex digits of the sha256 of an identity's canonical JSON."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()[:KEY_LENGTH]


def fields_identity(
    model: BaseModel, files: FileHashes | None = None, *, exclude: Collection[str] = ()
) -> dict[str, Any]:
    """The fields of a model that decide its result, as JSON values.

    Models inside it count by their own fields, components in its slots by `component_identity`.

    Args:
        model: A section, or a component's spec.
        files: Content hashes of files; by default, files are hashed again.
        exclude: Names of fields to leave out.
    """
    hashes = files or FileHashes()
    return {
        name: _value(getattr(model, name), hashes, name)
        for name, info in type(model).model_fields.items()
        if is_identity(info) and name not in exclude
    }


def _value(value: Any, files: FileHashes, path: str) -> Any:
    if isinstance(value, Slot):
        with error_location(lambda: path):
            return slot_identity(value, files)
    if isinstance(value, BaseModel):
        return fields_identity(value, files)
    if isinstance(value, Mapping):
        return {str(key): _value(item, files, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item, files, f"{path}.{index}") for index, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted(_value(item, files, path) for item in value)
    return value


def slot_identity(slot: Slot[Any], files: FileHashes) -> dict[str, Any]:
    """Return the identity of the component in a slot; see `component_identity`."""
    return component_identity(slot.spec, slot.entry.distribution, slot.entry.name, files)


def component_identity(
    component: Component[Any], distribution: str, name: str, files: FileHashes
) -> dict[str, Any]:
    """What decides a component's result, with the components in its slots.

    It has the distribution, name and version, the fields, the content of the files, and the
    fingerprint.

    Raises:
        DataError: A file that it names is missing.
        ComponentError: What it fingerprints cannot be reached.
    """
    with method_errors(component, "files"):
        named = dict(component.files())
    with method_errors(component, "fingerprint"):
        fingerprint = component.fingerprint()
    return {
        "distribution": distribution,
        "name": name,
        "version": component.version,
        "fields": fields_identity(component, files),
        "files": {label: files.of(path) for label, path in named.items()},
        "fingerprint": fingerprint,
    }


class FileHashes:
    """Content hashes of files and folders, kept in a JSON file between processes."""

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        if memory is not None and memory.is_file():
            try:
                self._known = json.loads(memory.read_text())
            except ValueError:
                self._known = {}  # hashes only save time: a damaged file is started again

    def of(self, path: Path) -> str:
        """Return the sha256 of a file, or of a folder's relative file names and contents.

        Hidden files are left out.

        Raises:
            DataError: There is no such file or folder, or it cannot be read.
        """
        try:
            if path.is_dir():
                listing = [
                    (file.relative_to(path).as_posix(), self._file(file))
                    for file in sorted(_files_below(path))
                ]
                return hashlib.sha256(canonical(listing).encode()).hexdigest()
            return self._file(path)
        except OSError as error:
            raise DataError(_unreadable(path, error), code="RK301") from error

    def _file(self, path: Path) -> str:
        status = path.stat()
        check_regular_file(path)
        # A Hugging Face cache links to blobs: the numbers of the link's target change with it.
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        name = os.path.abspath(path)
        known = self._known.get(name)
        if known is None or known[:3] != stamp:
            with path.open("rb") as file:
                known = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
            self._known[name] = known
            self._changed = True
        return str(known[3])

    def save(self) -> None:
        """Write new hashes to the file, if there are any. A file that cannot be written stays."""
        if self._memory is None or not self._changed:
            return
        temporary = self._memory.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known))
            temporary.replace(self._memory)
        except OSError:
            return  # the next run hashes again
        self._changed = False


def _files_below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [
            name for name in folders if not name.startswith(".") and name != "__pycache__"
        ]
        yield from (Path(root, name) for name in names if not name.startswith("."))


def _unreadable(path: Path, error: OSError) -> str:
    """Say why a file or folder cannot be read."""
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file or folder"
    file = next((parent for parent in path.parents if parent.is_file()), None)
    if isinstance(error, NotADirectoryError) and file is not None:
        return f"{file}: is a file, not a folder"
    return f"{path}: {error.strerror or error}"
