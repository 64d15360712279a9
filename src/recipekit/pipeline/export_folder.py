"""A copy of a run's exports in a folder that the user chose (`run --export-to`).

The copy has plain files and no links, so it can be moved, shared and uploaded. It remembers which
files it wrote in `.recipekit-export`. The next export to the folder replaces these files, and
no others.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recipekit import stages
from recipekit.artifacts.storage_errors import explained
from recipekit.artifacts.store import MANIFEST, Artifact, write_json
from recipekit.errors import RunError, StoreError

__all__ = ["ExportFolder", "check_exports", "exporting_stage"]

RECORD: Final = ".recipekit-export"
PARTIAL: Final = ".recipekit-export.partial"


@dataclass(frozen=True)
class ExportFolder:
    """A folder for exports, which is empty or has the exports of an earlier run."""

    path: Path

    def check(self) -> None:
        """Check that the folder can be used, before a run starts.

        Raises:
            StoreError: It is a file, cannot be written, or has files that are not exports.
        """
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(
                f"--export-to {self.path}: is not a folder; choose a folder", code="RK507"
            )
        if self.path.is_dir():
            record = self._record()
            if record is None and any(name != PARTIAL for name in os.listdir(self.path)):
                raise StoreError(
                    f"--export-to {self.path}: the folder has files that recipekit did not "
                    "export; choose a new or an empty folder",
                    code="RK506",
                )
        existing = next(
            part for part in (self.path, *self.path.absolute().parents) if part.exists()
        )
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise StoreError(
                f"--export-to {self.path}: {existing} cannot be written; choose another folder",
                code="RK502",
            )

    def write(self, artifact: Artifact) -> list[str]:
        """Copy what the exporters wrote, and return the names of their folders.

        Files of an earlier export that the new one does not have are removed.

        Args:
            artifact: The artifact of the export stage.

        Raises:
            StoreError: The folder cannot be written, or a file of the user is in the way.
        """
        partial = self.path / PARTIAL
        with explained(self.path):
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(artifact.path, partial, copy_function=shutil.copyfile)
            (partial / MANIFEST).unlink()
            copied = (file for file in partial.rglob("*") if not file.is_dir())
            files = sorted(str(file.relative_to(partial)) for file in copied)
            known = set((self._record() or {}).get("files", []))
            self._check_free(files, known)
            # The record names old and new files until the copy is complete.
            self._write_record(artifact, sorted({*known, *files}))
            for file in files:
                target = self.path / file
                target.parent.mkdir(parents=True, exist_ok=True)
                (partial / file).replace(target)
            self._remove(known - set(files))
            self._write_record(artifact, files)
            shutil.rmtree(partial)
        return sorted({Path(file).parts[0] for file in files})

    def _check_free(self, files: list[str], known: set[str]) -> None:
        taken = [file for file in files if file not in known and os.path.lexists(self.path / file)]
        if taken:
            shutil.rmtree(self.path / PARTIAL)
            raise StoreError(
                f"--export-to {self.path}: {taken[0]} exists and recipekit did not export it; "
                "move it, or choose another folder",
                code="RK506",
            )

    def _remove(self, files: set[str]) -> None:
        """Remove files of an earlier export, and the folders that are empty without them."""
        for file in files:
            (self.path / file).unlink(missing_ok=True)
        folders = {parent for file in files for parent in Path(file).parents if parent != Path()}
        for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
            if (self.path / folder).is_dir() and not os.listdir(self.path / folder):
                (self.path / folder).rmdir()

    def _record(self) -> dict[str, Any] | None:
        """Return what the folder's last export recorded; None if there is none."""
        try:
            record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):
            record = None
        files = record.get("files") if isinstance(record, dict) else None
        if not isinstance(files, list) or not all(map(_is_inside, files)):
            raise StoreError(
                f"{self.path / RECORD}: damaged, so it is unknown which files recipekit exported; "
                "choose another folder",
                code="RK506",
            )
        return dict(record)

    def _write_record(self, artifact: Artifact, files: list[str]) -> None:
        write_json(self.path / RECORD, {"key": artifact.key, "files": files})


def _is_inside(file: Any) -> bool:
    """Return whether a recorded file is a relative path that does not leave the folder."""
    return isinstance(file, str) and not os.path.isabs(file) and ".." not in Path(file).parts


def exporting_stage() -> str:
    """Return the name of the stage whose artifact is what exporters wrote."""
    return next(stage.name for stage in stages.PIPELINE if stage.exports)


def check_exports(covered: Collection[str]) -> None:
    """Check that a run reaches the stage that exports.

    Args:
        covered: The stages that the run covers.

    Raises:
        RunError: It does not.
    """
    if exporting_stage() not in covered:
        raise RunError(
            f"--export-to: this run exports nothing; add an `{exporting_stage()}` section to the "
            "recipe, or leave out --until",
            code="RK626",
        )
