"""`recipekit plan`: show what a run would do, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recipekit.cli.options import (
    DEFAULT_RECIPE,
    Cache,
    From,
    LocalCode,
    Overrides,
    RecipeArgument,
    Until,
)

if TYPE_CHECKING:
    from recipekit.pipeline.plan import Plan, StagePlan
    from recipekit.report.blocks import Block, Line, Table, Text

__all__ = ["plan", "plan_blocks", "work"]

STATES: Final = {"hit": "cached", "miss": "will run", "unknown": "unknown"}
COMPONENTS: Final = ("retrievers", "judges", "evaluators")
"""Keys of an estimate that hold the estimates of components."""


def plan(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    overrides: Overrides = None,
    start: From = None,
    until: Until = None,
    cache: Cache = None,
    allow_local_code: LocalCode = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan as JSON, with the inputs of every key.")
    ] = False,
) -> None:
    """Show which stages are cached, which will run and why, and the expected work and cost."""
    from recipekit.pipeline.plan import plan as make_plan
    from recipekit.pipeline.selection import check_range
    from recipekit.report.terminal import print_blocks
    from recipekit.stages.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or (), allow_local_code=allow_local_code)
    check_range([name for name, _ in loaded.stages()], start, until)
    selected = _until(make_plan(loaded, cache=cache, start=start), until)
    if as_json:
        import json

        typer.echo(json.dumps(selected.as_json(), indent=2, ensure_ascii=False))
    else:
        print_blocks(plan_blocks(selected))


def _until(planned: Plan, until: str | None) -> Plan:
    """The stages up to `--until`."""
    from dataclasses import replace

    names = [stage.stage for stage in planned]
    return replace(planned, stages=planned.stages[: names.index(until) + 1 if until else None])


def plan_blocks(planned: Plan) -> list[Block]:
    """A plan as blocks: the stages with their reasons, the work, what is kept, what is unknown."""
    from recipekit.report.blocks import Code, FilePath, Table, Text

    header = ["stage", "state", "key", "reason"]
    rows: list[list[Line]] = [
        [stage.stage, STATES[stage.state], (stage.key or "")[:12], "; ".join(stage.reasons)]
        for stage in planned
    ]
    title = ("Recipe ", Code(planned.recipe), ", cache ", FilePath(str(planned.cache)))
    blocks: list[Block] = [Table(header, rows, left=4, title=title)]
    if table := _work_table(planned):
        blocks.append(table)
    notes = [Text(f"warning: {note}") for note in planned.notes]
    return [*blocks, *_kept(planned), *_unknown(planned), *notes]


def _work_table(planned: Plan) -> Table | None:
    from recipekit.report.blocks import Table

    rows = [row for stage in planned if stage.state != "hit" for row in _work_rows(stage)]
    return Table(["stage", "expected work"], rows, left=2) if rows else None


def _work_rows(stage: StagePlan) -> Iterator[list[Line]]:
    """The work of a stage, then the work of each of its components."""
    if "unknown until" not in stage.estimate and (amounts := work(stage.estimate)):
        yield [stage.stage, amounts]
    for components in COMPONENTS:
        for name, estimate in stage.estimate.get(components, {}).items():
            yield [f"{stage.stage}: {name}", work(estimate)]


def _kept(planned: Plan) -> Iterator[Text]:
    from recipekit.report.blocks import Text

    for stage in planned:
        if stage.kept:
            yield Text(f"{stage.stage} continues with {' and '.join(stage.kept)}.")


def _unknown(planned: Plan) -> Iterator[Text]:
    from recipekit.report.blocks import Text

    stages: dict[str, list[str]] = {}
    for stage in planned:
        if until := stage.estimate.get("unknown until"):
            stages.setdefault(str(until), []).append(stage.stage)
    for until, names in stages.items():
        sentence, _, hint = until.partition(". ")
        yield Text(f"The work of {', '.join(names)} is unknown until {sentence}.")
        if hint:
            yield Text(f"{hint}.")


def work(estimate: Mapping[str, Any]) -> str:
    """An estimate in a line: `25,000,000 pairs, 1,000,000 calls, 7.62 B tokens in, $1,323`."""
    amounts = [
        _amount(str(unit), value)
        for unit, value in estimate.items()
        if not isinstance(value, Mapping)
    ]
    return ", ".join(amounts)


def _amount(unit: str, value: Any) -> str:
    """One figure with its unit. A text explains a missing figure, or the basis of the others."""
    from recipekit.report.numbers import duration, size, usd

    if not isinstance(value, int | float):
        return f"{unit} {value}"
    at_most = "at most " if unit.endswith(" at most") else ""
    unit = unit.removesuffix(" at most")
    first, _, rest = unit.partition(" ")
    match first:
        case "usd":
            return f"{at_most}{usd(value)}" if value else "free"
        case "max_cost_usd":
            return f"limit {usd(value)}"
        case "max_calls":
            return f"limit {_count(value)} calls"
        case "hours":
            return f"{at_most}{duration(3600 * value)} {rest}".rstrip()
        case "bytes":
            return f"{at_most}{size(value)} {rest}"
        case "flop":
            return f"{at_most}{_flop(value)} {rest}"
        case "tokens":
            number = f"{value / 1e6:,.1f} M" if 1e6 <= value < 1e9 else _count(value)
            return f"{at_most}{number} {unit}"
        case _:
            return f"{at_most}{_count(value)} {unit}"


def _count(value: float) -> str:
    return f"{value / 1e9:,.2f} B" if value >= 1e9 else f"{value:,.0f}"


def _flop(value: float) -> str:
    if value >= 1e11:
        return f"{value / 1e12:,.2f} TFLOP"
    return f"{value / 1e9:,.2f} GFLOP" if value >= 1e8 else f"{value / 1e6:,.2f} MFLOP"
