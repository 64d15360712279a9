"""The report of a run: every stage describes its own artifact, the rest comes from the run itself.

`write_report` writes `report.html` and `report.md` for people and `metrics.json` for programs. The
report is read only from the run's folder, without loading the recipe or its components.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from recipekit.artifacts.store import write_json
from recipekit.report.blocks import (
    Block,
    Bullets,
    Code,
    Figure,
    Line,
    Listing,
    ReportSection,
    StageReport,
    Strong,
    Table,
    Text,
    join,
    spans,
)
from recipekit.report.html import render_html
from recipekit.report.markdown import render_markdown
from recipekit.report.numbers import duration, figure, size, timestamp, usd
from recipekit.report.run_folder import RunFolder, open_run
from recipekit.report.svg import can_draw, write_figures
from recipekit.stages import PIPELINE

__all__ = [
    "closing_blocks",
    "read_blocks",
    "render_report",
    "report_values",
    "write_blocks",
    "write_report",
]

MAX_WARNINGS: Final = 50
FIGURES: Final = "figures"
"""The folder of the figures in a run's folder."""

ENDED: Final = {
    "failed": "This run failed.",
    "interrupted": "This run was interrupted.",
    "killed": "This run was killed.",
    "running": "This run is still running.",
}


def render_report(path: Path) -> str:
    """The report of a run's folder as Markdown.

    Raises:
        StoreError: The folder is not a run, or one of its files is damaged.
    """
    return _markdown(read_blocks(path))


def _markdown(blocks: Sequence[Block]) -> str:
    return render_markdown(blocks, figures=FIGURES if can_draw() else "")


def write_report(path: Path) -> None:
    """Write the report and, if measured, `metrics.json` into a run's folder.

    The report is `report.html`, which is complete in itself, and `report.md` with its `figures/`.

    Raises:
        OSError: The folder cannot be written to.
        StoreError: The folder is not a run, or one of its files is damaged.
    """
    run = _open(path)
    for stage in run.manifests:
        if metrics := run.json(stage, "metrics.json", list):
            write_json(path / "metrics.json", metrics)
    write_blocks(read_blocks(path), run.name, path)


def write_blocks(blocks: Sequence[Block], title: str, folder: Path) -> None:
    """Write a report into a folder: `report.html`, `report.md` and `figures/`.

    Raises:
        OSError: The folder cannot be written to.
    """
    drawings = write_figures(blocks, folder / FIGURES)
    _replace(folder / "report.html", render_html(blocks, title=title, drawings=drawings))
    _replace(folder / "report.md", _markdown(blocks))


def _replace(file: Path, text: str) -> None:
    """Write a file so that a reader never sees half of it."""
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)


def report_values(path: Path) -> dict[str, Any]:
    """The facts of a run as JSON values: how it ended, what each stage made, and the metrics.

    Raises:
        StoreError: The folder is not a run, or one of its files is damaged.
    """
    run = _open(path)
    metrics: list[Any] = []
    for stage in run.manifests:
        metrics = run.json(stage, "metrics.json", list) or metrics
    return {
        "run": str(path.resolve()),
        "recipe": run.name,
        "status": run.run.get("status"),
        "reason": run.run.get("reason"),
        "started": run.run.get("started"),
        "finished": run.run.get("finished"),
        "command": run.run.get("command"),
        "stages": [_stage_values(run, stage) for stage in run.manifests],
        "metrics": metrics,
        "warnings": list(_warning_lines(run)),
    }


def _stage_values(run: RunFolder, stage: str) -> dict[str, Any]:
    manifest = run.manifests[stage]
    return {
        "stage": stage,
        "key": manifest.get("key"),
        "cached": run.reused(stage),
        "created": manifest.get("created"),
        "seconds": manifest.get("seconds"),
        "peak_bytes": manifest.get("peak_bytes"),
        "device": manifest.get("device"),
        "summary": run.summary(stage),
    }


def closing_blocks(path: Path) -> list[Block]:
    """What a run prints when it finishes: results, notes, and where the files are.

    Raises:
        StoreError: The folder is not a run, or one of its files is damaged.
    """
    run = _open(path)
    blocks = [block for report in _stage_reports(run).values() for block in report.at_end]
    if (path / "report.html").is_file():
        blocks.append(Text(("report: ", Code(str(path / "report.html")))))
    return _tables_first(blocks)


def read_blocks(path: Path) -> list[Block]:
    """The blocks of a run's report. Stages that did not finish are left out.

    Raises:
        StoreError: The folder is not a run, or one of its files is damaged.
    """
    run = _open(path)
    stages = _stage_reports(run)
    results = [block for stage in stages.values() for block in stage.results]
    sections = [
        ReportSection("What was done", _sentences(stages)),
        ReportSection("Results", _tables_first(results)),
        *(ReportSection(name.capitalize(), stage.details) for name, stage in stages.items()),
        ReportSection("Time, memory and cost", list(_resources(run))),
        ReportSection("Warnings", list(_warnings(run))),
        ReportSection("Versions", list(_versions(run))),
        ReportSection("How to repeat this run", list(_repeat(run))),
    ]
    shown = [section for section in sections if section.blocks]
    return [ReportSection(run.name, [*_head(run, stages), *shown])]


def _open(path: Path) -> RunFolder:
    return open_run(path, [stage.name for stage in PIPELINE])


def _stage_reports(run: RunFolder) -> dict[str, StageReport]:
    return {stage.name: stage.describe(run) for stage in PIPELINE if stage.describe}


def _tables_first(blocks: Sequence[Block]) -> list[Block]:
    """Notes of earlier stages come after the tables of later ones that they comment on."""
    return sorted(blocks, key=lambda block: isinstance(block, Text))


def _head(run: RunFolder, stages: Mapping[str, StageReport]) -> Iterator[Block]:
    if description := str(run.recipe.get("description") or ""):
        yield Text(description)
    for stage in stages.values():
        if stage.headline:
            yield stage.headline
    times = [
        f"started {timestamp(run.run['started'])}" if run.run.get("started") else "",
        f"finished {timestamp(run.run['finished'])}" if run.run.get("finished") else "",
    ]
    if known := ", ".join(filter(None, times)):
        yield Text(f"{known[0].upper()}{known[1:]}.")
    status = str(run.run.get("status") or "")
    if status not in ("", "finished"):
        reason = f" {run.run['reason']}" if run.run.get("reason") else ""
        yield Text((Strong(ENDED.get(status, f"This run is {status}.")), reason))
        yield Text(f"Finished stages: {', '.join(run.manifests) or 'none'}.")


def _sentences(stages: Mapping[str, StageReport]) -> list[Block]:
    sentences = [stage.sentence for stage in stages.values() if stage.sentence]
    return [Bullets(sentences, ordered=True)] if sentences else []


def _resources(run: RunFolder) -> Iterator[Block]:
    """Time, memory, hardware and cost of every stage."""
    seconds = {stage: manifest.get("seconds") for stage, manifest in run.manifests.items()}
    costs = {stage: (run.summary(stage).get("spent") or {}).get("usd") for stage in run.manifests}
    yield from _bars("Time by stage", seconds, duration)
    yield from _bars("Cost by stage", costs, usd)
    spends = any(run.summary(stage).get("spent") for stage in run.manifests)
    header = ["stage", "time", "peak memory", "processes", "device", "made by"]
    rows: list[list[Line]] = []
    for stage, manifest in run.manifests.items():
        made = "this run"
        if run.reused(stage):
            made = f"an earlier run, {timestamp(manifest.get('created', ''))}"
        time, memory = duration(manifest.get("seconds")), size(manifest.get("peak_bytes"))
        ranks, device = str(manifest.get("ranks", 1)), str(manifest.get("device") or "")
        cost = _cost(run.summary(stage).get("spent")) if spends else []
        rows.append([stage, time, memory, ranks, device, made, *cost])
    if rows:
        yield Table([*header, *(["calls", "cost"] if spends else [])], rows)


def _bars(
    title: str, amounts: Mapping[str, float | None], text: Callable[[float], str]
) -> Iterator[Figure]:
    """A bar for each stage with an amount, unless there is nothing to compare."""
    known = {stage: amount for stage, amount in amounts.items() if amount}
    if len(known) > 1:
        yield Figure(
            title,
            "",
            {title: [(float(at), amount) for at, amount in enumerate(known.values())]},
            Table([], []),
            kind="bars",
            categories=list(known),
            values=list(map(text, known.values())),
        )


def _cost(spent: Mapping[str, Any] | None) -> list[str]:
    return [figure(spent["calls"]), usd(spent["usd"])] if spent else ["", ""]


def _warning_lines(run: RunFolder) -> dict[str, None]:
    return dict.fromkeys(
        f"{stage}: {event.get('message', '')}"
        for stage in run.manifests
        for event in run.events(stage, "warning")
    )


def _warnings(run: RunFolder) -> Iterator[Bullets]:
    if lines := _warning_lines(run):
        yield Bullets(list(islice(lines, MAX_WARNINGS)))


def _versions(run: RunFolder) -> Iterator[Text]:
    """The versions that made the artifacts; several, if different runs made them."""
    versions: dict[str, list[str]] = {}
    for manifest in run.manifests.values():
        for name, version in (manifest.get("versions") or {}).items():
            if version not in versions.setdefault(name, []):
                versions[name].append(version)
    if versions:
        yield Text(", ".join(f"{name} {' and '.join(found)}" for name, found in versions.items()))


def _repeat(run: RunFolder) -> Iterator[Block]:
    if command := run.run.get("command"):
        yield Listing(command, "sh")
    resolved = run.path / "recipe.resolved.yaml"
    if resolved.is_file():
        again = f"recipekit run {shlex.quote(str(resolved))}"
        yield Text(("With every default and override written out: ", Code(again), "."))
    facts: list[Line] = []
    if recipe := run.run.get("recipe"):
        facts.append(("recipe ", Code(str(recipe))))
    seed = run.run.get("seed", run.recipe.get("seed"))
    if seed is not None:
        facts.append(f"seed {seed}")
    for stage, manifest in run.manifests.items():
        facts.append((f"{stage} ", Code(str(manifest.get("key", ""))[:12])))
    yield Text(("Inputs and artifacts: ", *spans(join(facts)), "."))
