"""What a run covers: the stages between `--from` and `--until` that are not cached."""

from __future__ import annotations

from dataclasses import dataclass

from recipekit.errors import RunError
from recipekit.pipeline.plan import Plan
from recipekit.suggestions import did_you_mean

__all__ = ["Selection", "check_range", "select"]


def check_range(names: list[str], start: str | None, until: str | None) -> None:
    """Check `--from` and `--until`.

    Raises:
        RunError: The recipe does not have such a stage, or there is nothing between the two.
    """
    for flag, name in (("--from", start), ("--until", until)):
        if name is not None and name not in names:
            hint = did_you_mean(name, names) or f" It has {', '.join(names)}."
            raise RunError(f"{flag} {name}: this recipe has no such stage.{hint}", code="RK605")
    if start and until and names.index(start) > names.index(until):
        raise RunError(
            f"--from {start} comes after --until {until}: no stage would run", code="RK605"
        )


@dataclass(frozen=True)
class Selection:
    """What a run covers."""

    start: str | None

    names: list[str]
    """The stages up to `--until`."""
    forced: set[str]
    """Those from `--from` on, which run even where they are cached."""
    to_run: list[str]
    """Those that are forced or not cached."""


def select(planned: Plan, start: str | None, until: str | None) -> Selection:
    """Apply `--from` and `--until` to a plan."""
    names = [stage.stage for stage in planned]
    selected = names[: names.index(until) + 1] if until else names
    forced = set(names[names.index(start) :]) if start else set()
    to_run = [name for name in selected if name in forced or planned[name].state != "hit"]
    return Selection(start, selected, forced, to_run)
