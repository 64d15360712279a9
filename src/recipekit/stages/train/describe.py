"""How the report describes a training run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from recipekit.report.blocks import (
    Block,
    Code,
    Figure,
    Line,
    StageReport,
    Strong,
    Table,
    Text,
    join,
    spans,
)
from recipekit.report.counts import counts_table, rows_table
from recipekit.report.numbers import figure, percent, plural
from recipekit.report.run_folder import RunFolder
from recipekit.stages.train.section import TrainSection

__all__ = ["describe"]

LABELS: Final = {
    "steps": "optimizer steps",
    "epochs": "epochs",
    "tokens": "tokens",
    "similarity": "similarity",
}

MAX_ROWS = 16
"""Rows of a training curve. A longer curve is thinned evenly; its first, best and last row stay."""


def describe(run: RunFolder) -> StageReport:
    """Describe the training run: data, learning curve, and the weights that were kept."""
    if not run.finished("train"):
        return StageReport()
    unchanged = _without_improvement(run.summary("train"))
    return StageReport(
        sentence=_sentence(run),
        results=[
            Text((Strong("Note:"), f" {note}.")) for note in run.summary("train").get("notes") or ()
        ],
        details=list(_details(run)),
        at_end=[Text(f"note: {unchanged}")] if unchanged else (),
    )


def _sentence(run: RunFolder) -> Line:
    section = run.section("train")
    name = section.get("encoder", "student")
    model = ((run.recipe.get("encoders") or {}).get(name) or {}).get("model", "")
    described = f" ({model})" if model else ""
    can_stop = section.get("patience") is not None
    phases = [
        _phase(name, phase or {}, can_stop=can_stop)
        for name, phase in (section.get("phases") or {}).items()
    ]
    count = plural(len(phases), "phase")
    return (
        "Trained the encoder ",
        Code(name),
        f"{described} in {count}: ",
        *spans(join(phases)),
        ".",
    )


def _phase(name: str, phase: Mapping[str, Any], *, can_stop: bool) -> Line:
    parts = [phase.get("use"), _loss(phase.get("loss") or {})]
    keys = {"epochs": "epoch", "query_epochs": "query epoch", "passage_epochs": "passage epoch"}
    epochs = [plural(int(phase[key]), noun) for key, noun in keys.items() if phase.get(key)]
    if epochs:
        repeats = f"{plural(int(phase['cycles']), 'cycle')} of " if "cycles" in phase else ""
        at_most = "at most " if can_stop else ""
        parts.append(f"{at_most}{repeats}{' and '.join(epochs)}")
    return (Code(name), f" ({', '.join(str(part) for part in parts if part)})")


def _loss(loss: Mapping[str, Any]) -> str:
    """Name a loss, the loss inside it, and the encoder that it learns from."""
    name, inner = str(loss.get("use") or ""), loss.get("loss")
    if isinstance(inner, str):
        name = inner  # a class of sentence-transformers
    elif inner:
        name += f" of {_loss(inner)}"
    second = [f" with the {role} {loss[role]}" for role in ("guide", "teacher") if loss.get(role)]
    return name + "".join(second)


def _details(run: RunFolder) -> Iterator[Block]:
    summary = run.summary("train")
    if sizes := counts_table(summary, LABELS):
        yield sizes
    if phases := rows_table(summary.get("phases") or {}, name="phase"):
        yield phases
    truncated = summary.get("truncated") or {}
    if truncated:
        sides = " and ".join(
            f"{percent(share)} of the {side} texts" for side, share in truncated.items()
        )
        yield Text(f"Truncated to the encoder's maximum length: {sides}.")
    training = run.json("train", "training.json", dict)
    if training and (
        curve := _learning_curve(training, str(run.section("train").get("dev_metric", "")))
    ):
        yield curve
    if training and (disturbances := _disturbances(training, run.section("train"))):
        yield Text(disturbances)
    for stopped in (training or {}).get("stopped") or ():
        skipped = plural(stopped["skipped"], "step")
        yield Text(("Phase ", Code(stopped["phase"]), f" stopped early; {skipped} did not run."))
    if training and (boundaries := _boundaries(training.get("parts") or [])):
        yield boundaries
    if unchanged := _without_improvement(summary):
        yield Text((Strong("Note:"), f" {unchanged}."))


def _disturbances(training: Mapping[str, Any], section: Mapping[str, Any]) -> str:
    """State where training was resumed, and what a lack of memory changed; empty for neither.

    Args:
        training: `training.json`.
        section: The `train` section.
    """
    parts = []
    default = TrainSection.model_fields["max_tokens_per_batch"].default
    if steps := training.get("resumed_from"):
        times, at = plural(len(steps), "time"), ", ".join(figure(step) for step in steps)
        noun = "step" if len(steps) == 1 else "steps"
        parts.append(f"Training was interrupted and resumed {times}, from {noun} {at}.")
    now, planned = (
        training.get("max_tokens_per_batch"),
        section.get("max_tokens_per_batch", default),
    )
    if now and planned and now < planned:
        parts.append(
            f"After running out of memory, a forward pass had at most {now:,} tokens instead of "
            f"{planned:,}, with the same result."
        )
    return " ".join(parts)


def _boundaries(parts: Sequence[Mapping[str, Any]]) -> Table | None:
    """What phases measured at the start and after each of their parts, such as the exact loss."""
    if not parts:
        return None
    fixed = ("step", "phase", "part")
    names = list(dict.fromkeys(name for part in parts for name in part if name not in fixed))
    rows: list[list[Line]] = [
        [
            f"{part['phase']}: {part['part'] or 'start'}",
            figure(part["step"]),
            *(f"{part[name]:.4f}" if name in part else "" for name in names),
        ]
        for part in parts
    ]
    header = ["after", "step", *(name.replace("_", " ") for name in names)]
    return Table(header, rows, left=1, title="Half-phases")


def _without_improvement(summary: Mapping[str, Any]) -> str:
    """A warning if no step was better on dev than the untrained weights; else empty."""
    dev = summary.get("dev") or {}
    if dev.get("kept_step") != 0:
        return ""
    count = dev.get("queries")
    queries = f" ({plural(count, 'dev query', 'dev queries')})" if count else ""
    metric = dev.get("metric", "dev")
    return f"training did not improve {metric}{queries}, so the untrained weights were kept"


def _learning_curve(training: Mapping[str, Any], dev_metric: str) -> Figure | None:
    """Loss, learning rate and dev metric over the steps; the row of the kept weights is strong.

    Args:
        training: `training.json`. `curve` holds points {step, loss, learning_rate, ...}, each a
            mean over the steps since the point before. `dev` holds points {step, value}, and a
            summary with `kept_step`.
        dev_metric: The name of the dev values.
    """
    curve, dev = training.get("curve") or [], training.get("dev") or {}
    values = {point["step"]: point["value"] for point in dev.get("points") or []}
    best = (dev.get("summary") or {}).get("kept_step")
    steps = _thinned(sorted(values or {point["step"] for point in curve}), best)
    if not steps:
        return None
    rows: list[list[Line]] = []
    previous = -1
    for step in steps:
        since = [point for point in curve if previous < point["step"] <= step]
        cells = [figure(step), _mean_loss(since), _learning_rate(since)]
        if values:
            cells.append(f"{values[step]:.4f}")
        rows.append([Strong(cell) if cell and step == best else cell for cell in cells])
        previous = step
    dev_header = [f"dev {dev_metric}"] if values else []
    header = ["step", "loss since the row above", "learning rate", *dev_header]
    series = {"loss": [(point["step"], point["loss"]) for point in curve]}
    if values:
        series[f"dev {dev_metric}"] = sorted(values.items())
    table = Table(header, rows, left=0, title="Learning curve")
    mark = None if best is None else (float(best), "kept weights")
    return Figure("Learning curve", "step", series, table, scales_differ=True, mark=mark)


def _mean_loss(points: Sequence[Mapping[str, float]]) -> str:
    return f"{sum(point['loss'] for point in points) / len(points):.4f}" if points else ""


def _learning_rate(points: Sequence[Mapping[str, float]]) -> str:
    return f"{points[-1]['learning_rate']:.2g}" if points and "learning_rate" in points[-1] else ""


def _thinned(steps: Sequence[int], best: int | None) -> list[int]:
    if len(steps) <= MAX_ROWS:
        return list(steps)
    kept = {steps[round(row * (len(steps) - 1) / (MAX_ROWS - 1))] for row in range(MAX_ROWS)}
    return sorted(kept | {step for step in steps if step == best})
