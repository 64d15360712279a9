"""Errors in the methods of components, which plugins can get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recipekit.component.spec import Component
from recipekit.errors import ComponentError, RecipekitError

__all__ = ["method_errors"]


@contextmanager
def method_errors(component: Component[Any], method: str) -> Iterator[None]:
    """Turn an unexpected error in a component's method into one line that names both.

    Raises:
        ComponentError: The method raised something else than an error of recipekit.
    """
    try:
        yield
    except RecipekitError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise ComponentError(
            f"{type(component).__name__}.{method}() failed: {reason}", code="RK207"
        ) from error
