"""The evaluate stage: measure the trained encoder, the untrained one, and the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipekit.artifacts.store import write_json
from recipekit.component import System
from recipekit.errors import RunError
from recipekit.report.efficiency import EFFICIENCY
from recipekit.stages.evaluate.costs import texts_efficiency
from recipekit.stages.evaluate.further_data import with_data
from recipekit.stages.evaluate.section import EvaluateSection
from recipekit.stages.evaluate.systems import measured_systems
from recipekit.stages.inputs import StageInputs

__all__ = ["evaluate"]


def evaluate(inputs: StageInputs, section: EvaluateSection, out: Path) -> dict[str, Any]:
    """Measure every system with every evaluator.

    Writes `metrics.json`, rows `{evaluator, split, system, metric, value, low, high, queries,
    ...}`, and `rankings/NAME/`, the files of the evaluator NAME (for `retrieval`, values per query
    and the first passages).

    All ranks build the systems and run evaluators that embed texts, since they encode together.
    Only the main rank searches and writes.

    Raises:
        RunError: There is no system to measure.
        DataError: An evaluator finds nothing to measure on.
    """
    rows: list[dict[str, Any]] = []
    systems: dict[str, System] = {}
    for data in dict.fromkeys(slot.spec.data_name for slot in section.evaluators.values()):
        names = [name for name, slot in section.evaluators.items() if slot.spec.data_name == data]
        given, scratch = inputs, out / "scratch"
        if data is not None:
            given, scratch = with_data(inputs, data, section.sources[data]), out / "scratch" / data
        found = _measure(given, section, names, out, scratch)
        systems |= {system.name: system for system in found[0]}
        rows += found[1]
    order = list(section.evaluators)
    rows.sort(key=lambda row: order.index(row["evaluator"]))
    if not inputs.ranks.is_main:
        return {}
    write_json(out / "metrics.json", rows)
    return {
        "systems": list(systems),
        "similarity": {
            name: system.similarity
            for name, system in systems.items()
            if system.similarity is not None
        },
        "evaluators": list(section.evaluators),
        "figures": len(rows),
    }


def _measure(
    inputs: StageInputs, section: EvaluateSection, names: Sequence[str], out: Path, scratch: Path
) -> tuple[list[System], list[dict[str, Any]]]:
    """Measure the systems with some evaluators on the data set of `inputs`."""
    specs = {name: section.evaluators[name].spec for name in names}
    searches = any(not spec.reads_texts for spec in specs.values())
    systems = list(
        measured_systems(inputs, section, list(specs.values()), scratch, searches=searches)
    )
    if not systems:
        raise RunError(
            "evaluate has no system to measure: name a baseline, or an encoder and "
            "`untrained: true`",
            code="RK640",
        )
    rows = []
    for name, spec in specs.items():
        if not (inputs.ranks.is_main or spec.reads_texts):
            continue
        measured = spec.build(inputs.context(out / "rankings" / name)).evaluate(systems)
        if inputs.ranks.is_main and not measured:
            raise RunError(
                f"evaluator '{name}' measures encoders, and there is none to measure: name one in "
                "evaluate.encoder",
                code="RK640",
            )
        if inputs.ranks.is_main and not searches:
            _write_costs(out / "rankings" / name, systems)
        further = {} if spec.data_name is None else {"source": spec.data_name}
        rows += [{"evaluator": name, **further, **row} for row in measured]
    return systems, rows


def _write_costs(folder: Path, systems: Sequence[System]) -> None:
    """Write what systems cost that only embed texts, with their speed on the texts so far.

    An evaluator that searches writes it itself.
    """
    costs = {system.name: texts_efficiency(system.embed).known() for system in systems}
    write_json(folder / EFFICIENCY, costs)
