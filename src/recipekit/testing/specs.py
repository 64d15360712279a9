"""Conformance checks of every component, whatever its kind."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from recipekit.artifacts.key import canonical, fields_identity
from recipekit.component import KINDS, Component, field_docs, is_identity
from recipekit.recipe.slots import all_slots, slots

__all__ = ["HEAVY", "check_spec", "expect", "expect_members"]

HEAVY: Final = (
    "torch",
    "transformers",
    "datasets",
    "sentence_transformers",
    "accelerate",
    "mteb",
    "litellm",
    "elasticsearch",
    "qdrant_client",
)
"""Modules that importing a component must not import, so that validation stays fast."""


def expect(condition: object, sentence: str) -> None:
    """Raise `AssertionError(sentence)` unless the condition holds, also with `python -O`."""
    if not condition:
        raise AssertionError(sentence)


def expect_members(name: str, built: object, protocol: str, *members: str) -> None:
    """Expect the members of a Protocol that have defaults in it."""
    missing = [member for member in members if not hasattr(built, member)]
    expect(
        not missing,
        f"{name} builds a {type(built).__name__} without {', '.join(missing)}: make it a subclass "
        f"of recipekit.component.{protocol}, which has defaults",
    )


def check_spec(spec: Component[Any], kind: str) -> None:
    """Check a component as a spec, and the components in its slots.

    It is frozen and documented, its identity can be written as JSON, the files that it reads are
    in `files()`, and importing it imports nothing heavy.

    Args:
        spec: The component, with values for its fields; `recipekit.testing.bind` makes one that
            contains others.
        kind: Its kind, a key of `recipekit.component.KINDS`.
    """
    for _, slot in all_slots(spec):
        check_spec(slot.spec, slot.entry.kind)
    cls = type(spec)
    name = cls.__name__
    expect(isinstance(spec, KINDS[kind]), f"{name} is not a {KINDS[kind].__name__}")
    expect(
        isinstance(cls.version, int) and cls.version >= 1,
        f"{name}.version is {cls.version!r}; it must be an int of at least 1",
    )
    expect(
        (cls.__dict__.get("__doc__") or "").strip(),
        f"{name} has no docstring; its first line is what `recipekit components` shows",
    )
    expect(cls.build is not KINDS[kind].build, f"{name} does not define build()")
    _check_fields(spec)
    _check_identity(spec)
    loaded = heavy_imports(cls.__module__)
    expect(
        not loaded,
        f"importing {cls.__module__} imports {', '.join(loaded)}; import them inside build()",
    )


def _check_fields(spec: Component[Any]) -> None:
    name, docs = type(spec).__name__, field_docs(type(spec))
    for field in type(spec).model_fields:
        expect(
            field in docs,
            f"{name}.{field} has no docstring below it, which documents the key",
        )
        try:
            setattr(spec, field, getattr(spec, field))
        except ValidationError:
            continue
        raise AssertionError(f"{name} is not frozen: {field} can be assigned")
    counted = {path for path in spec.files().values()}
    for field, info in type(spec).model_fields.items():
        value = getattr(spec, field)
        if isinstance(value, Path):
            expect(
                not is_identity(info),
                f"{name}.{field} is a path, whose content counts: make it a LocalPath",
            )
            inside = any(path == value or value in path.parents for path in counted)
            expect(
                inside,
                f"{name}.{field} is a path, but files() does not list it: changes of its content "
                "would not be noticed",
            )


def _check_identity(spec: Component[Any]) -> None:
    name = type(spec).__name__
    try:
        canonical([fields_identity(spec), spec.fingerprint(), sorted(spec.files())])
    except (TypeError, ValueError) as error:
        raise AssertionError(
            f"{name}: its fields or fingerprint() are not JSON values: {error}"
        ) from error
    type(spec).model_json_schema()
    again = type(spec).model_validate(spec.model_dump())
    inside = slots(type(spec), spec)
    for (_, _, slot), (_, _, copy) in zip(inside, slots(type(spec), again), strict=True):
        copy.bind(slot.entry, slot.spec)
    expect(
        fields_identity(again) == fields_identity(spec),
        f"{name} changes when it is validated again from its own values",
    )


@cache
def heavy_imports(module: str) -> tuple[str, ...]:
    """Return the modules of `HEAVY` that a module imports, in a new process."""
    if module == "__main__" or getattr(importlib.import_module(module), "__file__", None) is None:
        return ()
    program = (
        "import importlib, json, sys; importlib.import_module(sys.argv[1]); "
        "print(json.dumps(sorted(sys.modules)))"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", program, module],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    expect(
        done.returncode == 0,
        f"{module} cannot be imported alone: {done.stderr.strip().splitlines()[-1:]}",
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    return tuple(name for name in HEAVY if name in loaded)
