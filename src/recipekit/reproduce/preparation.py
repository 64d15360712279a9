"""Gets a baseline ready to run: its files, its data, and what differs here from its lock."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recipekit.artifacts.storage_errors import explained
from recipekit.errors import RecipekitError, RunError, StoreError
from recipekit.pipeline.named_files import named_files
from recipekit.recipe.sections import Recipe
from recipekit.recipe.shipped import shipped, shipped_baselines
from recipekit.reproduce.bundle import INDEX, Bundle, changed_files, open_bundle
from recipekit.reproduce.device import device_class
from recipekit.reproduce.drift import ENVIRONMENT, Drift, drift, in_words
from recipekit.reproduce.hub import download, hub_repository
from recipekit.reproduce.lock import Lock, lock_recipe, read_lock
from recipekit.reproduce.replies import REPLIES
from recipekit.stages.recipe import load_recipe

__all__ = ["Prepared", "check_published", "copied_bundle", "opened_bundle", "prepare"]

ACCEPTED: Final = (*ENVIRONMENT, "results", "settings")
"""The parts of a lock that may differ. The recipe's file is the published one, so that another
version of recipekit is why keys have other defaults, or stages other versions."""
STAND_IN: Final = "http://127.0.0.1:9/v1"
"""The value of variables that are not set, where all replies come from the bundle. Nothing listens
at this address."""


@dataclass(frozen=True)
class Prepared:
    """A baseline that is ready to run."""

    bundle: Bundle
    recipe: Recipe
    work: Path
    differences: Sequence[Drift]
    """How this machine differs from the lock."""
    locked: Lock
    force: bool
    """Whether other data than the locked one is accepted."""

    unset: Sequence[str] = ()
    """Variables of an endpoint that are not set, since all replies come from the baseline."""

    @property
    def runs(self) -> Path:
        """The folder of the runs in the work folder."""
        return self.work / "runs"

    @property
    def report(self) -> Path:
        """The report of the latest run in the work folder."""
        return self.runs / self.recipe.name / "latest" / "report.html"

    @property
    def replies(self) -> Path | None:
        """The file of paid replies, if the baseline has one."""
        return self.work / REPLIES if REPLIES in self.bundle.files else None


def prepare(
    source: str,
    work: Path | None,
    *,
    data: Mapping[str, Path],
    overrides: Sequence[str] = (),
    cpu: bool = False,
    force: bool = False,
    allowed: Mapping[str, bool] | None = None,
) -> Prepared:
    """Copy a bundle into its work folder, and compare it and this machine with its lock.

    Args:
        source: What `opened_bundle` opens.
        work: The folder to work in, new or of the same bundle; by default `reproduced-NAME`.
        data: Local files that the bundle does not contain, by their names in it.
        overrides: `PATH=VALUE`, as `--set` takes them.
        cpu: Whether the run leaves accelerators out.
        force: Go on although the bundle or its data was changed.
        allowed: `allow_local_code` and `trust_remote_code`, for loading the recipe.

    Raises:
        StoreError: It is not a bundle, a file of it is missing, or the work folder is in use.
        RunError: The bundle or its data is not what was published.
    """
    allowed = allowed or {}
    bundle, source, changed = copied_bundle(source, work)
    folder = bundle.folder
    _add_data(bundle, data)
    unset = _stand_in(bundle)
    locked, found = _compared(source, bundle, changed, cpu=cpu, force=force, allowed=allowed)
    recipe = load_recipe(folder / "recipe.yaml", overrides, **allowed)
    bundle.metrics()  # a damaged file is found before the run
    return Prepared(bundle, recipe, folder, [*changed, *found], locked, force, unset)


def _stand_in(bundle: Bundle) -> list[str]:
    """Give variables that are not set a value, if replies make them unnecessary."""
    if REPLIES not in bundle.files:
        return []
    names = bundle.values.get("variables") or ()
    unset = [name for name in names if os.environ.get(name, STAND_IN) == STAND_IN]
    os.environ.update(dict.fromkeys(unset, STAND_IN))
    return unset


def _compared(
    source: str,
    bundle: Bundle,
    changed: Sequence[Drift],
    *,
    cpu: bool,
    force: bool,
    allowed: Mapping[str, bool],
) -> tuple[Lock, list[Drift]]:
    """Compare a bundle's recipe on this machine with its lock."""
    try:
        published = load_recipe(bundle.folder / "recipe.yaml", (), **allowed)
        locked = read_lock(bundle.folder / "recipe.lock", bundle.recipe)
        here = lock_recipe(published, device=device_class(cpu=cpu))
        found = drift(locked, here, named_files(published))
    except RecipekitError:
        check_published(source, changed, (), force)  # what was changed may be why
        raise
    check_published(source, changed, found, force)
    return locked, found


def opened_bundle(source: str, temporary: Path) -> tuple[Bundle, str]:
    """Open a bundle, and return it with the address at which it stays the same.

    Args:
        source: A folder, a zip file, a repository on the Hub (`hf://OWNER/NAME`), or the name of a
            shipped recipe.
        temporary: An empty folder for unpacked or downloaded files.

    Raises:
        StoreError: It is not a bundle.
    """
    repository = hub_repository(source)
    if repository is not None:
        pinned = download(repository, temporary)
        return open_bundle(temporary, temporary), str(pinned)
    path = Path(source)
    if not path.exists():
        known = shipped_baselines()
        if source in shipped() and source not in known:
            raise StoreError(
                f"{source}: this shipped recipe has no baseline; there are baselines of "
                f"{' and '.join(sorted(known))}",
                code="RK530",
            )
        path = known.get(source, path)
    return open_bundle(path, temporary), source


def copied_bundle(source: str, work: Path | None) -> tuple[Bundle, str, list[Drift]]:
    """Copy a bundle into its work folder.

    Args:
        source: What `opened_bundle` opens.
        work: The folder to work in, new or of the same bundle; by default `reproduced-NAME`.

    Returns:
        The copy, the address at which the bundle stays the same, and its files that were changed.

    Raises:
        StoreError: It is not a bundle, or the work folder is in use.
    """
    with tempfile.TemporaryDirectory(prefix="recipekit-bundle-") as temporary:
        opened, source = opened_bundle(source, Path(temporary))
        changed = [Drift("bundle", text) for text in changed_files(opened)]
        folder = work or Path(f"reproduced-{opened.recipe}")
        _copy(opened, folder)
    return open_bundle(folder, folder), source, changed


def _copy(bundle: Bundle, work: Path) -> None:
    if work.exists() and (not work.is_dir() or any(work.iterdir())):
        index = work / INDEX
        same = index.is_file() and index.read_bytes() == (bundle.folder / INDEX).read_bytes()
        if not same:
            raise StoreError(
                f"{work}: is not empty and does not hold a reproduction of this baseline; name "
                "another folder with --work",
                code="RK533",
            )
        if work.samefile(bundle.folder):
            return
    with explained(work):
        for name in (*bundle.files, INDEX):
            target = work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (bundle.folder / name).is_file():
                shutil.copyfile(bundle.folder / name, target)


def _add_data(bundle: Bundle, data: Mapping[str, Path]) -> None:
    if unknown := sorted(data.keys() - bundle.left_out.keys()):
        known = ", ".join(bundle.left_out) or "none"
        raise StoreError(
            f"--data {unknown[0]}: the baseline does not ask for this file; it asks for: {known}",
            code="RK532",
        )
    for name, path in data.items():
        target = bundle.folder / name
        if not path.expanduser().exists():
            raise StoreError(f"--data {name}: there is no {path}", code="RK532")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(path.expanduser().absolute())
    missing = [name for name in bundle.left_out if not (bundle.folder / name).exists()]
    if missing:
        lines = "".join(
            f"\n  --data {name}=FILE    ({bundle.left_out[name]['key']}: "
            f"{bundle.left_out[name]['reason']})"
            for name in missing
        )
        count = "a file" if len(missing) == 1 else f"{len(missing)} files"
        raise StoreError(
            f"{bundle.recipe}: the baseline does not contain {count}; give your own:{lines}",
            code="RK532",
        )


def check_published(
    source: str, changed: Sequence[Drift], found: Sequence[Drift], force: bool
) -> None:
    """Refuse what would not be the published baseline. Other versions and devices are accepted."""
    wrong = [*changed, *(each for each in found if each.part not in ACCEPTED)]
    if not wrong or force:
        return
    lines = "".join(f"\n  {line}" for line in in_words([*changed, *found]))
    raise RunError(
        f"{source}: not the published baseline; --force runs it nevertheless{lines}", code="RK616"
    )
