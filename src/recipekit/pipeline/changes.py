"""What changed since a stage last ran, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from recipekit.artifacts.key import canonical
from recipekit.artifacts.store import Store
from recipekit.pipeline.named_files import named_files
from recipekit.recipe.sections import Recipe

__all__ = ["changes", "changes_since"]

LONGEST_VALUE = 60
_ABSENT: Any = object()


def changes_since(
    store: Store, recipe: Recipe, stage: str, identity: Mapping[str, Any]
) -> Iterator[str]:
    """Yield how an identity differs from the most similar artifact of the same stage.

    Artifacts of the same recipe are preferred. Without any, the first line says so, and the next
    names the recipe that it is compared with.
    """
    others = [artifact.manifest for artifact in store.all() if artifact.stage == stage]
    own = [manifest for manifest in others if manifest.get("recipe") == recipe.name]
    if not own:
        yield "not cached"
    if not others:
        return

    def name_file(path: str) -> str | None:
        encoder = f"encoders.{path.rpartition('encoders.')[2]}"
        named = named_files(recipe)
        found = named.get(f"{stage}.{path}") or named.get(encoder)
        if found is None:
            return None
        return f"{found.key.removeprefix(f'{stage}.')}: content of '{found.path}' changed"

    differences = [
        (list(changes(manifest["identity"], identity, name_file=name_file)), manifest)
        for manifest in own or others
    ]
    fewest, nearest = min(differences, key=lambda each: len(each[0]))
    prefix = "" if own else f"compared with '{nearest.get('recipe')}': "
    for number, text in enumerate(fewest):
        yield f"{'' if number else prefix}{text}"


def changes(
    old: Any,
    new: Any,
    path: str = "",
    *,
    name_file: Callable[[str], str | None] = lambda path: None,
) -> Iterator[str]:
    """Yield the leaves in which two identities differ, as `path: old → new`.

    Changed inputs and files are named rather than hashed.

    Args:
        old: The identity that is compared with.
        new: The identity that differs.
        path: Where both are.
        name_file: Returns the line for a file from its path, such as `sources.own.pairs.csv`; None
            if the file has no other name.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping) and not _other_component(old, new):
        for name in dict.fromkeys((*old, *new)):
            below = f"{path}.{name}" if path else str(name)
            values = old.get(name, _ABSENT), new.get(name, _ABSENT)
            yield from changes(*values, below, name_file=name_file)
    elif old is not _ABSENT and new is not _ABSENT and canonical(old) == canonical(new):
        return
    elif path.startswith("inputs."):
        yield f"{path.removeprefix('inputs.')} changed"
    elif ".files." in path:
        label, _, file = path.replace("..", ".").partition(".files.")
        named = name_file(f"{_readable(label)}.{file}")
        yield named or f"{_readable(label)}: content of '{file}' changed"
    else:
        yield f"{_readable(path)}: {_short(old)} → {_short(new)}"


def _other_component(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether these are two different components, of which only the names matter."""
    return "fields" in old and "fields" in new and old.get("name") != new.get("name")


def _readable(path: str) -> str:
    """Return the path of an identity's leaf as it is written in a recipe."""
    parts = [part for part in path.split(".") if part not in ("section", "fields", "limits")]
    return ".".join(parts) or "recipe"


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "(none)"
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return str(value["name"])  # a component that was added or removed: its name is enough
    text = canonical(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
