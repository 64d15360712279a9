"""Conformance checks of components of every kind."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from recipekit.artifacts.key import canonical, fields_identity
from recipekit.component import KINDS, Component, Slot, field_docs, is_identity
from recipekit.recipe.positions import dotted
from recipekit.recipe.slots import slots
from recipekit.testing.promises import (
    ConformanceError,
    call,
    conformance_check,
    expect,
    shown,
)

__all__ = ["HEAVY", "check_spec"]

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


@conformance_check
def check_spec(spec: Component[Any], kind: str) -> None:
    """Check a component as a spec, and the components in its slots.

    It is frozen and documented, its identity can be written as JSON, the files that it reads are
    in `files()`, and importing it imports nothing heavy.

    Args:
        spec: The component, with values for its fields; `recipekit.testing.bind` makes one that
            contains others.
        kind: Its kind, a key of `recipekit.component.KINDS`.

    Raises:
        AssertionError: It breaks a promise.
    """
    expect(kind in KINDS, f"{kind!r} is not a kind; the kinds are {', '.join(KINDS)}")
    cls = type(spec)
    name, base = cls.__name__, KINDS[kind].__name__
    if isinstance(spec, type):
        raise ConformanceError(f"{spec.__name__} is a class: pass an instance, {spec.__name__}()")
    expect(
        isinstance(spec, KINDS[kind]),
        f"{name} is not a {base}: derive the class from recipekit.component.{base}",
    )
    for key, _, slot in slots(cls, spec):
        expect(
            isinstance(slot, Slot) and slot._spec is not None,
            f"{name}.{dotted(key)} contains a component that is not validated: make the spec with "
            f"recipekit.testing.bind({name}, ...)",
        )
        check_spec(slot.spec, slot.entry.kind)
    expect(
        isinstance(cls.version, int) and cls.version >= 1,
        f"{name}.version is {shown(cls.version)}; it must be an int of at least 1",
    )
    expect(
        (cls.__dict__.get("__doc__") or "").strip(),
        f"{name} has no docstring; its first line is what `recipekit components` shows",
    )
    defined = callable(cls.build) and cls.build is not KINDS[kind].build
    expect(defined, f"{name} does not define build(), which returns the working object")
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
        except Exception:
            continue
        raise ConformanceError(f"{name} is not frozen: {field} can be assigned")
    counted = _files(spec)
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


def _files(spec: Component[Any]) -> set[Path]:
    """The paths that `files()` returns."""
    name = f"{type(spec).__name__}.files()"
    expected = "it must return a mapping of names to Paths"
    files = call(name, expected, spec.files)
    is_map = isinstance(files, Mapping) and all(
        isinstance(key, str) and isinstance(path, Path) for key, path in files.items()
    )
    expect(is_map, f"{name} returns {shown(files)}; {expected}")
    return set(files.values())


def _check_identity(spec: Component[Any]) -> None:
    name = type(spec).__name__
    expected = "it must return a JSON value, or None"
    fingerprint = call(f"{name}.fingerprint()", expected, spec.fingerprint)
    call(f"{name}.fingerprint() returns a value that", expected, lambda: canonical(fingerprint))
    json_fields = "the fields of a component must be JSON values"
    call(f"{name}: writing its fields", json_fields, lambda: canonical(fields_identity(spec)))
    schema = "the types of fields must have a JSON Schema"
    call(f"{name}.model_json_schema()", schema, type(spec).model_json_schema)
    expected = "a component must be valid again from its own values"
    again = call(name, expected, lambda: type(spec).model_validate(spec.model_dump()))
    inside = list(slots(type(spec), spec))
    copies = list(slots(type(spec), again))
    changed = f"{name} changes when it is validated again from its own values"
    expect(len(inside) == len(copies), changed)
    for (_, _, slot), (_, _, copy) in zip(inside, copies, strict=True):
        copy.bind(slot.entry, slot.spec)
    expect(fields_identity(again) == fields_identity(spec), changed)


IMPORT: Final = """
import importlib.util, json, sys
name, file = sys.argv[1:]
try:
    importlib.import_module(name)
except ModuleNotFoundError as error:
    if error.name != name:
        raise
    # Local code, which has no name to import it by.
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
print(json.dumps(sorted(sys.modules)))
"""
"""Imports a module by its name or file, and prints the names of all modules that are loaded."""


@cache
def heavy_imports(module: str) -> tuple[str, ...]:
    """Return the modules of `HEAVY` that a module imports, in a new process."""
    file = getattr(importlib.import_module(module), "__file__", None)
    if module == "__main__" or file is None:
        return ()
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, module, file],
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
