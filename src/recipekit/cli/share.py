"""`recipekit share`: write the baseline of a run, for others to repeat."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from recipekit.cli.completion import complete_run
from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.options import LocalCode, Runs, TrustRemoteCode

if TYPE_CHECKING:
    from recipekit.reproduce.write_bundle import Shared

__all__ = ["share"]


def share(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run's folder or id, or a recipe or its name for its latest run.",
            autocompletion=complete_run,
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST",
            help="A new folder, a new file that ends in .zip, or hf://OWNER/NAME on the Hub.",
        ),
    ],
    seeds: Annotated[
        int,
        typer.Option(min=0, help="Train again with N other seeds, to measure tolerances."),
    ] = 0,
    spread: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN", help="Another run of the recipe, such as on another device. Repeatable."
        ),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Use this tolerance for every figure.")
    ] = None,
    include_data: Annotated[
        bool,
        typer.Option(
            "--include-data", help="Include local files of unknown licence, if you may share them."
        ),
    ] = False,
    include_replies: Annotated[
        bool, typer.Option("--include-replies", help="Include the paid LLM replies.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository on the Hub private.")
    ] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use no GPU for --seeds.")] = False,
    runs: Runs = None,
    allow_local_code: LocalCode = False,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's recipe, lock, figures and report as a baseline that others can repeat.

    Local data is included only if its licence allows it. No secret is ever included.
    """
    from recipekit.pipeline.find_run import find_run
    from recipekit.pipeline.launch import Launch
    from recipekit.reproduce.share import share as share_run
    from recipekit.reproduce.write_bundle import ShareOptions

    shared = share_run(
        find_run(run, runs),
        destination,
        options=ShareOptions(include_data, include_replies, tolerance),
        seeds=seeds,
        spread=[find_run(other, runs) for other in spread or ()],
        launch=Launch(cpu=cpu),
        allowed={"allow_local_code": allow_local_code, "trust_remote_code": trust_remote_code},
        private=private,
        show_line=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        print_json(vars(shared))
    else:
        _print(shared, include_replies)


def _print(shared: Shared, include_replies: bool) -> None:
    from recipekit.reproduce.tolerances import NOT_MEASURED

    typer.echo(f"wrote {shared.destination}: {len(shared.files)} files")
    if include_replies:
        typer.echo(f"replies of paid calls: {shared.replies:,}")
    for name, facts in shared.left_out.items():
        typer.echo(f"not included: {name} ({facts['reason']}, {facts['key']})")
    if any(row["tolerance_basis"] == NOT_MEASURED for row in shared.rows):
        typer.echo("tolerances of trained systems are not measured; --seeds 3 measures them")
    needed = "".join(f" --data {name}=FILE" for name in shared.left_out)
    typer.echo(f"to repeat it: recipekit reproduce {shlex.quote(shared.destination)}{needed}")
