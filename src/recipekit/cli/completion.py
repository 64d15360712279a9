"""What a shell completes: recipes, stages and kinds of components. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

__all__ = ["complete_kind", "complete_recipe", "complete_stage"]


def complete_recipe(incomplete: str) -> list[str]:
    """Recipe files and folders that start like this, and shipped recipes."""
    from recipekit.recipe.shipped import shipped

    folder, _, start = incomplete.rpartition("/")
    prefix = f"{folder}/" if folder or incomplete.startswith("/") else ""
    found = []
    try:
        for path in sorted(Path(prefix or ".").expanduser().iterdir()):
            if path.name.startswith(start) and not (path.name.startswith(".") and not start):
                if path.is_dir():
                    found.append(f"{prefix}{path.name}/")
                elif path.suffix in (".yaml", ".yml"):
                    found.append(f"{prefix}{path.name}")
    except OSError:
        pass  # a folder that cannot be read completes to nothing
    return found + [name for name in shipped() if name.startswith(incomplete)]


def complete_stage(incomplete: str) -> list[str]:
    """The stages of the pipeline, in order."""
    from recipekit.stages import PIPELINE

    return [stage.name for stage in PIPELINE if stage.name.startswith(incomplete)]


def complete_kind(incomplete: str) -> list[str]:
    """The kinds of components."""
    from recipekit.component import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]
