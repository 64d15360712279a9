"""`recipekit cache`: list cached artifacts, and remove those that no run needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipekit.cli.completion import complete_recipe
from recipekit.cli.help import Command, CommandGroup
from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.options import Cache, Runs

if TYPE_CHECKING:
    from recipekit.artifacts.store import Artifact, Store
    from recipekit.pipeline.project import Project
    from recipekit.pipeline.remote_indices import RemoteUse
    from recipekit.recipe.sections import Recipe
    from recipekit.report.blocks import Block

__all__ = ["cache", "gc", "ls"]

Servers = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="Use this recipe's project, and include the servers that its retrievers use.",
        autocompletion=complete_recipe,
    ),
]
LocalCode = Annotated[
    bool,
    typer.Option("--allow-local-code", help="Allow that recipe's components in local files."),
]

cache = typer.Typer(
    cls=CommandGroup,
    help="List cached artifacts, or remove those that no run needs.",
    no_args_is_help=True,
)


@cache.command(cls=Command, short_help="List artifacts, and whether a run needs them.")
def ls(
    cache: Cache = None,
    runs: Runs = None,
    recipe: Servers = None,
    allow_local_code: LocalCode = False,
    as_json: AsJson = False,
) -> None:
    """List cached artifacts, and whether a run needs them.

    With --recipe, also list the indices that recipekit created on that recipe's servers.
    """
    from recipekit.pipeline.remote_indices import remote_uses
    from recipekit.report.terminal import print_blocks

    project = _project(recipe, cache, runs)
    store, runs = _store(project), project.runs
    artifacts = _artifacts(store, runs)
    uses = None
    if recipe:
        uses = list(remote_uses(_load(recipe, allow_local_code), store, runs))
    if as_json:
        total = sum(found["bytes"] for found in artifacts)
        values = {"cache": str(store.root.absolute()), "bytes": total, "artifacts": artifacts}
        print_json({**values, "indices": [_remote_values(use) for use in uses or ()]})
        return
    print_blocks(_listing(artifacts, uses))


def _artifacts(store: Store, runs: Path) -> list[dict[str, Any]]:
    """Every artifact of a cache, whether a run needs it, and what unfinished ones have."""
    from recipekit.pipeline.garbage import needed

    roots = needed(store, runs)
    finished = [
        {
            "artifact": artifact.stage,
            "key": artifact.key,
            "created": artifact.manifest["created"],
            "state": "needed" if (artifact.stage, artifact.key) in roots else "free",
            "recipe": artifact.manifest.get("recipe"),
            "bytes": artifact.size(),
            "kept": [],
        }
        for artifact in store.all()
    ]
    return [*finished, *map(_unfinished, store.all_partial())]


def _unfinished(artifact: Artifact) -> dict[str, Any]:
    """An unfinished artifact, with what it has for the next attempt."""
    from datetime import UTC, datetime

    from recipekit.stages import PIPELINE

    describe = {stage.name: stage.unfinished for stage in PIPELINE}.get(artifact.stage)
    changed = datetime.fromtimestamp(artifact.path.stat().st_mtime, UTC)
    return {
        "artifact": artifact.stage,
        "key": artifact.key,
        "created": changed.isoformat(timespec="seconds"),
        "state": "unfinished",
        "recipe": None,
        "bytes": artifact.size(),
        "kept": list(describe(artifact.path)) if describe else [],
    }


def _remote_values(use: RemoteUse) -> dict[str, Any]:
    return {
        "server": use.remote.server,
        "index": use.index.name,
        "state": use.state,
        "passages": use.index.rows,
        "bytes": use.index.bytes or None,
    }


def _listing(
    artifacts: Sequence[Mapping[str, Any]], uses: Sequence[RemoteUse] | None
) -> list[Block]:
    """The artifacts and their total size, and the indices on servers if those were asked for."""
    from recipekit.report.blocks import Table, Text
    from recipekit.report.numbers import size

    rows = [
        [
            found["artifact"],
            found["key"][:8],
            found["created"][:10],
            found["state"],
            found["recipe"] or "",
            size(found["bytes"]),
        ]
        for found in artifacts
    ]
    header = ["artifact", "key", "created", "state", "recipe", "size"]
    blocks: list[Block] = [Table(header, rows, left=5)] if rows else []
    for found in artifacts:
        if found["kept"]:
            kept = " and ".join(found["kept"])
            blocks.append(Text(f"{found['artifact']} {found['key'][:8]} continues with {kept}."))
    blocks.append(Text(f"{size(sum(found['bytes'] for found in artifacts))} in total"))
    if uses is not None:
        remote = [
            [use.remote.server, use.index.name, use.state, f"{use.index.rows:,}", _bytes(use)]
            for use in uses
        ]
        header = ["server", "index", "state", "passages", "size"]
        blocks.append(Table(header, remote, left=3) if remote else Text("no index on its servers"))
    return blocks


def _project(recipe: str | None, cache: Path | None, runs: Path | None) -> Project:
    """The project of a recipe, or else of the current folder."""
    from recipekit.pipeline.project import find_project, project_of_file

    if recipe is None:
        return find_project(cache=cache, runs=runs)
    return project_of_file(recipe, cache=cache, runs=runs)


def _store(project: Project) -> Store:
    """The cache; a hint on stderr if there is none, since it may be in another folder."""
    from recipekit.artifacts.store import Store

    store = Store(project.cache)
    if not project.cache.exists():
        message = f"{project.cache}: there is no cache here (--cache names another folder)"
        typer.echo(message, err=True)
    return store


def _load(recipe: str, allow_local_code: bool) -> Recipe:
    from recipekit.stages.recipe import load_recipe

    return load_recipe(recipe, (), allow_local_code=allow_local_code)


def _bytes(use: RemoteUse) -> str:
    from recipekit.report.numbers import size

    return size(use.index.bytes) if use.index.bytes else ""


@cache.command(cls=Command, short_help="Remove artifacts that no run needs.")
def gc(
    cache: Cache = None,
    runs: Runs = None,
    keep_runs: Annotated[
        int | None,
        typer.Option(help="Keep only what the newest N runs of each recipe need.", min=0),
    ] = None,
    unfinished: Annotated[
        bool,
        typer.Option("--unfinished", help="Also remove what interrupted runs would resume from."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")
    ] = False,
    recipe: Servers = None,
    allow_local_code: LocalCode = False,
) -> None:
    """Remove artifacts and partial work that no run needs.

    The checkpoints and other partial work from which an interrupted run resumes are kept.

    With --recipe, also remove the indices that this cache created on that recipe's servers, if no
    run needs their passages.
    """
    from recipekit.pipeline.garbage import collect_garbage
    from recipekit.pipeline.remote_indices import collect_remote_garbage
    from recipekit.report.numbers import size

    project = _project(recipe, cache, runs)
    store, runs, freed = _store(project), project.runs, 0
    verb = "would remove" if dry_run else "removed"
    if recipe:
        loaded = _load(recipe, allow_local_code)
        for use in collect_remote_garbage(
            loaded, store, runs, keep_runs=keep_runs, dry_run=dry_run
        ):
            amount = f" ({_bytes(use)})" if use.index.bytes else ""
            typer.echo(f"{verb} {use.remote.server}: {use.index.name}{amount}")
    for path, bytes_ in collect_garbage(
        store, runs, keep_runs=keep_runs, unfinished=unfinished, dry_run=dry_run
    ):
        typer.echo(f"{verb} {path} ({size(bytes_)})")
        freed += bytes_
    typer.echo(f"{size(freed)} {'would be freed' if dry_run else 'freed'}")
