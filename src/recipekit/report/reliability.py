"""How far the judges can be trusted, from `reliability.json` and what the judges counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipekit.report.counts import render_counts
from recipekit.report.folder import RunFolder
from recipekit.report.llm_calls import asked, asking_judges
from recipekit.report.markdown import code, escape, excerpt, table
from recipekit.report.numbers import figure, plural

__all__ = ["judge_notes", "trust"]

HEADER = (
    "pairs",
    "kappa",
    "agreement",
    "called positive of the known negatives",
    "called negative of the known positives",
    "ignored",
)
FIGURES = ("kappa", "agreement", "false_positive_rate", "false_negative_rate")

ALL = "all together"
"""What the report calls the last word of several judges."""
STANDING = "what stands in the end"
"""What it calls that of people's pairs, on which filters speak too."""


def trust(folder: RunFolder) -> str:
    """Agreement with known labels, by rank and length, disagreements, and what asking took; empty
    where nobody was measured.
    """
    told = _measured(folder)
    blocks = [*judge_notes(folder)]
    if told:
        blocks += [*_by_labels(told), *_by_people(told), *_explained(told), _disagreements(told)]
    blocks += [*asked(folder), *_others(folder)]
    return "\n\n".join(filter(None, blocks))


def judge_notes(folder: RunFolder) -> list[str]:
    """What the judge stage asks to be said, a paragraph each."""
    return [f"Note: {escape(str(note))}." for note in folder.summary("judge").get("notes") or ()]


def _measured(folder: RunFolder) -> dict[str, Any] | None:
    """`reliability.json` of the judgments, or the one that a run left which its floors ended."""
    return folder.read(folder.file("judge", "reliability.json") or folder.path / "reliability.json")


# Figures
# ------------------------------------------------------------------------------------------------------------------


def _by_labels(told: Mapping[str, Any]) -> Iterator[str]:
    """What the judges say of pairs that the sources labelled."""
    counts, found = told["blind"]["labels"], told["labels"]
    if not any(counts.values()):
        return
    judged = max((figures["pairs"] for figures in found["judges"].values()), default=0)
    positive, negative = (
        plural(counts["positive"], "known positive"),
        plural(counts["negative"], "known negative"),
    )
    yield (
        f"{positive} and {negative} of the sources were drawn to be judged blind among the rest, and {judged:,} were: the judges were not "
        "told what they are."
    )
    rows = {**found["judges"], **({ALL: found["cascade"]} if len(found["judges"]) > 1 else {})}
    yield from _tables(rows, found["cascade"])


def _by_people(told: Mapping[str, Any]) -> Iterator[str]:
    """What the judges, and all together, say of pairs that people labelled."""
    counts, found = told["blind"]["people"], told["people"]
    if found is None:
        return
    ignored = f" ({counts['ignore']:,} more they left open)" if counts["ignore"] else ""
    positive, negative = (
        plural(counts["positive"], "positive"),
        plural(counts["negative"], "negative"),
    )
    yield f"**By people's labels.** {positive} and {negative}{ignored}, weighted by how many candidates each was drawn from."
    yield from _tables({**found["judges"], STANDING: found["cascade"]}, found["cascade"])


def _tables(rows: Mapping[str, Mapping[str, Any]], last: Mapping[str, Any]) -> Iterator[str]:
    """The figures by judge, why some are missing, and the last word's by rank and length."""
    yield table(["", *HEADER], [[_name(name), *_row(figures)] for name, figures in rows.items()])
    for name, figures in rows.items():
        whys = {
            measure: why for measure, why in figures["unmeasured"].items() if measure in FIGURES
        }
        if len(whys) == len(FIGURES) and len(set(whys.values())) == 1:
            yield f"{_name(name)}: nothing was measured, since {escape(next(iter(whys.values())))}."
            continue
        for measure, why in sorted(whys.items()):
            yield f"{_name(name)}: no {escape(measure.replace('_', '-').replace('-rate', ' rate'))}, since {escape(why)}."
    for name, title in (
        ("by_rank", "By rank among the candidates"),
        ("by_length", "By characters of the passage"),
    ):
        if len(last[name]) > 1:
            yield f"**{title}**"
            yield table(
                ["", *HEADER],
                [[escape(band), *_row(figures)] for band, figures in last[name].items()],
            )


def _explained(told: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "In brackets: 95 % intervals (kappa: Fleiss, Cohen and Everitt; shares: Wilson; of weighted pairs: a bootstrap by strata), as if "
        "the pairs of a query were independent. Ignored pairs count neither as agreement nor as error. People agree with strong models "
        "at a kappa of 0.3 to 0.4 on such pairs."
    )
    if told["people"] is None and any(
        figures["unmeasured"] for figures in told["labels"]["judges"].values()
    ):
        yield "`recipekit judge sample` writes pairs for people to label; name the file in `judge.control_pairs.human_labels`."


def _name(name: str) -> str:
    return escape(name) if name in (ALL, STANDING) else code(name)


def _row(figures: Mapping[str, Any]) -> list[str]:
    ignored = sum(row["ignore"] for row in figures["table"].values())
    return [
        figure(figures["pairs"]),
        *(_interval(figures[name]) for name in FIGURES),
        figure(ignored),
    ]


def _interval(value: Mapping[str, float] | None) -> str:
    return (
        "-" if value is None else f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    )


def _disagreements(told: Mapping[str, Any]) -> str:
    if not told["examples"]:
        return ""
    return "\n\n".join(
        ["**Where label and judge disagree**", "\n".join(map(_example, told["examples"]))]
    )


def _example(example: Mapping[str, Any]) -> str:
    confidence = (
        f", confidence {example['confidence']:.2f}" if example["confidence"] is not None else ""
    )
    reason = f": {excerpt(example['reason'])}" if example["reason"] else ""
    return "\n".join(
        [
            f"- **{excerpt(example['query'], 200)}**",
            f"  - {code(example['passage_id'])} {excerpt(example['passage'])}",
            f"  - {example['label']} by {example['labelled_by']}, {example['verdict']} by {code(example['judge'])}{confidence}{reason}",
            f"  - rank {example['rank']} among the candidates",
        ]
    )


# What asking took
# ---------------------------------------------------------------------------------------------------------


def _others(folder: RunFolder) -> Iterator[str]:
    """What judges counted that ask nobody: a cross-encoder's thresholds, for one."""
    asking = asking_judges(folder)
    for name, told in (folder.summary("judge").get("judges") or {}).items():
        if told.get("counts") and name not in asking:
            yield f"### {code(name)}"
            yield render_counts(told["counts"])
