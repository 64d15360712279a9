"""`use` that names another component of the recipe by its path, such as `mine.retrievers.dense`.

The keys of the named component are copied, so the result is that of a recipe in which they are
written out: keys of artifacts, locks and `fill` know no names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from recipekit.recipe.positions import Document, KeyPath, at
from recipekit.suggestions import did_you_mean

__all__ = ["NAME_OF_COMPONENT", "copy_named_component", "names_component", "note_copies"]

NAME_OF_COMPONENT: Final = r"^[A-Za-z_]\w*(\.[A-Za-z][\w-]*)+$"
"""The form of a path to a component."""


def names_component(document: Document, use: Any) -> bool:
    """Whether `use` is a path below one of the recipe's sections."""
    if not isinstance(use, str) or not re.match(NAME_OF_COMPONENT, use):
        return False
    return isinstance(document.value, dict) and use.split(".")[0] in document.value


def copy_named_component(document: Document, path: KeyPath, fields: dict[str, Any]) -> bool:
    """Replace `use` by that of the named component, and add its keys; keys that are there remain.

    Args:
        document: The recipe. A mistake joins its findings.
        path: The path of the component that names another one.
        fields: Its keys.

    Returns:
        Whether there is such a component.
    """
    named_path: KeyPath = tuple(fields["use"].split("."))
    named = at(document.value, named_path)
    if not isinstance(named, dict) or not isinstance(named.get("use"), str):
        document.find((*path, "use"), _unknown(document, named_path), "RK106")
        return False
    if any(names_component(document, use) for use in _uses(named)):
        message = f"'{fields['use']}' names another component itself: name that one"
        document.find((*path, "use"), message, "RK106")
        return False
    own = {key: value for key, value in fields.items() if key != "use"}
    document.copied[path] = named_path
    fields.update({**deepcopy(named), **own})
    return True


def note_copies(document: Document, path: KeyPath) -> None:
    """Note the components that name others, of those on the way to a path.

    For a document whose names of components are not replaced.
    """
    for length in range(1, len(path) + 1):
        use = at(document.value, (*path[:length], "use"))
        if names_component(document, use):
            document.copied[path[:length]] = tuple(use.split("."))


def _unknown(document: Document, named_path: KeyPath) -> str:
    *parents, name = named_path
    around = at(document.value, tuple(parents))
    found = around if isinstance(around, dict) else {}
    known = [key for key, value in found.items() if isinstance(value, dict) and "use" in value]
    holder = ".".join(map(str, parents))
    listed = ", ".join(known) or "none"
    return (
        f"{holder} has no component '{name}' (there are: {listed}).{did_you_mean(str(name), known)}"
    )


def _uses(value: Any) -> Iterator[Any]:
    """The values of `use` in a component and in those inside it."""
    if isinstance(value, dict):
        yield value.get("use")
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from _uses(item)
