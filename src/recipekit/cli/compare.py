"""`recipekit compare`: compare models, runs and baselines."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipekit.cli.completion import complete_recipe, complete_run
from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.options import Cache, LocalCode, Runs, TrustRemoteCode

if TYPE_CHECKING:
    from recipekit.comparison.result import Comparison

__all__ = ["compare"]


def compare(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Hub ids, model folders, runs or baselines; the first is the reference. "
            "MODEL:dimensions=128,precision=int8 compresses its vectors, RUN:before is the model "
            "before training.",
            autocompletion=complete_run,
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="Measure with the evaluators of this recipe. Default: that of the first run.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    on: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Measure retrieval on a BEIR folder or a file of pairs."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric for --on, such as map@100. Repeatable."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The reference, if it is not the first model."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="The page to write."),
    ] = Path("compare.html"),
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in a web browser.")
    ] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use no GPU.")] = False,
    cache: Cache = None,
    runs: Runs = None,
    allow_local_code: LocalCode = False,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Compare models on the same data: quality with paired tests, size, speed and licence.

    Wins, losses and regressions are labelled, and the queries that differ most are shown with both
    rankings. What was encoded is kept in the cache.
    """
    if recipe is not None and on is not None:
        raise typer.BadParameter("excludes --on", param_hint="--recipe")
    if metric and on is None:
        raise typer.BadParameter(
            "needs --on; a recipe names its own metrics", param_hint="--metric"
        )
    if cpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    comparison = _compared(
        models,
        {
            "data": on,
            "metrics": _metrics(metric or []),
            "against": against,
            "command": shlex.join(["recipekit", *context.obj]),
        },
        recipe,
        cache,
        runs,
        {"allow_local_code": allow_local_code, "trust_remote_code": trust_remote_code},
        quiet=as_json,
    )
    _write(comparison, output)
    if as_json:
        print_json({**comparison.as_json(), "page": str(output)})
    else:
        from recipekit.comparison.describe import terminal_blocks
        from recipekit.report.blocks import Code, Text
        from recipekit.report.terminal import print_blocks

        print_blocks([*terminal_blocks(comparison), Text(("page: ", Code(str(output))))])
    if open_page:
        import webbrowser

        webbrowser.open(output.resolve().as_uri())


def _compared(
    models: list[str],
    request: dict[str, Any],
    recipe: str | None,
    cache: Path | None,
    runs: Path | None,
    allowed: dict[str, bool],
    *,
    quiet: bool,
) -> Comparison:
    from recipekit.artifacts.key import FileHashes
    from recipekit.artifacts.store import Store
    from recipekit.comparison.compare import Request, compare, resolve_models
    from recipekit.comparison.measured_data import Workspace, cache_of
    from recipekit.comparison.notices import NoticesOnce
    from recipekit.comparison.resolve import Resolver
    from recipekit.pipeline.find_run import find_run
    from recipekit.pipeline.project import CACHE_VARIABLE, find_project, project_of
    from recipekit.recipe.environment import redact
    from recipekit.stages.recipe import load_recipe
    from recipekit.training.parallel import join_ranks

    loaded = None if recipe is None else load_recipe(recipe, (), **allowed)
    own = find_project(cache=cache) if loaded is None else project_of(loaded, cache=cache)
    root = own.cache
    hashes = FileHashes(root / "hashes.json")
    with tempfile.TemporaryDirectory(prefix="recipekit-compare-") as scratch:
        resolver = Resolver(hashes, Path(scratch), lambda run: find_run(run, runs), allowed)
        resolved = resolve_models(models, resolver)
        if loaded is None and cache is None and CACHE_VARIABLE not in os.environ:
            root = cache_of(resolver.runs) or root
        workspace = Workspace(
            store=Store(root),
            hashes=hashes,
            progress=NoticesOnce(Path(scratch) / "log.jsonl", output="quiet" if quiet else "text"),
            ranks=join_ranks(1),
            scratch=Path(scratch),
            trust_remote_code=allowed["trust_remote_code"],
        )
        asked = Request(
            recipe=loaded,
            show_line=lambda line: None if quiet else typer.echo(redact(line), err=True),
            **request,
        )
        found = compare(resolved, resolver.runs, asked, workspace)
        hashes.save()
    return found


def _metrics(names: list[str]) -> list[str]:
    from recipekit.recipe.metrics import parse_metric

    for name in names:
        try:
            parse_metric(name)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--metric") from error
    return names


def _write(comparison: Comparison, output: Path) -> None:
    """Write the page, with its figures inside."""
    from recipekit.artifacts.storage_errors import explained
    from recipekit.comparison.describe import page_blocks, page_title
    from recipekit.report.blocks import figures_of
    from recipekit.report.html import render_html
    from recipekit.report.svg import can_draw, figure_file, render_svg

    blocks = page_blocks(comparison)
    figures = figures_of(blocks) if can_draw() else ()
    drawings = {figure_file(figure): render_svg(figure) for figure in figures}
    page = render_html(blocks, title=page_title(comparison), drawings=drawings)
    with explained(output.absolute().parent, output):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8")
