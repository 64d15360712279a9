"""How far the judges can be trusted, from `trust.json` and what the judges counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from recipekit.report.asked import asked, asking_judges
from recipekit.report.counts import render_counts
from recipekit.report.folder import RunFolder
from recipekit.report.markdown import code, escape, excerpt, table
from recipekit.report.numbers import figure, plural

__all__ = ["judge_notes", "trust"]

HEADER = ("pairs", "kappa", "agreement", "called positive of the known negatives", "called negative of the known positives", "ignored")
FIGURES = ("kappa", "agreement", "false_positive_rate", "false_negative_rate")

ALL = "all together"
"""What the report calls the last word of several judges."""


def trust(folder: RunFolder) -> str:
    """Agreement with known labels, by rank and length, disagreements, and what asking took; empty where nobody was measured."""
    told = _measured(folder)
    blocks = [*judge_notes(folder)]
    if told:
        blocks += [*_figures(told), *_bands(told), _disagreements(told)]
    blocks += [*asked(folder), *_others(folder)]
    return "\n\n".join(filter(None, blocks))


def judge_notes(folder: RunFolder) -> list[str]:
    """What the judge stage asks to be said, a paragraph each."""
    return [f"Note: {escape(str(note))}." for note in folder.summary("judge").get("notes") or ()]


def _measured(folder: RunFolder) -> dict[str, Any] | None:
    """`trust.json` of the judgments, or the one that a run left which its floors ended."""
    file = folder.file("judge", "trust.json") or folder.path / "trust.json"
    told: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    return told


def _judges(told: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The judges' figures, and those of all together where there are several."""
    judges = dict(told["judges"])
    return {**judges, ALL: told["cascade"]} if len(judges) > 1 else judges


# Figures ------------------------------------------------------------------------------------------------------------------


def _figures(told: Mapping[str, Any]) -> Iterator[str]:
    blind = told["blind"]
    positive, negative = plural(blind["positive"], "known positive"), plural(blind["negative"], "known negative")
    people = f", {blind['labelled_by_people']:,} of them labelled by people," if blind["labelled_by_people"] else ""
    yield f"{positive} and {negative}{people} were judged blind among the rest: the judges were not told what they are."
    judges = _judges(told)
    yield table(["", *HEADER], [[_name(name), *_row(figures)] for name, figures in judges.items()])
    yield (
        "In brackets: 95 % intervals (kappa: Fleiss, Cohen and Everitt; shares: Wilson). Ignored pairs count neither as agreement nor as "
        "error. People agree with strong models at a kappa of 0.3 to 0.4 on pairs like these."
    )
    reasons = {(name, figure, why) for name, told in judges.items() for figure, why in told["unmeasured"].items() if told["pairs"]}
    for name, measure, why in sorted(reasons):
        yield f"{_name(name)}: no {escape(measure.replace('_', '-').replace('-rate', ' rate'))}, since {escape(why)}."
    if reasons:
        yield "`recipekit judge sample` writes pairs for people to label; name the file in `judge.trust.sample`."


def _name(name: str) -> str:
    return escape(name) if name == ALL else code(name)


def _row(figures: Mapping[str, Any]) -> list[str]:
    ignored = sum(row["ignore"] for row in figures["table"].values())
    return [figure(figures["pairs"]), *(_interval(figures[name]) for name in FIGURES), figure(ignored)]


def _interval(value: Mapping[str, float] | None) -> str:
    return "-" if value is None else f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _bands(told: Mapping[str, Any]) -> Iterator[str]:
    """The last word, by rank of the candidate and by length of the passage."""
    for name, title in (("by_rank", "By rank among the candidates"), ("by_length", "By characters of the passage")):
        bands = told["cascade"][name]
        if len(bands) > 1:
            yield f"**{title}**"
            yield table(["", *HEADER], [[escape(band), *_row(figures)] for band, figures in bands.items()])


def _disagreements(told: Mapping[str, Any]) -> str:
    if not told["examples"]:
        return ""
    return "\n\n".join(["**Where label and judge disagree**", "\n".join(map(_example, told["examples"]))])


def _example(example: Mapping[str, Any]) -> str:
    confidence = f", confidence {example['confidence']:.2f}" if example["confidence"] is not None else ""
    reason = f": {excerpt(example['reason'])}" if example["reason"] else ""
    return "\n".join(
        [
            f"- **{excerpt(example['query'], 200)}**",
            f"  - {code(example['passage_id'])} {excerpt(example['passage'])}",
            f"  - {example['label']} by {example['labelled_by']}, {example['verdict']} by {code(example['judge'])}{confidence}{reason}",
            f"  - rank {example['rank']} among the candidates",
        ]
    )


# What asking took ---------------------------------------------------------------------------------------------------------


def _others(folder: RunFolder) -> Iterator[str]:
    """What judges counted that ask nobody: a cross-encoder's thresholds, for one."""
    asking = asking_judges(folder)
    for name, told in (folder.summary("judge").get("judges") or {}).items():
        if told.get("counts") and name not in asking:
            yield f"### {code(name)}"
            yield render_counts(told["counts"])
