"""`recipekit cache`: what the cache holds, and removing what no run needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["cache", "gc", "ls"]

Cache = Annotated[Path, typer.Option("--cache", help="The cache's folder.")]
Runs = Annotated[Path, typer.Option("--runs", help="The folder of the runs.")]

cache = typer.Typer(help="List what the cache holds, or remove what no run needs.", no_args_is_help=True)


@cache.command()
def ls(cache: Cache = Path(".recipekit"), runs: Runs = Path("runs")) -> None:
    """List artifacts: stage, key, size, when it was made, by which recipe, and whether a run needs it."""
    from recipekit.artifacts.store import Store
    from recipekit.report.numbers import size
    from recipekit.runner.garbage import needed

    store = Store(cache)
    roots = needed(store, runs)
    total = 0
    for artifact in store.all():
        manifest = artifact.manifest
        held = artifact.size()
        total += held
        need = "needed" if (artifact.stage, artifact.key) in roots else "free"
        made = f"{manifest['made'][:16]}  {need:<6}  {manifest.get('recipe', '')}"
        typer.echo(f"{artifact.stage:<11} {artifact.key[:12]}  {size(held):>9}  {made}".rstrip())
    typer.echo(f"{size(total)} in all")


@cache.command()
def gc(
    cache: Cache = Path(".recipekit"),
    runs: Runs = Path("runs"),
    keep_runs: Annotated[int | None, typer.Option(help="Of every recipe, let only its newest N runs keep artifacts.", min=0)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove artifacts that no run needs, and unfinished work that nobody is at."""
    from recipekit.artifacts.store import Store
    from recipekit.report.numbers import size
    from recipekit.runner.garbage import collect_garbage

    freed = 0
    for path, held in collect_garbage(Store(cache), runs, keep_runs=keep_runs, dry_run=dry_run):
        typer.echo(f"{'would remove' if dry_run else 'removed'} {path} ({size(held)})")
        freed += held
    typer.echo(f"{size(freed)} {'would be freed' if dry_run else 'freed'}")
