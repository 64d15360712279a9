"""`recipekit init`: write a first recipe."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer

from recipekit.cli.completion import complete_source

if TYPE_CHECKING:
    from recipekit.starter.data import DataSample, FoundSource, SourceName

__all__ = ["init"]

SOURCES: Final = ("pairs", "beir", "python_code")
RECIPE_SUFFIXES: Final = (".yaml", ".yml")


def _source(name: str | None) -> str | None:
    if name is not None and name not in SOURCES:
        from recipekit.suggestions import did_you_mean

        advice = did_you_mean(name, SOURCES) or f" Expected {', '.join(SOURCES)}."
        raise typer.BadParameter(f"'{name}' is not a source that init supports.{advice}")
    return name


def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path(
        "recipe.yaml"
    ),
    data: Annotated[
        Path | None,
        typer.Option(
            help="A .csv, .tsv, .jsonl or .parquet file, a folder in BEIR layout, or a folder of "
            "Python code. Default: the standard library of this Python."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="The kind of source: pairs, beir or python_code. Default: detected from the data.",
            callback=_source,
            metavar="NAME",
            autocompletion=complete_source,
        ),
    ] = None,
    query: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of queries in a file.")
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column of passages that answer the queries."),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="A language model that judges, such as openai/gpt-5-nano."
        ),
    ] = None,
    api_base: Annotated[
        str | None, typer.Option(metavar="URL", help="The address of the language model's server.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing .yaml file.")] = False,
) -> None:
    """Write a commented recipe that runs on your data, as a starting point.

    The kind of source and the columns are guessed from the data.
    """
    from recipekit.starter.data import read_sample
    from recipekit.starter.judge_section import choose_llm
    from recipekit.starter.template import starter

    _check_target(path, force=force)
    if data is None and source not in (None, "python_code"):
        raise typer.BadParameter(f"--source {source} needs --data", param_hint="--data")
    if api_base is not None and llm is None:
        raise typer.BadParameter("needs --llm", param_hint="--api-base")
    data = None if data is None else data.expanduser()
    found = _found_source(data, source, query, positive)
    if found.roles is None and (query or positive):
        raise typer.BadParameter(f"the source {found.use} has no columns", param_hint="--query")
    sample = read_sample(found)
    name = path.absolute().parent.name if path.stem == "recipe" else path.stem
    relative = None if data is None else os.path.relpath(data, path.parent)
    judge = None if llm is None else choose_llm(llm, api_base)
    _write(path, starter(name, found, sample, relative, judge))
    for note in (_label_note(found), judge and judge.note):
        if note:
            typer.echo(f"note: {note}", err=True)
    typer.echo(f"wrote {path}: {_summary(found, data, sample)}")
    typer.echo(f"next: recipekit plan {path}, then recipekit run {path}")


def _found_source(
    data: Path | None, source: str | None, query: str | None, positive: str | None
) -> FoundSource:
    """Find the source that reads the data; errors name the options that help."""
    from recipekit.starter.columns import UnclearColumnsError
    from recipekit.starter.data import UnreadableFolderError, find_source

    try:
        return find_source(data, _as_name(source), query=query, positive=positive)
    except UnclearColumnsError as error:
        options = " and ".join(f"--{key} COLUMN" for key in error.missing)
        raise error.with_message(f"{error}; use {options}") from error
    except UnreadableFolderError as error:
        raise error.with_option("--data") from None


def _as_name(source: str | None) -> SourceName | None:
    from recipekit.starter.data import SourceName

    return next((name for name in get_args(SourceName) if name == source), None)


def _check_target(path: Path, *, force: bool) -> None:
    """Check that a file can be written, before data is read, which can take long."""
    from recipekit.errors import StoreError
    from recipekit.starter.data import data_at

    if (data := data_at(path)) is not None:
        command = f"recipekit init --data {shlex.quote(str(data))}"
        raise StoreError(f"{path} is data: {command}", code="RK508")
    if path.is_dir():
        raise StoreError(
            f"{path}: is a folder; name a file, such as {path / 'recipe.yaml'}", code="RK507"
        )
    is_recipe = path.suffix in RECIPE_SUFFIXES
    if path.exists() and not (force and is_recipe):
        advice = "--force replaces it" if is_recipe else "name a .yaml file"
        raise StoreError(f"{path}: already exists; {advice}", code="RK503")
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    is_broken_link = path.is_symlink() and existing != path
    if (is_broken_link and not force) or not (existing == path or existing.is_dir()):
        why = "it is a broken link" if is_broken_link else f"{path.parent} is not a folder"
        raise StoreError(f"{path}: cannot be written ({why})", code="RK502")
    if not os.access(existing, os.W_OK):
        raise StoreError(f"{path}: cannot be written (Permission denied)", code="RK502")


def _write(path: Path, text: str) -> None:
    from recipekit.errors import StoreError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})", code="RK502") from error


def _summary(found: FoundSource, data: Path | None, sample: DataSample) -> str:
    """What the recipe reads: `pairs from faq.csv, query 'question', positive 'answer'`."""
    parts = [f"{found.use} from {data or 'the standard library of Python'}"]
    if found.roles is not None:
        parts += [f"query '{found.roles.query}'", f"positive '{found.roles.positive}'"]
    if sample.complete:
        parts.append(f"{len(sample.queries):,} queries")
    return ", ".join(parts)


def _label_note(found: FoundSource) -> str | None:
    roles = found.roles
    if roles is None or roles.unused_label is None:
        return None
    return (
        f"every row counts as relevant: the column '{roles.unused_label}' does not hold whole "
        "grades from 0 to 10, and is not used (see `label` and `min_positive_grade` in `recipekit "
        "components source pairs`)"
    )
