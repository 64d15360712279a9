"""`recipekit compare`: compare models, runs and baselines."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from recipekit.cli.completion import complete_recipe, complete_run
from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.options import Cache, LocalCode, Runs, TrustRemoteCode

__all__ = ["compare"]


def compare(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Hub ids, model folders, runs, baselines, or retrievers such as bm25; the first "
            "is the reference. MODEL:dimensions=128,precision=int8 compresses its vectors, "
            "RUN:before is the model before training, BASELINE:bm25 another system, "
            "bm25:k1=1.2 has other keys.",
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
        typer.Option(
            metavar="DATA",
            help="Measure a BEIR folder or a file of pairs: retrieval, or correlation with scores "
            "if rows have scores.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A metric of retrieval for --on, such as map@100. Repeatable."
        ),
    ] = None,
    evaluator: Annotated[
        Literal["retrieval", "sts", "pairs", "triplets", "reranking"] | None,
        typer.Option(
            metavar="NAME",
            help="The evaluator for --on: retrieval, sts, pairs, triplets or reranking. Default: "
            "that of the kind of data.",
        ),
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
    if evaluator and on is None:
        raise typer.BadParameter("needs --on; a recipe has its own", param_hint="--evaluator")
    from recipekit.comparison.api import compare as compare_models
    from recipekit.comparison.describe import terminal_blocks
    from recipekit.recipe.environment import redact
    from recipekit.report.blocks import Code, Text
    from recipekit.report.terminal import print_blocks

    comparison = compare_models(
        models,
        recipe=recipe,
        on=on,
        metrics=_metrics(metric or []),
        evaluator=evaluator,
        against=against,
        page=output,
        cpu=cpu,
        cache=cache,
        runs=runs,
        allow_local_code=allow_local_code,
        trust_remote_code=trust_remote_code,
        command=shlex.join(["recipekit", *context.obj]),
        quiet=as_json,
        show_line=lambda line: None if as_json else typer.echo(redact(line), err=True),
    )
    if as_json:
        print_json(comparison.as_json())
    else:
        print_blocks([*terminal_blocks(comparison), Text(("page: ", Code(str(output))))])
    if open_page:
        import webbrowser

        webbrowser.open(output.resolve().as_uri())


def _metrics(names: list[str]) -> list[str]:
    from recipekit.recipe.metrics import parse_metric

    for name in names:
        try:
            parse_metric(name)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--metric") from error
    return names
