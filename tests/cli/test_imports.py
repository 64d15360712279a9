"""What commands may import: a recipe is validated without any numeric library."""

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

import recipekit.component

ROOT = Path(__file__).parents[2]
NUMERIC = {"numpy", "pyarrow", "pandas", "scipy", "torch", "transformers", "sentence_transformers"}
CLIENTS = {"litellm", "elasticsearch", "qdrant_client", "httpx", "huggingface_hub"}
HEAVY = NUMERIC | CLIENTS | {"rich", "sqlite3"}

PROGRAM = """
import json, sys
from recipekit.cli.main import invoke
code = invoke(sys.argv[1:])
print(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


def run(program: str, *arguments: str) -> dict:
    """Run a program in a new process; the last line that it prints is its result."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def imported(*arguments: str) -> set[str]:
    """The top-level modules that a command imports."""
    ended = run(PROGRAM, *arguments)
    assert ended["code"] == 0
    return {module.partition(".")[0] for module in ended["modules"]}


@pytest.mark.parametrize("command", ["--help", "--version"])
def test_help_imports_neither_pydantic_nor_yaml(command: str) -> None:
    assert not imported(command) & (HEAVY | {"pydantic", "yaml"})


@pytest.mark.parametrize(
    "command", [["validate", "recipes/quickstart.yaml"], ["fill", "quickstart"], ["keys"]]
)
def test_reading_a_recipe_imports_no_numeric_library_and_no_client(command: list[str]) -> None:
    assert not imported(*command) & HEAVY


MODULES = """
import importlib, json, sys
new, seen = {}, set()
for module in sys.argv[1:]:
    importlib.import_module(module)
    names = {name.partition(".")[0] for name in sys.modules}
    new[module] = sorted(names - seen)
    seen |= names
print(json.dumps(new))
"""
"""Imports modules one after the other, and prints what each imports that is not imported yet."""


def spec_modules() -> list[str]:
    """The modules of the components that come with recipekit."""
    points = distribution("recipekit").entry_points
    return sorted({point.module for point in points if point.group.startswith("recipekit.")})


LIGHT = ["recipekit.records", "recipekit.stages", "recipekit.stages.recipe", *spec_modules()]


def test_specs_and_records_import_no_numeric_library_and_no_client() -> None:
    heavy = {module: set(names) & HEAVY for module, names in run(MODULES, *LIGHT).items()}
    assert heavy == {module: set() for module in LIGHT}


def test_validation_imports_no_class_that_only_runs_use() -> None:
    ended = run(PROGRAM, "validate", "recipes/quickstart.yaml")
    assert "recipekit.component.training" not in ended["modules"]
    assert all(hasattr(recipekit.component, name) for name in recipekit.component.__all__)
