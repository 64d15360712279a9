"""The function that Python programs and the command call: `compare`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Store
from recipekit.comparison.candidates import candidates_of
from recipekit.comparison.choose_data import ComparisonRequest
from recipekit.comparison.compare import compare as compare_candidates
from recipekit.comparison.file_evaluators import DataEvaluator
from recipekit.comparison.measured_data import Workspace, cache_of
from recipekit.comparison.notices import NoticesOnce
from recipekit.comparison.page import write_page
from recipekit.comparison.resolve import Resolver
from recipekit.comparison.result import Comparison
from recipekit.component import SingleProcess
from recipekit.errors import RunError
from recipekit.pipeline.api import AnyRecipe, loaded_recipe
from recipekit.pipeline.find_run import find_run
from recipekit.pipeline.project import CACHE_VARIABLE, find_project, project_of
from recipekit.pipeline.run_result import Run
from recipekit.recipe.metrics import parse_metric
from recipekit.training.parallel import join_ranks

__all__ = ["AnyModel", "compare"]

AnyModel = str | Path | Run
"""What `recipekit compare` takes as an argument, or a finished run."""


def compare(
    models: Sequence[AnyModel],
    *,
    recipe: AnyRecipe | None = None,
    on: Path | str | None = None,
    metrics: Sequence[str] = (),
    evaluator: DataEvaluator | None = None,
    against: AnyModel | None = None,
    page: Path | str | None = None,
    cpu: bool = False,
    cache: Path | str | None = None,
    runs: Path | str | None = None,
    allow_local_code: bool = False,
    trust_remote_code: bool = False,
    command: str | None = None,
    quiet: bool = False,
    show_line: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Compare models on the same data: quality with paired tests, size, speed and licence.

    What is encoded is kept in the cache. Models are loaded in this process.

    Args:
        models: Two models or more, as on the command line (`"OWNER/NAME"`,
            `"./model:precision=int8"`, `"quickstart:before"`, `"bm25"`), or finished runs.
        recipe: Measure with the evaluators of this recipe; by default, that of the first run.
        on: Measure this BEIR folder or file of pairs instead: correlation with scores (`sts`) if
            rows have a score that is not a grade, `pairs` for NLI pairs, and retrieval otherwise.
        metrics: The metrics of retrieval or reranking for `on`, such as `["map@100"]`.
        evaluator: The evaluator for `on`: `"retrieval"`, `"sts"`, `"pairs"`, `"triplets"` or
            `"reranking"`; by default that of its rows.
        against: The reference; by default the first model.
        page: The file of a page with all figures; None writes none.
        cpu: Use no GPU.
        cache: The cache's folder; by default, that of the recipe's project, or of the first run.
        runs: The folder of all runs; by default, that of the project.
        allow_local_code: See `load_recipe`.
        trust_remote_code: See `load_recipe`.
        command: The command that repeats the comparison, for messages.
        quiet: Show warnings and errors only.
        show_line: Receives lines for the user.

    Raises:
        RecipeError: The recipe is wrong.
        RunError: Models or data do not fit together, or there is nothing to measure.
        RecipekitError: A model cannot be loaded or measured, or the page cannot be written.
    """
    arguments = [_argument(model) for model in models]
    _check(recipe, on, metrics, evaluator)
    allowed = {"allow_local_code": allow_local_code, "trust_remote_code": trust_remote_code}
    loaded = None if recipe is None else loaded_recipe(recipe, (), cache, **allowed)
    own = find_project(cache=cache) if loaded is None else project_of(loaded, cache=cache)
    hashes = FileHashes(own.cache / "hashes.json")
    request = ComparisonRequest(
        recipe=loaded,
        data=None if on is None else Path(on).expanduser(),
        metrics=metrics,
        evaluator=evaluator,
        against=None if against is None else _argument(against),
        command=command,
        show_line=show_line,
    )
    with tempfile.TemporaryDirectory(prefix="recipekit-compare-") as scratch:
        folder = None if runs is None else Path(runs)
        resolver = Resolver(hashes, Path(scratch), lambda run: find_run(run, folder), allowed)
        candidates = candidates_of(arguments, resolver, loaded)
        root = own.cache
        if loaded is None and cache is None and CACHE_VARIABLE not in os.environ:
            root = cache_of(resolver.runs) or root
        workspace = Workspace(
            store=Store(root),
            hashes=hashes,
            progress=NoticesOnce(Path(scratch) / "log.jsonl", output="quiet" if quiet else "text"),
            ranks=SingleProcess("cpu") if cpu else join_ranks(1),
            scratch=Path(scratch),
            trust_remote_code=trust_remote_code,
        )
        found = compare_candidates(candidates, resolver.runs, request, workspace)
        hashes.save()
    if page is None:
        return found
    write_page(found, Path(page))
    return replace(found, page=Path(page))


def _argument(model: AnyModel) -> str:
    """Return a model as the command line names it."""
    return str(model.path if isinstance(model, Run) else model)


def _check(
    recipe: AnyRecipe | None, on: Path | str | None, metrics: Sequence[str], evaluator: str | None
) -> None:
    """Check that what is measured is named in one way.

    Raises:
        RunError: Both are named, `on` is missing, or a metric or evaluator is unknown.
    """
    if recipe is not None and on is not None:
        raise RunError("name a recipe or data to measure on, not both", code="RK674")
    if metrics and on is None:
        raise RunError("metrics need data to measure on: a recipe names its own", code="RK674")
    if evaluator is not None and on is None:
        raise RunError("evaluator needs data to measure on: a recipe has its own", code="RK674")
    known = get_args(DataEvaluator)
    if evaluator is not None and evaluator not in known:
        raise RunError(f"evaluator is one of {', '.join(known)}, found '{evaluator}'", code="RK674")
    for name in metrics:
        try:
            parse_metric(name)
        except ValueError as error:
            raise RunError(f"metrics: {error}", code="RK674") from error
