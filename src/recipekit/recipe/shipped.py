"""Finds a recipe: a file, or a shipped recipe by its name."""

from __future__ import annotations

from pathlib import Path

from recipekit.errors import RecipeError
from recipekit.recipe.positions import Finding, SourceLocation, refuse
from recipekit.suggestions import did_you_mean

__all__ = ["is_shipped", "locate", "shipped", "shipped_baselines"]


def shipped() -> dict[str, Path]:
    """Return the recipes that come with recipekit, by name, from the wheel or the checkout."""
    return {file.stem: file for file in sorted(_folder().glob("*.yaml"))}


def shipped_baselines() -> dict[str, Path]:
    """Return the published baselines of shipped recipes, as folders by the recipe's name."""
    return {file.parent.name: file.parent for file in _folder().glob("baselines/*/bundle.json")}


def _folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    folder = package / "recipes"
    if not folder.is_dir() and (package.parents[1] / "pyproject.toml").is_file():
        folder = package.parents[1] / "recipes"
    return folder


def is_shipped(source: object, file: Path) -> bool:
    """Return whether a recipe was requested by the name of a shipped recipe.

    Args:
        source: The recipe as the user named it.
        file: Its file, from `locate`.
    """
    return isinstance(source, str) and shipped().get(source) == file


def locate(source: str | Path) -> Path:
    """Return the file of a recipe: a path, or else the name of a shipped recipe.

    Raises:
        RecipeError: There is neither.
    """
    path = Path(source).expanduser()
    known = shipped()
    if not path.is_file() and isinstance(source, str) and source in known:
        return known[source]
    if path.exists() or path.is_symlink():
        return path
    raise _missing(str(source), path, known)


def _missing(source: str, path: Path, known: dict[str, Path]) -> RecipeError:
    folder = path.parent
    if not folder.is_dir():
        hint = f" There is no folder {folder} either."
    else:
        files = [file.name for file in folder.glob("*.y*ml")]
        found = (
            did_you_mean(path.name, files)
            or did_you_mean(path.name, [Path(name).stem for name in files])
            if files
            else ""
        )
        if found and folder != Path():
            found = found.replace("'", f"'{folder}/", 1)
        hint = found or did_you_mean(source, known)
        if not hint and known and folder == Path():
            hint = f" `recipekit init` writes one. Shipped recipes: {', '.join(known)}."
    return refuse(
        [Finding(SourceLocation((0, 0, 0), source), (), f"no such recipe file.{hint}", "RK101")]
    )
