"""Experiment trackers, which show losses and dev values while a run trains, through Accelerate."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from recipekit.errors import RunError
from recipekit.suggestions import did_you_mean

__all__ = ["TRACKERS", "TrainingTracker", "check_tracker"]

TRACKERS: Final = (
    "tensorboard",
    "wandb",
    "mlflow",
    "comet_ml",
    "aim",
    "clearml",
    "dvclive",
    "swanlab",
    "trackio",
)
"""The trackers of Accelerate, each called as its package."""


def check_tracker(name: str) -> None:
    """Check that a tracker exists and its package is installed, without importing it.

    Raises:
        RunError: It does not exist, or is not installed.
    """
    if name not in TRACKERS:
        hint = did_you_mean(name, TRACKERS) or f" The trackers are {', '.join(TRACKERS)}."
        raise RunError(f"--tracker {name}: there is no such tracker.{hint}", code="RK602")
    if find_spec(name) is None:
        raise RunError(
            f"--tracker {name}: the package {name} is not installed: pip install {name}",
            code="RK602",
        )


class TrainingTracker:
    """Passes the numbers of training's log events to a tracker.

    It passes numbers and the recipe's name. The recipe's content, texts and the environment are not
    sent, so no secret can be.
    """

    def __init__(self, name: str, recipe: str, run: Path) -> None:
        """Start the tracker.

        Args:
            name: The tracker.
            recipe: The recipe's name, which names the project of a service.
            run: The run's folder, in which a tracker that writes files writes `NAME/`.
        """
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        kind: Any = LOGGER_TYPE_TO_CLASS[name]
        if kind.requires_logging_directory:
            self.tracker = kind(name, logging_dir=str(run))
        else:
            self.tracker = kind(recipe)
        self.tracker.start()

    def log(self, event: str, fields: Mapping[str, Any]) -> None:
        """Pass an event's numbers on, if it is one of training."""
        values = _numbers(event, fields)
        if values:
            self.tracker.log(values, step=int(fields["step"]))

    def finish(self) -> None:
        """Write what is buffered, and end."""
        self.tracker.finish()


def _numbers(event: str, fields: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an event by the name that the tracker shows."""
    if event == "step":
        names = ("loss", "gradient_norm", "learning_rate", "steps_per_second")
        return {f"train/{name}": float(fields[name]) for name in names if name in fields}
    if event == "evaluate":
        return {f"dev/{fields['metric']}": float(fields["value"])}
    if event == "part":
        others = {name: value for name, value in fields.items() if name != "step"}
        return {
            f"{fields['phase']}/{name}": float(value)
            for name, value in others.items()
            if isinstance(value, int | float)
        }
    return {}
