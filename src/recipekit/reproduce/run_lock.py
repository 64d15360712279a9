"""The lock of a run that has finished, from the manifests of its artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recipekit.errors import StoreError
from recipekit.pipeline.data_hashes import data_hashes
from recipekit.pipeline.identity_parts import identity_parts
from recipekit.pipeline.named_files import named_files
from recipekit.recipe.sections import Recipe
from recipekit.report.run_folder import RunFolder
from recipekit.reproduce.lock import Lock, lock_parts, lock_recipe

__all__ = ["device_of", "lock_of_run", "recorded_lock"]


def lock_of_run(run: RunFolder, recipe: Recipe) -> Lock:
    """Return what a run depended on.

    Args:
        run: A finished run.
        recipe: Its recipe, loaded from the run's folder.

    Raises:
        StoreError: A local file, revision or index has changed since the run.
    """
    now = lock_recipe(recipe, device=device_of(run), data=_data(run))
    last = list(run.manifests.values())[-1]
    installed = dict(last.get("versions") or {})
    python = installed.pop("python", now.python)
    then = replace(now, python=python, versions={**now.versions, **installed})
    _check_unchanged(run, now, recipe)
    return then


def recorded_lock(run: RunFolder, stages: Sequence[str]) -> Lock:
    """Return what some stages of a run depended on, as their manifests record it.

    Neither the recipe nor its files are needed, which may have changed since. Python and versions
    are not part of it, and fingerprints of indices count as revisions.

    Args:
        run: A finished run.
        stages: The names of the stages.
    """
    identities = [run.manifests[stage]["identity"] for stage in stages if stage in run.manifests]
    return Lock(run.name, "", device_of(run), {}, data=_data(run), **lock_parts(identities))


def _data(run: RunFolder) -> dict[str, dict[str, object]]:
    return {} if run.dataset is None else data_hashes(run.dataset)


def _check_unchanged(run: RunFolder, now: Lock, recipe: Recipe) -> None:
    kinds = {"file": now.files, "fingerprint": {**now.revisions, **now.indices}}
    for manifest in run.manifests.values():
        for part in identity_parts(manifest["identity"]):
            if part.kind in kinds and kinds[part.kind].get(part.path) != part.value:
                changed = named_files(recipe).get(part.path, part.path)
                raise StoreError(
                    f"{run.path}: cannot be shared, since {changed} has changed since the run; "
                    "run the recipe again",
                    code="RK543",
                )


def device_of(run: RunFolder) -> str:
    """Return the class of the device that a run computed on: `cpu`, `mps` or `cuda`."""
    devices = [str(manifest["device"]) for manifest in run.manifests.values() if manifest["device"]]
    for device in devices:
        if not device.startswith("CPU"):
            return "mps" if device.startswith("MPS") else "cuda"
    return "cpu"
