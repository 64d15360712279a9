"""The documentation of a model's fields: the docstrings below them.

They are read from the source when they are shown. Pydantic would read them when a class is
defined, which takes a third of the time of `recipekit validate`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache

from pydantic import BaseModel

__all__ = ["field_docs"]


@cache
def field_docs(model: type[BaseModel]) -> Mapping[str, str]:
    """The documentation of a model's fields by name: `Field(description=...)`, or the docstring.

    A field without documentation is missing.
    """
    docs: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            docs |= _docstrings(cls)
    given = {name: field.description for name, field in model.model_fields.items()}
    found = {name: text or docs.get(name, "") for name, text in given.items()}
    return {name: text for name, text in found.items() if text}


@cache
def _docstrings(cls: type) -> Mapping[str, str]:
    """The docstrings below the annotated names of one class."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
        [definition] = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}  # a class without a source file
    docs: dict[str, str] = {}
    name: str | None = None
    for statement in getattr(definition, "body", []):
        match statement:
            case ast.Expr(value=ast.Constant(value=str(text))) if name is not None:
                docs[name] = inspect.cleandoc(text)
        match statement:
            case ast.AnnAssign(target=ast.Name(id=target)):
                name = target
            case _:
                name = None
    return docs
