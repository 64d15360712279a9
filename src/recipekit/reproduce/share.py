"""Shares a run: its bundle, in a folder, a file or a repository, is a baseline for others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from recipekit.artifacts.storage_errors import explained
from recipekit.errors import StoreError
from recipekit.pipeline.launch import Launch
from recipekit.recipe.sections import Recipe
from recipekit.report.run_folder import RunFolder, open_run
from recipekit.reproduce.bundle import pack
from recipekit.reproduce.hub import check_upload, hub_repository, upload
from recipekit.reproduce.licences import check_replies_allowed, source_licences
from recipekit.reproduce.run_lock import lock_of_run
from recipekit.reproduce.spread import check_further_runs, repeat_with_seeds
from recipekit.reproduce.write_bundle import Shared, ShareOptions, write_bundle
from recipekit.stages import PIPELINE, evaluating_stage
from recipekit.stages.recipe import load_recipe

__all__ = ["share"]

ARCHIVES: Final = frozenset(
    {".7z", ".bz2", ".gz", ".rar", ".tar", ".tbz", ".tbz2", ".tgz", ".txz", ".xz", ".zst"}
)
"""The ends of names of archives that `share` does not write."""


def share(
    run: Path,
    destination: str,
    *,
    options: ShareOptions,
    seeds: int,
    spread: Sequence[Path],
    launch: Launch,
    allowed: Mapping[str, bool],
    private: bool,
    show_line: Callable[[str], None],
) -> Shared:
    """Check that a run can be shared, measure tolerances, and write its bundle.

    Args:
        run: The folder of a finished run.
        destination: A new folder, a new file that ends in `.zip`, or `hf://OWNER/NAME`.
        options: What the author agrees to.
        seeds: With how many further seeds to train again, for tolerances.
        spread: Folders of further runs of the recipe, for tolerances.
        launch: How processes are started to train again.
        allowed: `allow_local_code` and `trust_remote_code`, for loading the recipe.
        private: Whether a new repository is private.
        show_line: Receives lines for the user.

    Raises:
        StoreError: The run cannot be shared, a file changed since the run or would contain a
            secret, the destination cannot be written, or a further run is not one.
        RunError: A run with another seed failed, or the recipe does not train.
    """
    found = _open_finished(run)
    repository = hub_repository(destination)
    if repository is None:
        _check_destination(Path(destination))
    else:
        check_upload(repository)
    recipe = load_recipe(found.path / "recipe.resolved.yaml", (), **allowed)
    _check_shareable(found, recipe, options)
    others = [_open_finished(other) for other in spread]
    check_further_runs(found, recipe, others)
    repeated = [other.read_json(other.path / "metrics.json", list) or [] for other in others]
    if seeds:
        repeated += repeat_with_seeds(
            found, seeds, launch=launch, allowed=allowed, show_line=show_line
        )

    def deliver(folder: Path) -> str:
        if repository is not None:
            return str(repository.at(upload(folder, repository, private=private)))
        _copy_bundle(folder, Path(destination))
        return str(Path(destination))

    address = Path(destination).name if repository is None else str(repository)
    return write_bundle(found, recipe, options, repeated, address, deliver)


def _open_finished(path: Path) -> RunFolder:
    """Open a run that can be shared.

    Raises:
        StoreError: The folder is not a run, the run is damaged or did not finish, or it has no
            figures.
    """
    run = open_run(path, [stage.name for stage in PIPELINE])
    if run.run.get("status") != "finished":
        status = run.run.get("status") or "damaged"
        raise StoreError(f"{path}: cannot be shared, since this run is {status}", code="RK543")
    if not run.read_json(path / "metrics.json", list):
        evaluates = evaluating_stage().name
        reason = f"measured nothing; the recipe needs an {evaluates} section"
        if run.section(evaluates) and not run.finished(evaluates):
            reason = f"ended before {evaluates}; run the recipe again without --until"
        raise StoreError(f"{path}: cannot be shared, since this run {reason}", code="RK543")
    return run


def _check_shareable(run: RunFolder, recipe: Recipe, options: ShareOptions) -> None:
    """Check, before any work, that a run can be shared.

    Raises:
        StoreError: A file changed since the run, or replies may quote data whose licence forbids
            it.
    """
    if options.replies:
        check_replies_allowed(source_licences(recipe))
    lock_of_run(run, recipe)


def _check_destination(destination: Path) -> None:
    """Check that a bundle can be written.

    Raises:
        StoreError: There is something already, or it is named like another archive than a zip file.
    """
    if destination.suffix.lower() in ARCHIVES:
        raise StoreError(
            f"{destination}: {destination.suffix} files cannot be written; name a new folder, or a "
            "new file that ends in .zip",
            code="RK535",
        )
    taken = destination.is_dir() and any(destination.iterdir())
    if destination.exists() and (taken or not destination.is_dir()):
        raise StoreError(
            f"{destination}: already exists; name a new folder, or a new file that ends in .zip",
            code="RK535",
        )


def _copy_bundle(folder: Path, destination: Path) -> None:
    with explained(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        if destination.suffix.lower() == ".zip":
            pack(folder, destination)
        else:
            shutil.copytree(folder, destination, dirs_exist_ok=True)
            os.chmod(destination, 0o777 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
