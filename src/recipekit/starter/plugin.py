"""The skeleton of a plugin: a package with one component, its entry point and its test."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recipekit.registry import group
from recipekit.starter.plugin_files import PYPROJECT, README, TESTS, USES

__all__ = ["EXAMPLES", "name_error", "plugin_files"]


@dataclass(frozen=True)
class PluginExample:
    """A file of `docs/examples` that the skeleton of a kind starts from."""

    file: str
    class_name: str
    """What the class is called; the spec is called the same, with `Spec` at the end."""


EXAMPLES: Final[Mapping[str, PluginExample]] = {
    "source": PluginExample("headings.py", "Headings"),
    "retriever": PluginExample("shared_words.py", "SharedWords"),
    "judge": PluginExample("word_overlap.py", "WordOverlap"),
    "encoder": PluginExample("word_vectors.py", "WordVectors"),
    "vector_source": PluginExample("json_vectors.py", "JsonVectors"),
    "loss": PluginExample("pairwise.py", "Pairwise"),
    "phase": PluginExample("simcse.py", "SimCSE"),
    "evaluator": PluginExample("success.py", "Success"),
    "exporter": PluginExample("vectors.py", "Vectors"),
}
"""The example of each kind, which the documentation shows."""

MAX_LENGTH: Final = 64


def name_error(name: str) -> str:
    """Return why a plugin cannot have a name; empty if it can."""
    if not re.fullmatch(r"[a-z](?:[a-z0-9]|[-_](?=[a-z0-9]))*", name) or len(name) > MAX_LENGTH:
        return (
            "a name starts with a small letter, and has only small letters, digits, and single "
            f"'-' or '_' between them, at most {MAX_LENGTH} in all"
        )
    package = _package(name)
    if keyword.iskeyword(package):
        return f"'{package}' is a word of Python, so it cannot be imported"
    if importlib.util.find_spec(package) is not None:
        return f"there is a Python module '{package}' already"
    return ""


def plugin_files(name: str, kind: str) -> dict[str, str]:
    """Return the files of a new plugin by their paths in its folder.

    Args:
        name: The name of the distribution, for which `name_error` is empty.
        kind: The kind of its component, a key of `recipekit.component.KINDS`.
    """
    example, package = EXAMPLES[kind], _package(name)
    class_name = "".join(part.capitalize() for part in package.split("_"))
    values = {
        "NAME": name,
        "PACKAGE": package,
        "KIND": kind,
        "GROUP": group(kind),
        "SPEC": f"{class_name}Spec",
        "USE": USES[kind].replace("COMPONENT", package),
    }
    test = TESTS[kind]
    module = _example_text(example.file)
    module = re.sub(rf"\b{example.class_name}(Spec)?\b", rf"{class_name}\1", module)
    return {
        "pyproject.toml": _filled(PYPROJECT, values),
        "README.md": _filled(README, values),
        f"src/{package}/__init__.py": f'"""A plugin of recipekit: the {kind} `{package}`."""\n',
        f"src/{package}/{kind}.py": module,
        f"tests/test_{package}.py": _filled(test, values),
    }


def _package(name: str) -> str:
    return name.replace("-", "_")


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _example_text(name: str) -> str:
    """Read an example, from the wheel or the checkout."""
    package = Path(__file__).resolve().parents[1]
    folder = package / "examples"
    if not folder.is_dir():
        folder = package.parents[1] / "docs" / "examples"
    return (folder / name).read_text(encoding="utf-8")
