"""Finds credentials in recipes, which are shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic.fields import FieldInfo

from recipekit.component import is_headers, is_secret, is_url
from recipekit.recipe.environment import has_placeholder
from recipekit.recipe.positions import KeyPath

__all__ = ["written_secrets"]

_NOT_IN_A_RECIPE: Final = "which does not belong in a recipe: write ${env:NAME}"
CREDENTIALS: Final = ("auth", "key", "token", "secret", "password", "credential", "cookie")
"""Parts of the names of headers that contain a credential."""


def written_secrets(field: FieldInfo, value: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield the credentials in a field's value as written: their paths in it, and messages."""
    if is_secret(field) and _is_written(value):
        yield (), "a secret does not belong in a recipe: write ${env:NAME}, and set that variable"
    if is_url(field):
        for index, url in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(url, str) and (user := _user(url)) and _is_written(user):
                message = f"contains a password, {_NOT_IN_A_RECIPE} instead"
                yield (() if index is None else (index,)), message
    if is_headers(field) and isinstance(value, dict):
        for name, text in value.items():
            if _is_written(text) and any(part in name.lower() for part in CREDENTIALS):
                yield (name,), f"this header contains a credential, {_NOT_IN_A_RECIPE}"


def _is_written(value: Any) -> bool:
    """Whether a value is a text without a placeholder."""
    return isinstance(value, str) and not has_placeholder(value)


def _user(url: str) -> str:
    """Return the user and password of a URL, or an empty text."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[0]
