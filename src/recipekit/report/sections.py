"""The sections of the report.

Each is Markdown, or empty where the run has nothing to tell of it.
"""

from __future__ import annotations

import shlex
from itertools import islice

from recipekit.report.counts import arranged, render_counts
from recipekit.report.examples import false_negatives, render_examples
from recipekit.report.folder import RunFolder
from recipekit.report.markdown import code, escape, table
from recipekit.report.metrics import LEVEL, comparisons, differences_table, metrics_table
from recipekit.report.numbers import duration, size
from recipekit.report.reliability import trust
from recipekit.report.sentences import kept_untrained, what_was_done
from recipekit.report.training import training_curve

__all__ = ["SECTIONS"]


def metrics(folder: RunFolder) -> str:
    """The metrics of every system with their intervals, and the tested differences."""
    blocks = []
    for comparison in comparisons(folder.metrics):
        blocks += [
            f"### {escape(comparison.title)}",
            metrics_table(comparison),
            differences_table(comparison),
        ]
    if not blocks:
        return ""
    return "\n\n".join(filter(None, [*blocks, _how_tested(folder), _notes(folder)]))


def counts(folder: RunFolder) -> str:
    """What every stage counted."""
    blocks = []
    for stage in folder.manifests:
        rendered = (
            render_counts(
                arranged(stage, folder.summary(stage)), hide=["notes", "reliability", "spent"]
            )
            if stage != "evaluate"
            else ""
        )
        if rendered:
            blocks += [f"### {stage}", rendered]
    return "\n\n".join(blocks)


def training(folder: RunFolder) -> str:
    """The training curve."""
    metric = str((folder.recipe.get("train") or {}).get("dev_metric", ""))
    told = folder.read(folder.file("train", "training.json"))
    curve = training_curve(told, metric) if told else ""
    return "\n\n".join(filter(None, [curve, kept_untrained(folder)]))


def found(folder: RunFolder) -> str:
    """Examples of false negatives, found and likely."""
    examples = false_negatives(folder) if folder.dataset else []
    if not examples or folder.dataset is None:
        return ""
    introduction = (
        "Retrieved, unlabelled, and no negatives: those that a judge calls positive are found, those that are ignored are likely ones. "
        "A random sample, one per query, positives first."
    )
    return f"{introduction}\n\n{render_examples(examples, folder.dataset)}"


def costs(folder: RunFolder) -> str:
    """Time and peak memory per stage."""
    made = folder.run.get("ran")
    rows = [
        [
            stage,
            duration(manifest.get("seconds")),
            size(manifest.get("peak_bytes")),
            str(manifest.get("ranks", 1)),
            escape(manifest.get("device") or ""),
            "this run"
            if made is None or stage in made
            else f"cached, created {escape(str(manifest.get('created', '')))}",
        ]
        for stage, manifest in folder.manifests.items()
    ]
    return (
        table(["stage", "time", "peak memory", "ranks", "device", "made by"], rows) if rows else ""
    )


def warnings(folder: RunFolder) -> str:
    """What the stages of this run warned of, each once."""
    told = dict.fromkeys(
        f"- {stage}: {escape(str(event.get('message', '')))}"
        for stage in folder.manifests
        for event in folder.events(stage, "warning")
    )
    return "\n".join(islice(told, 50))


def versions(folder: RunFolder) -> str:
    """The versions that made the artifacts."""
    seen: dict[str, list[str]] = {}
    for manifest in folder.manifests.values():
        for name, version in (manifest.get("versions") or {}).items():
            if version not in seen.setdefault(name, []):
                seen[name].append(version)
    return ", ".join(
        f"{escape(name)} {escape(' and '.join(found))}" for name, found in seen.items()
    )


def repeat(folder: RunFolder) -> str:
    """How to make this run again."""
    run = folder.run
    lines = [f"```sh\n{run['command']}\n```"] if run.get("command") else []
    again = f"recipekit run {shlex.quote(str(folder.path / 'recipe.resolved.yaml'))}"
    if (folder.path / "recipe.resolved.yaml").is_file():
        lines.append(f"or, with every default written out and overrides applied, {code(again)}.")
    seed = run.get("seed", folder.recipe.get("seed"))
    told = [
        f"Recipe {code(str(run['recipe']))}" if run.get("recipe") else "",
        f"seed {seed}" if seed is not None else "",
    ]
    keys = [
        f"{stage} {code(str(manifest.get('key', ''))[:12])}"
        for stage, manifest in folder.manifests.items()
    ]
    return "\n\n".join(
        [
            *lines,
            ", ".join(filter(None, told)) + (f". Artifacts: {', '.join(keys)}." if keys else "."),
        ]
    )


SECTIONS = (
    ("What was done", what_was_done),
    ("Metrics, before and after", metrics),
    ("Counts at each stage", counts),
    ("Training", training),
    ("How far the judges can be trusted", trust),
    ("False negatives, found and likely", found),
    ("Time and memory", costs),
    ("Warnings", warnings),
    ("Versions", versions),
    ("How to repeat", repeat),
)
"""Headings, and what makes their text, in the order of the report."""


# What the figures mean
# ----------------------------------------------------------------------------------------------------


def _how_tested(folder: RunFolder) -> str:
    """What intervals and p-values are, if there are any."""
    row = next((row for row in folder.metrics if row.get("resamples")), None)
    if row is None:
        return ""
    return (
        f"In brackets: {100 * row['confidence']:g} % percentile bootstrap intervals over the queries, {row['resamples']:,} resamples that "
        f"all systems share. A difference is significant where its two-sided p-value (paired bootstrap, shift method), adjusted after Holm "
        f"for all differences of the table, is below {LEVEL:g}. The best value of a column is bold."
    )


def _notes(folder: RunFolder) -> str:
    """What stages ask to be said beside the figures."""
    notes = [
        str(note)
        for stage in folder.manifests
        if stage != "judge"
        for note in folder.summary(stage).get("notes") or ()
    ]
    return "\n\n".join(f"Note: {escape(note)}{'' if note.endswith('.') else '.'}" for note in notes)
