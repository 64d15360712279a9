"""`recipekit search`: the best passages for a query, before and after training."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recipekit.cli.completion import complete_run
from recipekit.cli.options import DEFAULT_RECIPE, LocalCode, Runs, TrustRemoteCode

if TYPE_CHECKING:
    from recipekit.pipeline.search_run import Found, SearchResult
    from recipekit.report.blocks import Block

__all__ = ["search"]

WIDTH_IN_A_PIPE = 100
SHORTEST_TEXT = 20


def search(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's folder, or a recipe or its name for its latest run.",
            metavar="RUN",
            autocompletion=complete_run,
        ),
    ] = DEFAULT_RECIPE,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERY",
            help="The query. Without it, queries are read from stdin, one per line.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="How many passages to show.", min=1)] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each query.")
    ] = False,
    runs: Runs = None,
    allow_local_code: LocalCode = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Show the best passages for a query, with the encoder before and after training.

    Without RUN, or with QUERY alone, search in the latest run of recipe.yaml in the current folder.

    The run's own embeddings are used. The label of a passage is known if the query is one of the
    data set.
    """
    from recipekit.errors import StoreError
    from recipekit.pipeline.find_run import find_run
    from recipekit.pipeline.progress import ConsoleProgress
    from recipekit.pipeline.search_run import RunSearch
    from recipekit.training.parallel import join_ranks

    try:
        folder = find_run(run, runs)
    except StoreError:
        if query is not None or not _can_be_query(run):
            raise
        query, folder = run, find_run(DEFAULT_RECIPE, runs)
    with tempfile.TemporaryDirectory(prefix="recipekit-search-") as scratch:
        progress = ConsoleProgress(Path(scratch) / "log.jsonl", "search")
        opened = RunSearch.open(
            folder,
            progress,
            join_ranks(1),
            allow_local_code=allow_local_code,
            trust_remote_code=trust_remote_code,
        )
        for text in _queries(query):
            _print(opened.search(text, k), as_json=as_json)


def _can_be_query(argument: str) -> bool:
    """Whether an argument that names no run can be a query in the latest run of `recipe.yaml`."""
    return os.path.isfile(DEFAULT_RECIPE) and not argument.endswith((".yaml", ".yml"))


def _queries(query: str | None) -> Iterator[str]:
    """Yield the query, or the lines of stdin that are not empty."""
    if query is not None:
        yield query
        return
    interactive = sys.stdin.isatty()
    while True:
        if interactive:
            typer.echo("query> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line


def _print(result: SearchResult, *, as_json: bool) -> None:
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(result), ensure_ascii=False))
        return
    from recipekit.report.terminal import print_blocks
    from recipekit.report.terminal_stream import columns

    width = columns(sys.stdout, WIDTH_IN_A_PIPE)
    print_blocks(list(_tables(result, width)))


def _tables(result: SearchResult, width: int) -> Iterator[Block]:
    """The passages of each system; labels only where they can be known."""
    from recipekit.report.blocks import Line, Table, Text

    for system, passages in result.systems.items():
        header = ["rank", "score", "id", *(["label"] if result.labelled else []), "passage"]
        cells = [
            [f"{found.rank}", f"{found.score:.4f}", found.id]
            + ([found.label] if result.labelled else [])
            for found in passages
        ]
        columns = zip(header[:-1], *cells, strict=True)
        taken = sum(max(map(len, column)) + 2 for column in columns)
        room = max(width - taken, SHORTEST_TEXT)
        rows: list[list[Line]] = [
            [*row, _shortened(found, room)] for row, found in zip(cells, passages, strict=True)
        ]
        yield Table(header, rows, left=len(header), title=system.capitalize())
    if result.kept_initial:
        yield Text(
            "Both are equal: training did not improve the dev metric, so the untrained weights "
            "were kept."
        )


def _shortened(found: Found, width: int) -> str:
    """The passage on one line, without the control characters that it can contain."""
    from recipekit.report.terminal import printable

    text = f"{found.title}. {found.text}" if found.title else found.text
    plain = " ".join(printable(text).split())
    return plain if len(plain) <= width else plain[: width - 1].rstrip() + "…"
