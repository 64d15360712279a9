"""A bundle: a baseline as a folder or a zip file, with the sha256 of everything in it.

| file | content |
|---|---|
| `bundle.json` | format, the sha256 of every file, what was left out, and the variables it needs |
| `recipe.yaml`, `recipe.lock` | the recipe with every default written out, and its lock |
| `metrics.json` | the published figures with intervals and tolerances |
| `efficiency.json` | what each system costs, by evaluator, with the device it was measured on |
| `models.json` | maximum length, similarity and licence of the measured models, by system |
| `per_query/NAME.arrow` | every query's or item's values, by evaluator |
| `per_query/NAME/SYSTEM/TASK.json` | every query's score of a task of `mteb` |
| `report.html`, `report.md`, `figures/`, `README.md` | the report of the run, and a card |
| `data/`, `code/` | local files that the recipe names |
| `replies.jsonl.gz` | paid LLM replies, without the prompts |
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from recipekit.errors import StoreError

__all__ = [
    "FORMAT",
    "INDEX",
    "Bundle",
    "changed_files",
    "file_hashes",
    "open_bundle",
    "pack",
    "read_index",
]

FORMAT: Final = 1
INDEX: Final = "bundle.json"
PARTS: Final = ("recipe.yaml", "recipe.lock", "metrics.json")
"""The files that every bundle has."""
ZIP_TIME: Final = (2000, 1, 1, 0, 0, 0)
"""The time of every file in a zip file, so that equal baselines are equal files."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle."""

    folder: Path
    values: Mapping[str, Any]
    """The content of `bundle.json`."""

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return str(self.values["recipe"])

    @property
    def left_out(self) -> Mapping[str, Mapping[str, str]]:
        """Local files that it does not contain: `{name: {key, reason}}`."""
        left_out: Mapping[str, Mapping[str, str]] = self.values.get("left_out") or {}
        return left_out

    @property
    def files(self) -> Mapping[str, str]:
        """The sha256 of every file, by name."""
        files: Mapping[str, str] = self.values["files"]
        return files

    def metrics(self) -> list[dict[str, Any]]:
        """Return the published rows.

        Raises:
            StoreError: The file is damaged, or has no figure.
        """
        file = self.folder / "metrics.json"
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
            figures = [row for row in rows if row.get("value") is not None]
            for row in figures:
                _ = float(row["value"]), float(row["tolerance"]), row["tolerance_basis"]
            if not figures:
                raise ValueError("no figures")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{file}: has no figures with tolerances; the baseline is damaged", code="RK531"
            ) from error
        return list(rows)


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder except `bundle.json`, by relative name."""
    found = {}
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = file.relative_to(folder).as_posix()
        # A download from the Hub leaves its own notes in a hidden folder.
        if name != INDEX and not name.startswith("."):
            found[name] = _sha256(file)
    return found


def open_bundle(source: Path, work: Path) -> Bundle:
    """Open a bundle, without checking the content of its files.

    Args:
        source: A folder or a zip file.
        work: An empty folder, into which a zip file is unpacked.

    Raises:
        StoreError: It is not a bundle.
    """
    if source.is_file():
        _unpack(source, work)
        folder = work
    else:
        folder = source
    if not folder.is_dir():
        raise _not_a_bundle(source, "there is no such folder or file")
    values = read_index(folder, str(source))
    if missing := [name for name in PARTS if not (folder / name).is_file()]:
        raise _not_a_bundle(source, f"{', '.join(missing)} is missing")
    return Bundle(folder, values)


def read_index(folder: Path, source: str) -> dict[str, Any]:
    """Return the content of `bundle.json` in a folder.

    Args:
        folder: The folder.
        source: What messages name.

    Raises:
        StoreError: It is missing, damaged, or of another version.
    """
    index = folder / INDEX
    if not index.is_file():
        is_run = (folder / "run.json").is_file()
        raise _not_a_bundle(source, "it is a run" if is_run else f"there is no {INDEX} in it")
    try:
        values = json.loads(index.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or "bundle" not in values:
            raise ValueError("it has no key 'bundle'")
        if values["bundle"] != FORMAT:
            found = values["bundle"]
            raise ValueError(f"its format is {found}, and this recipekit reads {FORMAT}")
        for name in ("files", "left_out"):
            if not isinstance(values.get(name), dict):
                raise ValueError(f"'{name}' is missing or has another type")
            if outside := [each for each in values[name] if not _is_inside(each)]:
                raise ValueError(f"'{outside[0]}' would be outside its folder")
        if not all({"key", "reason"} <= set(facts) for facts in values["left_out"].values()):
            raise ValueError("'left_out' lacks a key or a reason")
        if not isinstance(values.get("recipe"), str):
            raise ValueError("'recipe' is missing or has another type")
    except (ValueError, TypeError, OSError) as error:
        raise _not_a_bundle(source, f"{INDEX}: {error}") from error
    return values


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _not_a_bundle(source: Path | str, reason: str) -> StoreError:
    return StoreError(
        f"{source}: not a recipekit baseline: {reason}; `recipekit share` writes one",
        code="RK530",
    )


def _unpack(source: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if not _is_inside(name):
                    raise _not_a_bundle(source, f"'{name}' would be outside its folder")
            archive.extractall(folder)
    except (zipfile.BadZipFile, RuntimeError) as error:
        raise _not_a_bundle(source, f"it cannot be unpacked ({error})") from error
    except (zlib.error, EOFError) as error:
        raise _not_a_bundle(source, "it cannot be unpacked, since it is damaged") from error


def pack(folder: Path, file: Path) -> None:
    """Write a folder as a zip file; equal folders give equal files."""
    temporary = file.with_name(f".{file.name}.tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), ZIP_TIME)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, path.read_bytes())
    temporary.replace(file)


def changed_files(bundle: Bundle) -> Iterator[str]:
    """Yield what is wrong with the files of a bundle, one line each; others do not matter."""
    for name, stated in sorted(bundle.files.items()):
        file = bundle.folder / name
        found = _sha256(file) if file.is_file() else ""
        if not found:
            yield f"{name}: is missing"
        elif stated != found:
            was, now = str(stated)[:12], found[:12]
            yield f"{name}: was changed after it was written (sha256 {was}, now {now})"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
