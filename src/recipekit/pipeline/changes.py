"""What changed since a stage last ran, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipekit.artifacts.key import canonical
from recipekit.artifacts.store import Store

__all__ = ["changes", "changes_since"]

LONGEST_VALUE = 60
_ABSENT: Any = object()


def changes_since(
    store: Store, recipe: str, stage: str, identity: Mapping[str, Any]
) -> Iterator[str]:
    """Yield how an identity differs from the most similar artifact of the same stage.

    Artifacts of the same recipe are preferred.
    """
    others = [artifact.manifest for artifact in store.all() if artifact.stage == stage]
    if not others:
        yield "not cached"
        return
    own = [manifest for manifest in others if manifest.get("recipe") == recipe]
    differences = [list(changes(manifest["identity"], identity)) for manifest in own or others]
    yield from min(differences, key=len)


def changes(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield the leaves in which two identities differ, as `path: old → new`.

    Changed inputs and files are named rather than hashed.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping) and not _other_component(old, new):
        for name in dict.fromkeys((*old, *new)):
            below = f"{path}.{name}" if path else str(name)
            yield from changes(old.get(name, _ABSENT), new.get(name, _ABSENT), below)
    elif old is not _ABSENT and new is not _ABSENT and canonical(old) == canonical(new):
        return
    elif path.startswith("inputs."):
        yield f"{path.removeprefix('inputs.')} changed"
    elif ".files." in path:
        label, _, file = path.partition(".files.")
        yield f"{_readable(label)}: content of '{file.replace('..', '.')}' changed"
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
