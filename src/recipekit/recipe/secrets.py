"""Credentials that are written out in a recipe, which is there to be shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic.fields import FieldInfo

from recipekit.component import is_headers, is_secret, is_url
from recipekit.recipe.environment import has_placeholder
from recipekit.recipe.positions import KeyPath

__all__ = ["written_secrets"]

CREDENTIALS: Final = ("auth", "key", "token", "secret", "password", "credential", "cookie")
"""What the names of headers contain that hold one."""


def written_secrets(field: FieldInfo, value: Any) -> Iterator[tuple[KeyPath, str]]:
    """The credentials in a field's value as it stands in the recipe: where in it, and what to do
    instead.
    """
    if is_secret(field) and _is_written(value):
        yield (), "a secret does not belong in a recipe: write ${env:NAME}, and set that variable"
    if is_url(field):
        for place, url in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(url, str) and (user := _user(url)) and _is_written(user):
                told = "holds a user's password, which does not belong in a recipe: write ${env:NAME} in its place"
                yield (() if place is None else (place,)), told
    if is_headers(field) and isinstance(value, dict):
        for name, text in value.items():
            if _is_written(text) and any(part in name.lower() for part in CREDENTIALS):
                yield (
                    (name,),
                    "a header of this name holds a credential, which does not belong in a recipe: write ${env:NAME}",
                )


def _is_written(value: Any) -> bool:
    """Whether something is a text that stands in the recipe itself."""
    return isinstance(value, str) and not has_placeholder(value)


def _user(url: str) -> str:
    """A url's user and password, or nothing."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[0]
