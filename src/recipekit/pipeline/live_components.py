"""Indices and collections that others may change while a run is under way."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from recipekit.component.method_errors import method_errors
from recipekit.errors import RunError, error_location
from recipekit.pipeline.changes import changes
from recipekit.recipe.positions import KeyPath, dotted
from recipekit.recipe.sections import Section
from recipekit.recipe.slots import all_slots

__all__ = ["check_unchanged"]

SHOWN = 3
"""Differences that a message lists."""


def check_unchanged(stage: str, section: Section, identity: Mapping[str, Any]) -> None:
    """Check that the live components of a stage use what the plan found.

    Args:
        stage: The stage's name.
        section: Its section.
        identity: Everything behind its key, as planned.

    Raises:
        RunError: An index has changed.
        RecipekitError: An index is gone, or cannot be reached any more.
    """
    for path, slot in all_slots(section):
        component = slot.spec
        if not component.live:
            continue
        with error_location(partial("{}: {}".format, stage, dotted(path))):
            with method_errors(component, "fingerprint"):
                found = component.fingerprint()
        differences = list(changes(_planned(identity["section"], path), found))
        if differences:
            raise RunError(
                f"{stage}: what {dotted(path)} reads has changed since the plan "
                f"({'; '.join(differences[:SHOWN])}); run again to use its current content",
                code="RK611",
            )


def _planned(identity: Any, path: KeyPath) -> Any:
    """Return the fingerprint of a component in the identity of its section."""
    for part in path:
        if isinstance(identity, Mapping) and "fields" in identity:  # a component inside another
            identity = identity["fields"]
        identity = identity[part]
    return identity.get("fingerprint")
