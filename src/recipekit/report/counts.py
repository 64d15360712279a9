"""What the stages counted, from their summaries: any JSON becomes readable tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recipekit.report.markdown import escape, table
from recipekit.report.numbers import figure

__all__ = ["arranged", "render_counts"]

Summary = Mapping[str, Any]


def arranged(stage: str, summary: Summary) -> dict[str, Any]:
    """A stage's summary with what belongs together side by side.

    mine: the fused list's recall stands below the retrievers'. judge: verdicts by rank are a table
        per judge. train: shares of
    truncated texts are in percent.
    """
    told = dict(summary)
    if stage == "mine" and isinstance(told.get("recall"), Mapping):
        recall = dict(told.pop("recall"))
        lists = {**(recall.pop("retrievers", None) or {}), **recall}
        told["recall of the source positives by depth"] = {
            name: at for name, at in lists.items() if at
        }
    if stage == "judge" and isinstance(told.get("judges"), Mapping):
        judges = {name: dict(counts) for name, counts in told.pop("judges").items()}
        bands = {name: counts.pop("by_rank", None) for name, counts in judges.items()}
        for counts in judges.values():
            counts.pop("counts", None)  # what a judge counted itself has a section of its own
        told["judges"] = judges
        told |= {
            f"verdicts of {name} by rank of the candidate": by_rank
            for name, by_rank in bands.items()
            if by_rank
        }
    if stage == "train" and isinstance(told.get("truncated"), Mapping):
        told["truncated"] = {
            f"{side} texts": f"{100 * share:.1f} %" for side, share in told["truncated"].items()
        }
    return told


def render_counts(summary: Summary, *, hide: Sequence[str] = ()) -> str:
    """A summary as Markdown: its single figures in one table, each table in it as one of its own.

    A mapping of mappings is a table (recall by retriever and depth, verdicts by judge), as is a
    list of mappings; what is nested deeper is written into the names of the columns.
    """
    figures = list(_figures({name: value for name, value in summary.items() if name not in hide}))
    blocks = (
        [table(["", ""], [[escape(label), value] for label, value in figures])] if figures else []
    )
    for name, value in summary.items():
        if name not in hide and _is_table(value):
            blocks += [f"**{escape(_titled(name))}**", _table(value)]
    return "\n\n".join(blocks)


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _titled(name: str) -> str:
    words = _words(name)
    return words[:1].upper() + words[1:]


def _is_table(value: Any) -> bool:
    """Whether a value is a mapping of mappings or a list of mappings."""
    items = (
        list(value.values())
        if isinstance(value, Mapping)
        else value
        if isinstance(value, list | tuple)
        else []
    )
    return bool(items) and all(isinstance(item, Mapping) for item in items)


def _figures(summary: Summary, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Single figures, and those of a mapping of figures, with the mapping's name before theirs."""
    for name, value in summary.items():
        label = f"{prefix}{_words(name)}"
        if isinstance(value, Mapping) and not _is_table(value):
            yield from _figures(value, f"{label}: ")
        elif not isinstance(value, Mapping) and not _is_table(value):
            yield label, _cell(value)


def _table(value: Any) -> str:
    rows = _rows(value)
    header = list(dict.fromkeys(name for _, cells in rows for name in cells))
    body = [[escape(label), *(cells.get(name, "") for name in header)] for label, cells in rows]
    if isinstance(value, Mapping):
        return table(["", *map(escape, header)], body)
    return table(list(map(escape, header)), [cells[1:] for cells in body])


def _rows(value: Any) -> list[tuple[str, dict[str, str]]]:
    items = value.items() if isinstance(value, Mapping) else [("", item) for item in value]
    return [(_words(label), dict(_flat(item))) for label, item in items]


def _flat(value: Summary, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A mapping's leaves, deeper ones with the names of their mappings before theirs."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{_words(name)} ")
        else:
            yield f"{prefix}{_words(name)}", _cell(item)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return escape(", ".join(figure(item) for item in value)) or "-"
    return escape(figure(value))
