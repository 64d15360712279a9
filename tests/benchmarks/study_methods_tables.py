"""Markdown tables and figures of the finished trials of `study_methods.py`.

    python tests/benchmarks/study_methods_tables.py table --work FOLDER
    python tests/benchmarks/study_methods_tables.py figure --work FOLDER --output FOLDER
    # the tables and figures of docs/training-methods.md
    python tests/benchmarks/study_methods_tables.py page

FOLDER has a `methods.jsonl`. That of the published trials, the default, is next to this script.
Trials are compared that share data, maximum length and precision. Of the trials of a method, the
one with the best mean on dev stands for it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from recipekit.report.blocks import Figure, Table
from recipekit.report.svg import render_svg

Row = Mapping[str, Any]
Conditions = tuple[str, int, str]
"""What trials share that are compared: data, maximum length and precision."""

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "training-methods.md"
TABLES: dict[str, dict[Conditions, str]] = {
    "many positives": {
        ("nfcorpus", 64, "bf16"): "NFCorpus",
        ("nfcorpus-relabelled-random-50-0-1", 64, "bf16"): "NFCorpus, judged",
        ("nfcorpus-relabelled-random-50-10-1", 64, "bf16"): "judged, 10 % wrong",
        ("xquad-1000-spread", 64, "bf16"): "XQuAD",
    },
    "one positive": {
        ("fairytaleqa-1000", 64, "bf16"): "FairytaleQA",
        ("squad_dev-1000", 64, "bf16"): "SQuAD",
        ("code_nl2bash-1000", 64, "bf16"): "nl2bash",
        ("quickstart-1000", 64, "bf16"): "standard library",
        ("medquad-1000", 64, "bf16"): "MedQuAD",
        ("scifact", 64, "bf16"): "SciFact",
    },
}
"""The tables of the page: their columns, by conditions."""
MARKED = re.compile(r"(<!-- (test|also): ([a-z ]+) -->\n\n)(?:\|.*\n)*(\n<!-- end -->)")
"""The place of a table in the page: a figure and the name of a table."""

TITLES = {
    "untrained": "untrained",
    "mnrl": "MNRL",
    "mined": "MNRL, mined negatives",
    "gist": "GIST",
    "in_batch": "`in_batch`",
    "ascent_positives": "`in_batch`, `coordinate_ascent` over the positives",
    "ascent_warm": "`in_batch`, `coordinate_ascent`",
    "ascent": "`coordinate_ascent`, queries first",
    "ascent_passages": "`coordinate_ascent`, passages first",
}
"""The methods in the order of tables. Others follow under their own names."""
IN_FIGURES = {
    "mined": "MNRL, mined",
    "ascent_positives": "ascent over positives",
    "ascent_warm": "in_batch, ascent",
    "ascent": "ascent, queries first",
    "ascent_passages": "ascent, passages first",
}
"""Shorter titles for the legends of figures."""
TRIALS = {
    "untrained": (0,),
    "mnrl": (0, 2),
    "mined": (0, 2),
    "gist": (0, 2),
    "in_batch": (0, 2),
    "ascent_positives": (0, 1),
    "ascent_warm": (0, 3),
    "ascent": (0,),
    "ascent_passages": (1, 3),
}
"""The trials of the page's tables and figures: two of most methods."""
SEED = 13
"""The seed of the page's tables and figures."""
IN_A_FIGURE = 4
"""Methods that a figure of the page has at least."""


def summary(rows: Iterable[Row], names: Mapping[Conditions, str], figure: str = "test") -> str:
    """Return a Markdown table of methods by data: a figure of the trial that dev chooses.

    Args:
        rows: Finished trials.
        names: The columns: conditions, and the names of their data.
        figure: The figure of a cell. For `test`, the trial's cost follows in TFLOP.
    """
    chosen: dict[str, dict[Conditions, list[Row]]] = defaultdict(dict)
    for trial in best_trials([row for row in rows if conditions(row) in names]):
        chosen[trial[0]["method"]][conditions(trial[0])] = trial
    lines = [f"| | {' | '.join(names.values())} |", "|---" + "|--:" * len(names) + "|"]
    for method in sorted(chosen, key=_place):
        cells = [_cell(chosen[method].get(column, []), figure) for column in names]
        lines.append(f"| {TITLES.get(method, method)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _place(method: str) -> int:
    titles = list(TITLES)
    return titles.index(method) if method in titles else len(titles)


def _cell(trial: Sequence[Row], figure: str) -> str:
    text, cost = mean_of(trial, figure), mean_of(trial, "tflop", 0)
    return f"{text} ({cost})" if figure == "test" and cost.strip("0") else text


def all_trials(rows: Iterable[Row]) -> Iterator[str]:
    """Yield a Markdown table of each set of conditions, with a line per trial."""
    for group, methods in grouped(rows).items():
        yield f"{group[0]}, {group[1]} tokens, {group[2]}\n"
        yield "| method | settings | seeds | TFLOP | CPU time | dev | test nDCG@10 | other data |"
        yield "|---|---|--:|--:|--:|--:|--:|--:|"
        for method in sorted(methods, key=_place):
            for trial in methods[method].values():
                cells = [
                    TITLES.get(method, method),
                    described(trial[0]["settings"]),
                    str(len(trial)),
                    mean_of(trial, "tflop", 0),
                    f"{mean_of(trial, 'cpu_seconds', 0)} s",
                    *(mean_of(trial, name) for name in ("dev", "test", "also")),
                ]
                yield f"| {' | '.join(cells)} |"
        yield ""


def grouped(rows: Iterable[Row]) -> dict[Conditions, dict[str, dict[int, list[Row]]]]:
    """The rows by conditions, method and number of the trial; a trial has a row for each seed."""
    groups: dict[Conditions, dict[str, dict[int, list[Row]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in rows:
        groups[conditions(row)][row["method"]][row["number"]].append(row)
    return groups


def best_trials(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Of each set of conditions and method, the rows of the trial with the best mean on dev."""
    for methods in grouped(rows).values():
        for trials in methods.values():
            yield max(trials.values(), key=lambda trial: fmean(row["dev"] for row in trial))


def conditions(row: Row) -> Conditions:
    """What only trials that are compared share."""
    return row["data"], row["max_length"], row["precision"]


def mean_of(trial: Sequence[Row], name: str, digits: int = 3) -> str:
    """The mean of a figure over seeds as text; empty if there is no row, or one lacks it."""
    if not trial or not all(name in row for row in trial):
        return ""
    return f"{fmean(row[name] for row in trial):.{digits}f}"


def described(settings: Mapping[str, Any]) -> str:
    """The settings of a trial in a few words."""
    if not settings:
        return ""
    if "phases" not in settings:
        return f"{settings['epochs']} epochs at {settings['learning_rate']:g}"
    words = []
    for name, phase in settings["phases"].items():
        epochs = {
            side: phase[f"{side}_epochs"]
            for side in ("query", "passage")
            if phase.get(f"{side}_epochs")
        }
        inside = ", ".join(f"{side} {count}" for side, count in epochs.items())
        inside = inside or f"in batch {phase.get('epochs', 1)}"
        if phase.get("passages") == "positives":
            inside += " over positives"
        if "passage_share" in phase:
            inside += f" of {phase['passage_share']:.0%}"
        if "batch_size" in phase:
            inside += f", batches of {phase['batch_size']} at {phase['learning_rate']:g}"
        cycles = f" x {phase['cycles']}" if phase.get("cycles", 1) > 1 else ""
        words.append(f"{name} ({inside}){cycles}")
    if "average_weights" in settings.get("train", {}):
        words.append(f"mean of {settings['train']['average_weights']} weights")
    if "sections" in settings:
        words.append("margin judge, weights chosen on dev")
    return ", ".join(words)


def figures(rows: Iterable[Row]) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of each set of conditions with enough counted methods."""
    names = {key: name for columns in TABLES.values() for key, name in columns.items()}
    counted = [row for row in rows if "tflop" in row]
    for place, methods in grouped(counted).items():
        data, max_length, precision = place
        if len(methods.keys() - {"untrained"}) < IN_A_FIGURE:
            continue
        series = {
            IN_FIGURES.get(method, TITLES.get(method, method)).replace("`", ""): sorted(
                (fmean(row["tflop"] for row in trial), fmean(row["test"] for row in trial))
                for trial in methods[method].values()
            )
            for method in sorted(methods, key=_place)
        }
        yield (
            f"methods-{data}-{max_length}-{precision}",
            Figure(
                title=f"{names.get(place, data)}, {max_length} tokens, {precision}: test nDCG@10",
                x="TFLOP of training",
                series=series,
                table=Table([], []),
            ),
        )


def page(text: str, rows: Sequence[Row]) -> str:
    """Return a page with its marked tables made from the published trials."""
    shown = published(rows)

    def table(place: re.Match[str]) -> str:
        measured = {conditions(row) for row in shown}
        columns = {column: name for column, name in TABLES[place[3]].items() if column in measured}
        return f"{place[1]}{summary(shown, columns, place[2])}\n{place[4]}"

    return MARKED.sub(table, text)


def published(rows: Iterable[Row]) -> list[Row]:
    """The rows that the page's tables show."""
    columns = {column for columns in TABLES.values() for column in columns}
    return [
        row
        for row in rows
        if conditions(row) in columns
        and row["number"] in TRIALS.get(row["method"], ())
        and row["seed"] == SEED
    ]


def finished(work: Path) -> list[Row]:
    """The rows of finished trials."""
    file = work / "methods.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Print tables, or write figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("verb", choices=("table", "figure", "page"))
    parser.add_argument("--work", type=Path, default=Path(__file__).parent, help="folder of trials")
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the SVG files")
    options = parser.parse_args()
    rows = finished(options.work)
    if options.verb == "table":
        columns = {conditions(row): ", ".join(map(str, conditions(row))) for row in rows}
        print("\n".join(all_trials(rows)), summary(rows, columns), sep="\n")
        return
    if options.verb == "page":
        PAGE.write_text(page(PAGE.read_text(), rows))
        rows = published(rows)
        options.output = DOCS / "figures"
    for name, figure in figures(rows):
        (options.output / f"{name}.svg").write_text(render_svg(figure))


if __name__ == "__main__":
    main()
