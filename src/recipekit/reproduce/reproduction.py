"""Runs a baseline again in a fresh cache, and compares its figures with the published ones."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from recipekit.dataset import Dataset
from recipekit.errors import RunError, StoreError
from recipekit.pipeline.data_hashes import data_hashes
from recipekit.pipeline.execute import run as execute
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.run_events import OnEvent
from recipekit.recipe.sections import Recipe
from recipekit.report.blocks import Line, Strong, Table
from recipekit.report.numbers import signed
from recipekit.reproduce.bundle import INDEX, Bundle, changed_files, open_bundle
from recipekit.reproduce.device import device_class
from recipekit.reproduce.drift import ENVIRONMENT, Drift, drift
from recipekit.reproduce.hub import download, hub_repository
from recipekit.reproduce.lock import Lock, lock_recipe, read_lock
from recipekit.reproduce.replies import read_replies
from recipekit.reproduce.tolerances import place
from recipekit.stages import writer_of
from recipekit.stages.recipe import load_recipe

__all__ = ["Outcome", "Prepared", "outcomes", "outcomes_table", "prepare", "reproduce"]

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


@dataclass(frozen=True)
class Outcome:
    """One published figure, and the one measured here."""

    evaluator: str
    split: str
    system: str
    metric: str
    published: float
    here: float | None
    """None if the run here has no such figure."""
    tolerance: float
    basis: str

    @property
    def is_within(self) -> bool:
        """Whether both figures differ by no more than the tolerance."""
        # A difference of exactly the tolerance must not fail by a float's last digit.
        return self.here is not None and abs(self.here - self.published) <= self.tolerance + 1e-12

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "within": self.is_within}


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
        source: A folder, a zip file, or a repository on the Hub (`hf://OWNER/NAME`).
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
    with tempfile.TemporaryDirectory(prefix="recipekit-bundle-") as temporary:
        opened = _opened(source, Path(temporary))
        changed = [Drift("bundle", text) for text in changed_files(opened)]
        folder = work or Path(f"reproduced-{opened.recipe}")
        _copy(opened, folder)
    bundle = open_bundle(folder, folder)
    _add_data(bundle, data)
    if bundle.values.get("replies"):
        for name in bundle.values.get("variables") or ():
            os.environ.setdefault(name, STAND_IN)
    file = folder / "recipe.yaml"
    published = load_recipe(file, (), **(allowed or {}))
    locked = read_lock(folder / "recipe.lock", bundle.recipe)
    found = drift(locked, lock_recipe(published, device=device_class(cpu=cpu)))
    _check(source, changed, found, force)
    recipe = load_recipe(file, overrides, **(allowed or {}))
    return Prepared(bundle, recipe, folder, [*changed, *found], locked, force)


def _opened(source: str, temporary: Path) -> Bundle:
    repository = hub_repository(source)
    if repository is None:
        return open_bundle(Path(source), temporary)
    download(repository, temporary)
    return open_bundle(temporary, temporary)


def _copy(bundle: Bundle, work: Path) -> None:
    if work.exists() and (not work.is_dir() or any(work.iterdir())):
        index = work / INDEX
        same = index.is_file() and index.read_bytes() == (bundle.folder / INDEX).read_bytes()
        if not same:
            raise StoreError(
                f"{work}: is not empty, and has no earlier reproduction of this baseline; name "
                "another folder with --work",
                code="RK533",
            )
    shutil.copytree(bundle.folder, work, dirs_exist_ok=True)


def _add_data(bundle: Bundle, data: Mapping[str, Path]) -> None:
    if unknown := sorted(data.keys() - bundle.left_out.keys()):
        known = ", ".join(bundle.left_out) or "none"
        raise StoreError(
            f"--data {unknown[0]}: the baseline does not ask for this file; it asks for: {known}",
            code="RK532",
        )
    for name, facts in bundle.left_out.items():
        target = bundle.folder / name
        if name in data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(data[name].expanduser().absolute())
        if not target.exists():
            raise StoreError(
                f"{name}: is not part of the baseline ({facts['reason']}); give your own copy with "
                f"--data {name}=FILE. Key: {facts['key']}",
                code="RK532",
            )


def _check(source: str, changed: Sequence[Drift], found: Sequence[Drift], force: bool) -> None:
    """Refuse what would not be the published baseline. Other versions and devices are accepted."""
    wrong = [*changed, *(each for each in found if each.part not in ENVIRONMENT)]
    if not wrong or force:
        return
    lines = "".join(f"\n  {each}" for each in [*changed, *found])
    raise RunError(
        f"{source}: not the published baseline; --force runs it nevertheless{lines}", code="RK616"
    )


def reproduce(
    prepared: Prepared, *, launch: Launch, on_event: OnEvent, command: str, quiet: bool = False
) -> list[Outcome]:
    """Run a prepared baseline, and return every published figure with the one measured here."""
    cache = prepared.work / ".recipekit"
    file = prepared.work / "replies.jsonl.gz"
    if file.is_file():
        read_replies(file, cache)
    finished = execute(
        prepared.recipe,
        cache=cache,
        runs=prepared.work / "runs",
        until=writer_of("metrics").name,
        launch=launch,
        command=command,
        output="quiet" if quiet else "text",
        on_event=on_event,
        check_dataset=partial(_check_dataset, prepared),
        reach=not file.is_file(),
    )
    return outcomes(prepared.bundle.metrics, finished.metric_rows)


def _check_dataset(prepared: Prepared, dataset: Dataset) -> None:
    """Refuse collected data that is not the published one."""
    found = drift(prepared.locked, replace(prepared.locked, data=data_hashes(dataset)))
    _check(str(prepared.work), (), found, prepared.force)


def outcomes(
    published: Sequence[Mapping[str, Any]], here: Sequence[Mapping[str, Any]]
) -> list[Outcome]:
    """Return every published figure with the one measured here."""
    measured = {place(row): row.get("value") for row in here}
    return [
        Outcome(
            *place(row),
            published=row["value"],
            here=measured.get(place(row)),
            tolerance=row["tolerance"],
            basis=row["tolerance_basis"],
        )
        for row in published
        if row.get("value") is not None
    ]


def outcomes_table(found: Sequence[Outcome]) -> Table:
    """The figures as a table."""
    several = len({(each.evaluator, each.split) for each in found}) > 1
    rows: list[list[Line]] = []
    for each in found:
        where = f"{each.evaluator}, {each.split}: " if several else ""
        here = difference = "-"
        if each.here is not None:
            here, difference = f"{each.here:.4f}", signed(each.here - each.published)
        within: Line = "yes" if each.is_within else Strong("no")
        figures: list[Line] = [f"{each.published:.4f}", here, difference, f"{each.tolerance:.4f}"]
        rows.append([f"{where}{each.system}", each.metric, *figures, within])
    header = ["system", "metric", "published", "here", "difference", "tolerance", "within"]
    return Table(header, rows, left=2)
