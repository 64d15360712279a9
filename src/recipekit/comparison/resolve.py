"""Finds what arguments name: models, runs, published baselines, and retrievers of a recipe."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recipekit.artifacts.key import FileHashes
from recipekit.comparison.arguments import BEFORE, Argument
from recipekit.comparison.models import ComparedModel, model_of_files, model_of_run
from recipekit.comparison.published import PublishedModel, published_model
from recipekit.component.fields import NAME_PATTERN
from recipekit.encoding.model_files import HUB_ID
from recipekit.errors import RunError, StoreError
from recipekit.pipeline.search_run import run_artifacts
from recipekit.recipe.sections import Recipe
from recipekit.report.run_folder import open_run
from recipekit.reproduce.bundle import INDEX, changed_files
from recipekit.reproduce.hub import hub_repository
from recipekit.reproduce.preparation import opened_bundle
from recipekit.stages import PIPELINE
from recipekit.stages.recipe import load_recipe
from recipekit.suggestions import did_you_mean, listed

__all__ = ["NamedRun", "Resolver", "nothing_named"]


@dataclass(frozen=True)
class NamedRun:
    """A run that an argument names."""

    path: Path
    recipe: Recipe


class Resolver:
    """Turns arguments into models."""

    def __init__(
        self,
        hashes: FileHashes,
        scratch: Path,
        find_run: Callable[[str], Path],
        allowed: Mapping[str, bool],
    ) -> None:
        """Join what is needed.

        Args:
            hashes: Content hashes of files.
            scratch: A folder for unpacked baselines.
            find_run: Returns the folder of a run by name; raises `StoreError` if there is none.
            allowed: `allow_local_code` and `trust_remote_code`, for the recipes of runs.
        """
        self.hashes, self.scratch, self.find_run = hashes, scratch, find_run
        self.allowed = allowed
        self.runs: dict[str, NamedRun] = {}
        """The runs that were named, by argument, in their order."""

    def resolve(self, argument: Argument) -> ComparedModel | PublishedModel | None:
        """Return the model that an argument names; None for a name that only a retriever can have.

        Raises:
            RecipekitError: There is no such thing, or it cannot be used.
        """
        found = self._find(argument)
        if found is None:
            _refuse_system(argument)
        if found is not None and argument.bm25_options:
            raise RunError(
                f"{argument.text}: '{next(iter(argument.bm25_options))}' is an option of the "
                "retriever bm25",
                code="RK673",
            )
        return found

    def _find(self, argument: Argument) -> ComparedModel | PublishedModel | None:
        target = argument.target
        if hub_repository(target) is not None:
            return self._bundle(argument)
        if target.startswith("package:"):
            return self._model(argument, target)
        with suppress(OSError):  # a name can be too long for a file
            if os.path.exists(target) and not target.endswith((".yaml", ".yml")):
                return self._path(argument, Path(target))
        run = self._run_named(target)
        if run is not None:
            return self._run(argument, run)
        if HUB_ID.fullmatch(target) and target.count("/") == 1:
            return self._model(argument, target)
        if re.fullmatch(NAME_PATTERN, target):
            return None
        raise nothing_named(argument)

    def _path(self, argument: Argument, path: Path) -> ComparedModel | PublishedModel | None:
        if path.is_file() or (path / INDEX).is_file():
            return self._bundle(argument)
        if (path / "run.json").exists() or (path / "stages").is_dir():
            return self._run(argument, path)
        if (path / "modules.json").is_file() or (path / "config.json").is_file():
            return self._model(argument, str(path.absolute()))
        run = self._run_named(argument.target)
        if run is not None and run != path:
            return self._run(argument, run)
        if re.fullmatch(NAME_PATTERN, argument.target):
            return None
        raise nothing_named(argument)

    def _run_named(self, target: str) -> Path | None:
        try:
            return self.find_run(target)
        except StoreError as error:
            if error.code != "RK541" or target.endswith((".yaml", ".yml")):
                raise
            return None

    def _model(self, argument: Argument, model: str) -> ComparedModel:
        _refuse_system(argument)
        return model_of_files(argument, model, Path.cwd(), self.hashes)

    def _run(self, argument: Argument, path: Path) -> ComparedModel:
        _refuse_system(argument)
        # A damaged run is reported as such, before its recipe is read.
        run = open_run(path, [stage.name for stage in PIPELINE])
        artifacts = dict(run_artifacts(path))
        if not run.run or not artifacts:
            raise RunError(
                f"{path}: this run has no results, since no stage finished", code="RK628"
            )
        recipe = load_recipe(path / "recipe.resolved.yaml", (), **self.allowed)
        self.runs[argument.text] = NamedRun(path, recipe)
        return model_of_run(argument, path, recipe, self.hashes)

    def _bundle(self, argument: Argument) -> PublishedModel:
        folder = self.scratch / f"bundle-{len(list(self.scratch.iterdir()))}"
        folder.mkdir()
        bundle, _ = opened_bundle(argument.target, folder)
        changed = next(changed_files(bundle), None)
        if changed is not None:
            raise StoreError(
                f"{argument.target}: not the published baseline: {changed}", code="RK616"
            )
        return published_model(argument, bundle)


def _refuse_system(argument: Argument) -> None:
    """Check that an argument which is not a baseline names no system."""
    if argument.system is not None:
        raise RunError(
            f"{argument.text}: '{argument.system}' is not an option, and only a baseline has "
            f"systems that can be named so.{did_you_mean(argument.system, [BEFORE])}",
            code="RK673",
        )


def nothing_named(argument: Argument, retrievers: Iterable[str] = ()) -> RunError:
    """Return the error for an argument that names nothing.

    Args:
        argument: The argument.
        retrievers: The retrievers that it could have named.
    """
    target = argument.target
    if os.path.isdir(target):
        return RunError(
            f"{target}: contains neither a model (modules.json or config.json), nor a run "
            f"(run.json), nor a baseline ({INDEX})",
            code="RK672",
        )
    if target.startswith(("./", "../", "/", "~")):
        return RunError(f"{target}: there is no such folder or file", code="RK672")
    known = list(retrievers)
    hint = did_you_mean(target, known) or (f" Retrievers: {listed(known)}." if known else "")
    return RunError(
        f"{target}: there is no such folder, file, run or retriever, and a model on the Hub is "
        f"named OWNER/NAME.{hint}",
        code="RK672",
    )
