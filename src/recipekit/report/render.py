"""A run's report.

`report.md` for people, `metrics.json` for programs, and a summary for the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recipekit.artifacts.store import write_json
from recipekit.report.folder import RunFolder, open_run
from recipekit.report.llm_calls import spent_told, trust_told
from recipekit.report.markdown import escape
from recipekit.report.metrics import comparisons, metrics_text
from recipekit.report.sections import SECTIONS
from recipekit.report.sentences import false_negatives_told, kept_untrained, without_answer

__all__ = ["render", "terminal_summary", "write_report"]


def render(run: Path) -> str:
    """The report of a run's folder, as Markdown. What the run did not come to is left out.

    Raises:
        StoreError: No run is there.
    """
    folder = open_run(run)
    blocks = list(_head(folder))
    for heading, section in SECTIONS:
        text = section(folder)
        if text:
            blocks += [f"## {heading}", text]
    return "\n\n".join(blocks) + "\n"


def write_report(run: Path, text: str | None = None) -> None:
    """Write `report.md` (`text`, if it is rendered already), and `metrics.json` if something was
    measured, into a run's folder.

    Raises:
        StoreError: No run is there.
    """
    folder = open_run(run)
    if folder.metrics:
        write_json(run / "metrics.json", folder.metrics)
    temporary = run / ".report.md.tmp"
    temporary.write_text(render(run) if text is None else text, encoding="utf-8")
    temporary.replace(run / "report.md")


def terminal_summary(run: Path) -> str:
    """What a run prints at its end: metrics, differences, false negatives, notes on judging, and
    where things are.

    Raises:
        StoreError: No run is there.
    """
    folder = open_run(run)
    blocks = [metrics_text(comparison) for comparison in comparisons(folder.metrics)]
    kept = kept_untrained(folder)
    return "\n".join(
        [
            *(f"\n{block}" for block in blocks),
            "",
            *([f"note: {kept}"] if kept else ()),
            *_found(folder),
            *_places(folder),
        ]
    )


def _head(folder: RunFolder) -> Iterator[str]:
    yield f"# {escape(folder.name)}"
    if description := str(folder.recipe.get("description") or ""):
        yield escape(description)
    run = folder.run
    times = [
        f"Started {run['started']}" if run.get("started") else "",
        f"ended {run['finished']}" if run.get("finished") else "",
    ]
    status = str(run.get("status") or "")
    told = ", ".join(filter(None, times))
    if told:
        yield f"{escape(told)}."
    if status not in ("", "finished"):
        reached = ", ".join(folder.manifests) or "none"
        why = f" {escape(str(run['reason']))}" if run.get("reason") else ""
        verb = {
            "failed": "failed",
            "interrupted": "was interrupted",
            "running": "is running, or was killed",
        }.get(status, f"is {status}")
        yield f"**This run {escape(verb)}.**{why}\n\nFinished stages: {reached}."


def _found(folder: RunFolder) -> Iterator[str]:
    if told := false_negatives_told(folder.summary("judge").get("false_negatives") or {}):
        yield told
    yield from filter(None, (trust_told(folder), spent_told(folder)))
    for told in without_answer(folder.summary("judge").get("judges") or {}):
        yield f"note: {told}; `recipekit run --from judge` asks for these anew"
    yield from (f"note: {note}" for note in folder.summary("judge").get("notes") or ())


def _places(folder: RunFolder) -> Iterator[str]:
    if (folder.path / "report.md").is_file():
        yield f"report: {folder.path / 'report.md'}"
    for path in folder.exports:
        yield f"{path.name}: {path}"
    if not folder.exports and "train" in folder.manifests:
        yield f"trained encoder: {folder.path / 'stages' / 'train' / 'encoder'}"
