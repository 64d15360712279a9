"""How the report describes the reliability of judges, from `reliability.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recipekit.report.blocks import (
    Block,
    Code,
    Example,
    Examples,
    Figure,
    Line,
    Point,
    ReportSection,
    Span,
    Table,
    Text,
)
from recipekit.report.numbers import excerpt, figure, percent, plural
from recipekit.report.run_folder import RunFolder

__all__ = ["reliability_line", "reliability_section"]

Figures = Mapping[str, Any]

HEADER: Final = (
    "pairs",
    "kappa",
    "agreement",
    "false positive rate",
    "false negative rate",
    "ignored",
)
MEASURES: Final = {
    "kappa": "kappa",
    "agreement": "agreement",
    "false_positive_rate": "false positive rate",
    "false_negative_rate": "false negative rate",
}
COMBINED: Final = "all judges combined"
"""The row of the last verdict of several judges."""
FINAL: Final = "final verdicts"
"""The row of the final verdicts on human-labelled pairs, which filters give too."""


def reliability_line(run: RunFolder) -> str:
    """The reliability of the final judge in one line; empty if nothing was measured."""
    measured = list((run.summary("judge").get("reliability") or {}).values())
    if not measured or not measured[-1]["pairs"]:
        return ""
    last = measured[-1]
    figures = []
    for key, name in MEASURES.items():
        if last[key] is not None:
            value = percent(last[key]) if key.endswith("_rate") else f"{last[key]:.3f}"
            figures.append(f"{name} {value}")
    by_humans = last.get("labels") == "human_labels"
    pairs = plural(last["pairs"], "human-labelled pair" if by_humans else "control pair")
    return f"reliability on {pairs}: {', '.join(figures)}"


def reliability_section(run: RunFolder) -> ReportSection | None:
    """Agreement with known labels, by judge, rank and length; None if nothing was measured.

    A run that missed its reliability floors has `reliability.json` in its own folder.
    """
    file = run.file("judge", "reliability.json") or run.path / "reliability.json"
    measured = run.read_json(file, dict)
    if not measured:
        return None
    blocks = [
        *_by_source_labels(measured),
        *_by_human_labels(measured),
        *_method(measured),
        *_disagreements(measured),
    ]
    return ReportSection("Reliability of the judges", blocks)


def _by_source_labels(measured: Figures) -> Iterator[Block]:
    counts, found = measured["control_pairs"]["source_labels"], measured["source_labels"]
    if not any(counts.values()):
        return
    judged = max((figures["pairs"] for figures in found["judges"].values()), default=0)
    positives = plural(counts["positive"], "source positive")
    negatives = plural(counts["negative"], "source negative")
    yield Text(
        f"{positives} and {negatives} were drawn as control pairs, which judges see unmarked among "
        f"all others. {judged:,} of them were judged."
    )
    rows = dict(found["judges"])
    if len(rows) > 1:
        rows[COMBINED] = found["final"]
    yield from _tables("Agreement with source labels", rows, found["final"])


def _by_human_labels(measured: Figures) -> Iterator[Block]:
    counts, found = measured["control_pairs"]["human_labels"], measured["human_labels"]
    if found is None:
        return
    undecided = f" ({counts['ignore']:,} more labelled ignore)" if counts["ignore"] else ""
    positives = plural(counts["positive"], "positive")
    negatives = plural(counts["negative"], "negative")
    yield Text(
        f"Human labels: {positives} and {negatives}{undecided}, each weighted by the number of "
        "candidates that it was drawn from."
    )
    rows = {**found["judges"], FINAL: found["final"]}
    yield from _tables("Agreement with human labels", rows, found["final"])


def _tables(title: str, rows: Mapping[str, Figures], last: Figures) -> Iterator[Block]:
    """Figures by judge, why some are missing, and the last verdict's figures by rank and length."""
    if drawn := _drawn(title, rows):
        yield drawn
    yield Table(["judge", *HEADER], [[_name(name), *_row(of)] for name, of in rows.items()])
    for name, figures in rows.items():
        yield from _unmeasured(name, figures["unmeasured"])
    titles = {
        "by_rank": ("By rank among the candidates", "rank"),
        "by_length": ("By length of the passage", "characters"),
    }
    for key, (title, header) in titles.items():
        if len(last[key]) > 1:
            body = [[band, *_row(figures)] for band, figures in last[key].items()]
            yield Table([header, *HEADER], body, title=title)


def _drawn(title: str, rows: Mapping[str, Figures]) -> Figure | None:
    """Every measure of every judge with its interval; None if nothing was measured."""
    series: dict[str, list[Point]] = {}
    for name, figures in rows.items():
        for at, measure in enumerate(MEASURES):
            if (value := figures[measure]) is not None:
                point = (at, value["value"], value["low"], value["high"])
                series.setdefault(name, []).append(point)
    if not series:
        return None
    names = list(MEASURES.values())
    return Figure(title, "", series, Table([], []), kind="intervals", categories=names)


def _unmeasured(name: str, reasons: Mapping[str, str]) -> Iterator[Text]:
    known = {measure: why for measure, why in reasons.items() if measure in MEASURES}
    if len(known) == len(MEASURES) and len(set(known.values())) == 1:
        yield Text((_name(name), f": nothing was measured because {next(iter(known.values()))}."))
        return
    for measure, why in sorted(known.items()):
        yield Text((_name(name), f": no {MEASURES[measure]} because {why}."))


def _method(measured: Figures) -> Iterator[Text]:
    yield Text(
        "Brackets hold 95 % intervals (kappa: Fleiss, Cohen and Everitt; shares: Wilson; weighted "
        "pairs: stratified bootstrap) that treat a query's pairs as independent. Ignored pairs "
        "count neither as agreement nor as error. On such pairs, human annotators agree with "
        "strong models at a kappa of 0.3 to 0.4."
    )
    judges = measured["source_labels"]["judges"].values()
    if measured["human_labels"] is None and any(figures["unmeasured"] for figures in judges):
        yield Text(
            (
                Code("recipekit judge sample"),
                " writes pairs for human labelling; name the file in ",
                Code("judge.control_pairs.human_labels"),
                ".",
            )
        )


def _name(name: str) -> Span:
    return name if name in (COMBINED, FINAL) else Code(name)


def _row(figures: Figures) -> list[str]:
    ignored = sum(row["ignore"] for row in figures["table"].values())
    measures = [_interval(figures[name]) for name in MEASURES]
    return [figure(figures["pairs"]), *measures, figure(ignored)]


def _interval(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _disagreements(measured: Figures) -> Iterator[ReportSection]:
    if measured["examples"]:
        items = [_example(example) for example in measured["examples"]]
        yield ReportSection("Disagreements between label and judge", [Examples(items)])


def _example(example: Figures) -> Example:
    confidence = ""
    if example["confidence"] is not None:
        confidence = f", confidence {example['confidence']:.2f}"
    reason = f": {excerpt(example['reason'])}" if example["reason"] else ""
    labelled = "human label" if example["labelled_by"] == "human" else "source label"
    verdict: Line = (
        f"{labelled} {example['label']}, verdict {example['verdict']} by ",
        Code(example["judge"]),
        f"{confidence}{reason}",
    )
    return Example(
        query=excerpt(example["query"], 200),
        passage_id=example["passage_id"],
        passage=excerpt(example["passage"]),
        facts=[verdict, f"rank {example['rank']} among the candidates"],
    )
