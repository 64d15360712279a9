"""`recipekit cache`: what the cache holds, and removing what no run needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recipekit.artifacts.store import Store
    from recipekit.pipeline.remote_indices import RemoteUse
    from recipekit.recipe.sections import Recipe

__all__ = ["cache", "gc", "ls"]

Cache = Annotated[Path, typer.Option("--cache", help="The cache's folder.")]
Servers = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="Look also on the servers that this recipe's retrievers name, with its credentials.",
    ),
]
LocalCode = Annotated[
    bool, typer.Option("--allow-local-code", help="Let that recipe name components in local files.")
]
Runs = Annotated[Path, typer.Option("--runs", help="The folder of the runs.")]

cache = typer.Typer(
    help="List what the cache holds, or remove what no run needs.", no_args_is_help=True
)


@cache.command()
def ls(
    cache: Cache = Path(".recipekit"),
    runs: Runs = Path("runs"),
    recipe: Servers = None,
    allow_local_code: LocalCode = False,
) -> None:
    """List artifacts: stage, key, size, when it was made, by which recipe, and whether a run needs
    it.

    With --recipe, also what recipekit made on that recipe's servers.
    """
    from recipekit.pipeline.garbage import needed
    from recipekit.pipeline.remote_indices import remote_uses
    from recipekit.report.numbers import size

    store = _store(cache)
    roots = needed(store, runs)
    total = 0
    for artifact in store.all():
        manifest = artifact.manifest
        held = artifact.size()
        total += held
        need = "needed" if (artifact.stage, artifact.key) in roots else "free"
        made = f"{manifest['created'][:16]}  {need:<6}  {manifest.get('recipe', '')}"
        typer.echo(f"{artifact.stage:<11} {artifact.key[:12]}  {size(held):>9}  {made}".rstrip())
    typer.echo(f"{size(total)} in all")
    if recipe:
        for use in remote_uses(_load(recipe, allow_local_code), store, runs):
            typer.echo(f"{_shown(use)}  {use.index.rows:,} passages  {use.state}")


def _store(folder: Path) -> Store:
    """The cache, or a word that there is none, which is no error: nothing was made yet, or it
    stands elsewhere.
    """
    from recipekit.artifacts.store import Store

    if not folder.exists():
        typer.echo(f"{folder}: no cache is here (--cache names another)", err=True)
    return Store(folder)


def _load(recipe: str, allow_local_code: bool) -> Recipe:
    from recipekit.stages.recipe import load_recipe

    return load_recipe(recipe, (), allow_local_code=allow_local_code)


def _shown(use: RemoteUse) -> str:
    from recipekit.report.numbers import size

    return f"{use.remote.server}: {use.index.name}" + (
        f"  {size(use.index.bytes)}" if use.index.bytes else ""
    )


@cache.command()
def gc(
    cache: Cache = Path(".recipekit"),
    runs: Runs = Path("runs"),
    keep_runs: Annotated[
        int | None,
        typer.Option(help="Of every recipe, let only its newest N runs keep artifacts.", min=0),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    recipe: Servers = None,
    allow_local_code: LocalCode = False,
) -> None:
    """Remove artifacts that no run needs, and unfinished work that nobody is at.

    With --recipe, also what this cache made on that recipe's servers of passages that no run needs.
    """
    from recipekit.pipeline.garbage import collect_garbage
    from recipekit.pipeline.remote_indices import collect_remote_garbage
    from recipekit.report.numbers import size

    store, freed, verb = _store(cache), 0, "would remove" if dry_run else "removed"
    if recipe:
        loaded = _load(recipe, allow_local_code)
        for use in collect_remote_garbage(
            loaded, store, runs, keep_runs=keep_runs, dry_run=dry_run
        ):
            typer.echo(f"{verb} {_shown(use)}")
    for path, held in collect_garbage(store, runs, keep_runs=keep_runs, dry_run=dry_run):
        typer.echo(f"{verb} {path} ({size(held)})")
        freed += held
    typer.echo(f"{size(freed)} {'would be freed' if dry_run else 'freed'}")
