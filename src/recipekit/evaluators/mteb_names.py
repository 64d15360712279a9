"""The names of mteb's tasks and benchmarks, read from its files.

Importing mteb takes seconds, since it imports every task. A misspelt name should cost no more than
any other mistake in a recipe, so `validate` looks it up in the installed files. `plan` and `run`
import mteb, which knows exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recipekit.suggestions import did_you_mean

if TYPE_CHECKING:
    from recipekit.evaluators.mteb import MtebSpec

__all__ = ["SIDE_PROMPTS", "check_names", "task_of_prompt"]

SIDE_PROMPTS: Final = {"query": "query_prompt", "document": "passage_prompt"}
"""The encoder's keys of the prompts that mteb names by the side of a text."""

STATISTICS = "descriptive_stats"
"""mteb's folder of a file per task, in a folder per type. A few tasks have none."""


def check_names(spec: MtebSpec) -> None:
    """Check the names of tasks, types, languages and the benchmark, without importing mteb.

    Raises:
        ValueError: mteb's files do not mention some of them, which are all named.
    """
    unknown = [
        *_unknown_benchmark(spec.benchmark),
        *_unknown_tasks(spec.tasks),
        *_unknown_types(spec.task_types or ()),
        *_unknown_languages(spec.languages or ()),
        *_unknown_prompts(spec),
    ]
    if unknown:
        raise ValueError(" ".join(unknown))


def task_of_prompt(name: str) -> str:
    """Return the task, or type of task, that a prompt is for: `NFCorpus` for `NFCorpus-query`."""
    task, _, side = name.rpartition("-")
    return task if side in SIDE_PROMPTS else name


def _unknown_benchmark(name: str | None) -> Iterator[str]:
    if name is not None and name not in _written("benchmarks", "name"):
        known = _written("benchmarks", "name")
        yield f"benchmark: mteb has no benchmark '{name}'.{_similar(name, known)}"


def _unknown_tasks(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name not in _described()[0] and name not in _written("tasks", "name"):
            if name in _written("benchmarks", "name"):
                yield f"tasks: '{name}' is a benchmark: write it as `benchmark: \"{name}\"`."
                continue
            known = _described()[0] | _written("tasks", "name")
            yield f"tasks: mteb has no task '{name}'.{_similar(name, known)}"


def _unknown_types(names: Iterable[str]) -> Iterator[str]:
    types = _described()[1]
    for name in names:
        if name not in types and name not in _written("tasks", "type"):
            yield f"task_types: mteb has no type '{name}'.{_similar(name, types)}"


def _unknown_languages(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        # A code can end in a script: `eng-Latn`. Programming languages are named `python-Code`.
        code, _, script = name.partition("-")
        if script != "Code" and code not in _languages():
            yield f"languages: mteb has no language '{name}'.{_similar_code(code)}"


def _unknown_prompts(spec: MtebSpec) -> Iterator[str]:
    """The names of `prompts` that are neither a task, of mteb's or local, nor a type of task."""
    own = {name for group in spec.local().values() for name in group}
    for name in spec.prompts:
        if key := SIDE_PROMPTS.get(name):
            yield f"prompts: '{name}' is not a task: the encoder has `{key}` for all tasks."
            continue
        task = task_of_prompt(name)
        known = own | _described()[0] | _described()[1]
        if task not in known and task not in _written("tasks", "name") | _written("tasks", "type"):
            yield f"prompts: mteb has no task or type of task '{task}'.{_similar(task, known)}"


def _similar(name: str, known: Collection[str]) -> str:
    return did_you_mean(name, sorted(known))


def _similar_code(code: str) -> str:
    """Suggest the code of the language that has this two-letter code or this English name."""
    named = {name.lower(): found for found, name in _languages().items()}
    short = _json("iso_639_1_to_3.json")
    if found := named.get(code.lower()) or short.get(code.lower()):
        return f" Did you mean '{found}'?"
    return " Languages have codes of ISO 639-3, such as 'deu'."


def _languages() -> Mapping[str, str]:
    """The languages that mteb knows: English names by ISO 639-3 code."""
    return _json("iso_639_3_to_language.json")


@cache
def _json(name: str) -> Mapping[str, str]:
    """A file of mteb's folder of languages."""
    values: dict[str, str] = json.loads((_folder() / "languages" / name).read_text("utf-8"))
    return values


@cache
def _described() -> tuple[frozenset[str], frozenset[str]]:
    """The tasks that have statistics, and the types of tasks: the names of files and folders."""
    every = list((_folder() / STATISTICS).rglob("*"))
    tasks = (path.stem for path in every if path.suffix == ".json")
    types = (path.name for path in every if not path.suffix)
    return frozenset(tasks), frozenset(types)


@cache
def _written(part: str, key: str) -> frozenset[str]:
    """Every text that a part of mteb's source assigns to a key: more than the names of tasks."""
    return frozenset(_texts(_folder() / part, re.compile(rf"\b{key}\s*=\s*\(?\s*[\"']([^\"']+)")))


def _texts(folder: Path, assigned: re.Pattern[str]) -> Iterator[str]:
    for file in folder.rglob("*.py"):
        yield from assigned.findall(file.read_text(encoding="utf-8"))


@cache
def _folder() -> Path:
    found = find_spec("mteb")
    assert found is not None and found.submodule_search_locations is not None
    return Path(next(iter(found.submodule_search_locations)))
