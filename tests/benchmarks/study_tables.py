"""Markdown tables of the finished rows of `study_hidden_positives.py`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["candidates_table", "judged_table", "trained_table"]


def mean_and_spread(values: Sequence[float], digits: int = 3) -> str:
    """The mean over seeds, with their minimum and maximum."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return (
        mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"
    )


def markdown(header: Sequence[str], body: Iterable[Sequence[str]], left: int = 2) -> str:
    lines = [header, ["---"] * left + ["--:"] * (len(header) - left), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def candidates_table(found: Sequence[Mapping[str, Any]]) -> str:
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in found:
        groups.setdefault((row["scheme"], row["depth"]), []).append(row)
    lists = list(dict.fromkeys(name for row in found for name in row["recall"]))
    body = [
        [
            scheme,
            str(depth),
            *(mean_and_spread([row["recall"][name] for row in group]) for name in lists),
        ]
        for (scheme, depth), group in sorted(groups.items())
    ]
    return markdown(["kept", "depth", *lists], body)


def judged_table(found: Sequence[Mapping[str, Any]], systems: Sequence[str]) -> str:
    """Recall and precision of hidden positives per scheme, depth and judge."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in found:
        if "judged" in row:
            groups.setdefault(
                (row["scheme"], row["depth"], row["system"], row["error"]), []
            ).append(row["judged"])
    body = []
    order = sorted(
        groups.items(),
        key=lambda item: (item[0][0], item[0][1], systems.index(item[0][2]), item[0][3] or 0),
    )
    for (scheme, depth, system, error), group in order:
        verdict = "ignore" if system in ("ignored", "margin") else "positive"
        recall = [judged[verdict]["hidden"] / judged["hidden"] for judged in group]
        called = [sum(judged[verdict].values()) for judged in group]
        precision = [
            judged[verdict]["hidden"] / n if n else 0.0
            for judged, n in zip(group, called, strict=True)
        ]
        pairs = round(statistics.fmean(sum(judged["pairs"].values()) for judged in group))
        body.append(
            [
                f"{scheme}, {depth}",
                titled(system, error),
                verdict,
                mean_and_spread(recall),
                mean_and_spread(precision),
                f"{pairs:,}",
            ]
        )
    return markdown(
        [
            "kept, depth",
            "judge",
            "verdict",
            "recall of hidden",
            "precision",
            "pairs judged",
        ],
        body,
        left=3,
    )


def trained_table(
    found: Sequence[Mapping[str, Any]], systems: Sequence[str], metric: str = "ndcg@10"
) -> str:
    """A metric per system, with a column for each scheme and depth.

    A system without a depth or a scheme has the same value in all of those columns.
    """
    columns = sorted({(row["scheme"], row["depth"]) for row in found if row["depth"] is not None})
    columns = columns or sorted(
        {(row["scheme"], None) for row in found if row["scheme"] is not None}
    )
    names = sorted(
        {(row["system"], row["error"]) for row in found},
        key=lambda name: (systems.index(name[0]), name[1] or 0),
    )
    body = []
    for system, error in names:
        cells = [
            [
                row[metric]
                for row in found
                if (row["system"], row["error"]) == (system, error)
                and row["scheme"] in (None, scheme)
                and row["depth"] in (None, depth)
            ]
            for scheme, depth in columns
        ]
        body.append([system, "" if error is None else f"{error} %", *map(mean_and_spread, cells)])
    return markdown(["system", "error", *(f"{scheme}, {depth}" for scheme, depth in columns)], body)


def titled(system: str, error: int | None) -> str:
    return system if error is None else f"{system}, {error} % error"
