"""The stages' order, and what each one reads; nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from recipekit.recipe.sections import Section
    from recipekit.stages.inputs import StageInputs

__all__ = ["PIPELINE", "Stage", "stage_named"]


@dataclass(frozen=True)
class Stage:
    """One stage: a function `name(inputs, section, out) -> summary` in the module of its name."""

    name: str
    reads: tuple[str, ...]
    """The stages whose artifacts it reads, where the recipe has them."""
    version: int = 1
    """Raised when the same section and inputs would now give another artifact."""
    ranks: bool = False
    """Whether it computes with torch, on as many ranks as there are."""

    def function(self) -> Callable[[StageInputs, Section, Path], dict[str, Any]]:
        """Import the stage."""
        stage: Callable[[StageInputs, Section, Path], dict[str, Any]] = getattr(
            import_module(f"recipekit.stages.{self.name}.{self.name}"), self.name
        )
        return stage


PIPELINE: Final = (
    Stage("collect", reads=()),
    Stage("mine", reads=("collect",), ranks=True),
    Stage("judge", reads=("collect", "mine"), version=2, ranks=True),
    Stage("train", reads=("collect", "mine", "judge"), ranks=True),
    Stage("evaluate", reads=("collect", "train"), ranks=True),
    Stage("export", reads=("collect", "mine", "judge", "train", "evaluate")),
)


def stage_named(name: str) -> Stage:
    """The stage of a section's name."""
    return next(stage for stage in PIPELINE if stage.name == name)
