"""Components without a recipe: a spec made from the keys that a recipe would have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from recipekit.component import Component
from recipekit.recipe.binding import validate_component

__all__ = ["bind"]

SpecT = TypeVar("SpecT", bound=Component[Any])


def bind(spec: type[SpecT], fields: Mapping[str, Any], folder: Path | None = None) -> SpecT:
    """Validate a component as a recipe does, with the components in its slots.

    ```python
    loss = bind(MatryoshkaSpec, {"inner": {"use": "infonce"}, "dimensions": [32, 64]})
    ```

    Args:
        spec: The component's class; it needs no entry point. Components in its slots are found by
            theirs, or by `./file.py:Class`.
        fields: Its keys, as a recipe has them, without `use`.
        folder: Where relative paths start; by default, the current folder.

    Raises:
        RecipeError: Everything that is wrong with the keys, by path.
    """
    found = validate_component(spec, dict(fields), folder or Path.cwd())
    assert isinstance(found, spec)
    return found
