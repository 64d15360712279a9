"""How the report describes exported models and data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recipekit.report.blocks import Block, Code, Span, StageReport, Strong, Text, join, spans
from recipekit.report.counts import rows_table
from recipekit.report.numbers import plural, size
from recipekit.report.paths import path_from_here
from recipekit.report.run_folder import RunFolder

__all__ = ["describe"]


def describe(run: RunFolder) -> StageReport:
    """Describe the folders that the exporters wrote."""
    folders = dict(_folders(run))
    if not folders:
        return StageReport(details=list(_failures(run)))
    written = join([Code(str(folder)) for folder in folders.values()])
    copied: tuple[Span, ...] = ()
    if copy := run.run.get("exported_to"):
        copied = (", and copied the exports to ", Code(str(copy)))
        folders = {name: path_from_here(Path(copy) / name) for name in folders}
    return StageReport(
        sentence=("Wrote ", *spans(written), *copied, "."),
        details=[*_failures(run), *_details(run)],
        at_end=[Text((f"{name}: ", Code(str(folder)))) for name, folder in folders.items()],
    )


def _folders(run: RunFolder) -> Iterator[tuple[str, Path]]:
    for name in run.section("export").get("exporters") or {}:
        if folder := run.file("export", name):
            yield name, folder


def _failures(run: RunFolder) -> Iterator[Block]:
    for name, counts in run.summary("export").items():
        if "failed" in counts:
            yield Text((Strong("Failed:"), " ", Code(name), f": {counts['failed']}."))


def _details(run: RunFolder) -> Iterator[Block]:
    for name, counts in run.summary("export").items():
        files = {file: {"rows": rows} for file, rows in (counts.get("rows") or {}).items()}
        if table := rows_table(files, name="file", title=f"Files of {name}"):
            yield table
        elif "bytes" in counts:
            yield Text(
                (Code(name), f": {plural(counts['files'], 'file')}, {size(counts['bytes'])}.")
            )
