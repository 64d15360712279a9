"""Finds components by their entry points.

`find` reads the metadata of installed distributions and imports nothing. `load` imports one
component and checks its class. A plugin that cannot be imported is listed with the reason, and
fails only the recipes that name it.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

from recipekit.component import KINDS, Component, Entry, PhaseSpec
from recipekit.errors import ComponentError
from recipekit.suggestions import did_you_mean

__all__ = ["Entry", "find", "group", "load", "resolve", "where"]


def group(kind: str) -> str:
    """The entry-point group of a kind: `recipekit.sources`, `recipekit.losses`."""
    return f"recipekit.{kind}es" if kind.endswith("s") else f"recipekit.{kind}s"


@cache
def _installed() -> Mapping[str, tuple[Entry, ...]]:
    """Every installed component, by kind and in the order of names, from one scan.

    Metadata is read only of distributions that have components. The first distribution of a name
    on `sys.path` is the one that is imported, so it hides later ones.
    """
    kinds = {group(kind): kind for kind in KINDS}
    found: dict[str, dict[tuple[str, str], Entry]] = {kind: {} for kind in KINDS}
    names: set[str] = set()
    for distribution in distributions():
        text = distribution.read_text("entry_points.txt") or ""
        if "[recipekit." not in text:
            continue
        metadata = distribution.metadata  # parsed at every access
        name, version = metadata["Name"] or "?", metadata["Version"] or "?"
        if name in names:
            continue
        names.add(name)
        for point in distribution.entry_points:
            if kind := kinds.get(point.group):
                entry = Entry(kind, point.name, name, version, point.value)
                found[kind][point.name, name] = entry
    return {kind: tuple(entries[key] for key in sorted(entries)) for kind, entries in found.items()}


def find(kind: str) -> Sequence[Entry]:
    """Every installed component of a kind, by name; nothing is imported."""
    return _installed()[kind]


def resolve(
    kind: str, use: str, *, folder: Path | None = None, allow_local_code: bool = False
) -> Entry:
    """Find the entry that `use` names: `NAME`, `DISTRIBUTION/NAME`, or `./FILE.py:CLASS`.

    Args:
        kind: The kind, a key of `KINDS`.
        use: The value of `use:`.
        folder: The folder of relative local files; by default, the current folder.
        allow_local_code: Whether a recipe can bring code.

    Raises:
        ComponentError: The name is unknown, several distributions claim it, or local code is not
            allowed.
    """
    if ".py:" in use:
        return _local(kind, use, folder or Path.cwd(), allow_local_code)
    distribution, _, name = use.rpartition("/")
    entries = [
        entry
        for entry in find(kind)
        if entry.name == name and distribution in ("", entry.distribution)
    ]
    if not entries:
        names = sorted({entry.name for entry in find(kind)})
        known = ", ".join(names) or "none"
        raise ComponentError(
            f"unknown {kind} '{use}'.{did_you_mean(name, names) or f' Installed: {known}.'}",
            code="RK201",
        )
    if len(entries) > 1:
        choices = " or ".join(f"'{entry.use}'" for entry in entries)
        raise ComponentError(
            f"{kind} '{use}' is claimed by several distributions: write {choices}", code="RK202"
        )
    return entries[0]


def _local(kind: str, use: str, folder: Path, allowed: bool) -> Entry:
    file_name, _, class_name = use.rpartition(":")
    file = (folder / Path(file_name).expanduser()).resolve()
    if not allowed:
        raise ComponentError(
            f"'{use}' is local code: read it, then allow it with --allow-local-code",
            code="RK203",
        )
    if not file.is_file():
        raise ComponentError(f"no such file: {file}", code="RK204")
    import hashlib

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Entry(kind, class_name, f"local:{digest}", "", use, file)


def load(entry: Entry) -> type[Component[Any]]:
    """Import a component and check its class.

    Raises:
        ComponentError: Its import fails, it is not a spec of its kind, it
            does not define `build()`, or it is a phase without `total_epochs`.
    """
    try:
        point = EntryPoint(entry.name, entry.target, group(entry.kind))
        loaded = _import_file(entry) if entry.file else point.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ComponentError(
            f"{entry.kind} '{entry.name}' ({_owner(entry)}) cannot be imported: {reason}",
            code="RK205",
        ) from error
    base = KINDS[entry.kind]
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise ComponentError(
            f"{entry.kind} '{entry.name}' ({_owner(entry)}): "
            f"{entry.target} is not a {base.__name__}",
            code="RK206",
        )
    if loaded.build is Component.build:
        raise ComponentError(
            f"{entry.kind} '{entry.name}' ({_owner(entry)}): {entry.target} does not define "
            "build()",
            code="RK206",
        )
    # `plan` calls this method before any stage runs.
    if issubclass(loaded, PhaseSpec) and loaded.total_epochs is PhaseSpec.total_epochs:
        raise ComponentError(
            f"phase '{entry.name}' ({_owner(entry)}): {entry.target} does not define "
            "total_epochs()",
            code="RK206",
        )
    return loaded


def _owner(entry: Entry) -> str:
    return "local code" if entry.file else entry.distribution


def _import_file(entry: Entry) -> object:
    assert entry.file is not None
    # One module per content, so that an edited file is imported again.
    name = f"recipekit_local_{entry.file.stem}_{entry.distribution[-12:]}"
    if not _has_source(name):
        spec = importlib.util.spec_from_file_location(name, entry.file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{entry.file} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        writes_bytecode = sys.dont_write_bytecode
        sys.dont_write_bytecode = True  # reading a recipe adds no __pycache__ next to it
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        finally:
            sys.dont_write_bytecode = writes_bytecode
    return getattr(sys.modules[name], entry.name)


def _has_source(module: str) -> bool:
    """Whether a module is imported, from a file that still exists: docstrings are read from it."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and Path(file).is_file()


def where(component: type[Component[Any]]) -> str:
    """Return the `file:line` of a component's class."""
    return f"{inspect.getsourcefile(component)}:{inspect.getsourcelines(component)[1]}"
