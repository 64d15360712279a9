"""`recipekit plan`: what a run would do, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from recipekit.pipeline.plan import Plan

__all__ = ["plan", "render_plan"]


def plan(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Override a key; repeatable."),
    ] = None,
    cache: Annotated[Path, typer.Option(help="The cache's folder.")] = Path(".recipekit"),
    allow_local_code: Annotated[
        bool,
        typer.Option("--allow-local-code", help="Let the recipe name components in local files."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan as JSON, identities included.")
    ] = False,
) -> None:
    """Show what a run would do: each stage made already or not, which input changed, and how much
    work that is.
    """
    from recipekit.pipeline.plan import plan as make_plan
    from recipekit.stages.recipe import load_recipe

    planned = make_plan(
        load_recipe(recipe, overrides or (), allow_local_code=allow_local_code), cache=cache
    )
    if as_json:
        import json

        typer.echo(json.dumps(planned.as_json(), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(render_plan(planned)))


def render_plan(planned: Plan) -> Iterator[str]:
    """A plan as lines: the stage, hit or miss, its key, then why and how much, indented."""
    yield f"{planned.recipe}: {len(planned.stages)} stages, cache {planned.cache}"
    unknown: dict[str, list[str]] = {}
    for stage in planned:
        yield f"  {stage.stage:<9} {stage.state:<8} {(stage.key or '')[:12]}".rstrip()
        for reason in stage.reasons:
            yield f"            because {reason}"
        if until := stage.estimate.get("unknown until"):
            unknown.setdefault(str(until), []).append(stage.stage)
        elif figures := _figures(stage.summary) if stage.state == "hit" else work(stage.estimate):
            yield f"            {figures}"
        for part in ("retrievers", "judges"):
            for name, told in stage.estimate.get(part, {}).items():
                yield f"              {name}: {work(told)}"
    for until, names in unknown.items():
        yield f"  how much work {', '.join(names)} will be is unknown until {until}"


def work(estimate: Mapping[str, Any]) -> str:
    """An estimate in a line: `25,000,000 pairs, 1,000,000 calls, 7.62 B tokens in, $1,323`."""
    return ", ".join(
        _amount(str(name), value)
        for name, value in estimate.items()
        if not isinstance(value, Mapping)
    )


def _amount(unit: str, value: Any) -> str:
    """One figure with its unit. A text says why there is no figure, or what the others rest on."""
    from recipekit.report.numbers import duration, size, usd

    if not isinstance(value, int | float):
        return f"{unit} {value}"
    if unit in ("usd", "max_cost_usd"):
        return usd(value) if unit == "usd" else f"judge.max_cost_usd {usd(value)}"
    if unit == "hours" or unit.startswith("hours "):
        return f"{duration(3600 * value)} {unit.removeprefix('hours')}".replace("  ", " ").rstrip()
    if unit.startswith("bytes "):
        return f"{'at most ' if unit.endswith(' at most') else ''}{size(value)} {unit.removeprefix('bytes ').removesuffix(' at most')}"
    if unit.startswith("flop "):
        work = f"{value / 1e12:,.2f} TFLOP" if value >= 1e11 else f"{value / 1e9:,.2f} GFLOP"
        return f"{work} {unit.removeprefix('flop ')}"
    number = (
        f"{value / 1e9:,.2f} B"
        if value >= 1e9
        else f"{value / 1e6:,.1f} M"
        if unit.startswith("tokens") and value >= 1e6
        else f"{value:,.0f}"
    )
    if unit == "max_calls":
        return f"judge.max_calls {number}"
    return (
        f"at most {number} {unit.removesuffix(' at most')}"
        if unit.endswith(" at most")
        else f"{number} {unit}"
    )


def _figures(summary: Mapping[str, Any]) -> str:
    """The whole numbers and short texts of a summary, in a line."""
    parts = []
    for name, value in summary.items():
        if isinstance(value, Mapping):
            inner = _figures(value)
            parts += [f"{name} ({inner})"] if inner and len(inner) < 80 else []
        elif isinstance(value, int) and not isinstance(value, bool):
            parts.append(f"{name.replace('_', ' ')} {value:,}")
        elif isinstance(value, str) and len(value) < 60:
            parts.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(parts)
