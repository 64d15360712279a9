"""mteb's tasks by name, of a benchmark, or by language and type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from recipekit.errors import ComponentError
from recipekit.suggestions import listed

if TYPE_CHECKING:
    from recipekit.evaluators.mteb import MtebSpec

__all__ = ["named_tasks", "revisions"]


def named_tasks(spec: MtebSpec) -> list[Any]:
    """Return the tasks that the recipe selects, each once.

    A task of a benchmark has the languages and splits that the benchmark gives it. `languages` and
    `task_types` keep some of the tasks; without `tasks` and `benchmark`, they select from all tasks
    for text.

    Raises:
        ComponentError: mteb does not know one of them, none has these languages and types, or one
            needs more than text.
    """
    if not spec.names_tasks:
        return []
    try:
        found = list(_selected(spec))
    except (KeyError, ValueError) as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0]
        raise ComponentError(f"mteb {version('mteb')}: {reason:.200}", code="RK252") from error
    by_name: dict[str, Any] = {}
    for task in found:
        if spec.task_types is None or task.metadata.type in spec.task_types:
            by_name.setdefault(task.metadata.name, task)
    tasks = list(by_name.values())
    if not tasks:
        raise ComponentError("no task has these languages and task_types", code="RK252")
    other = [task.metadata.name for task in tasks if set(task.metadata.modalities) != {"text"}]
    if other:
        raise ComponentError(
            f"encoders embed only text, and these tasks need images, audio or video: "
            f"{listed(other)}",
            code="RK252",
        )
    return tasks


def _selected(spec: MtebSpec) -> Iterator[Any]:
    import mteb

    languages = None if spec.languages is None else list(spec.languages)
    for name in spec.tasks:
        task = _in_languages(mteb.get_task(name), languages)
        if task is None:
            raise ComponentError(
                f"tasks: {name} has none of the languages {', '.join(languages or ())}",
                code="RK252",
            )
        yield task
    if spec.benchmark is not None:
        every = (_in_languages(task, languages) for task in mteb.get_benchmark(spec.benchmark))
        yield from (task for task in every if task is not None)
    elif not spec.tasks:
        yield from mteb.get_tasks(
            languages=languages,
            task_types=spec.task_types,
            modalities=["text"],
            exclusive_modality_filter=True,
        )


def _in_languages(task: Any, languages: Sequence[str] | None) -> Any | None:
    """Return a task with only its subsets in some languages; None if there are none."""
    if languages is None:
        return task
    try:
        return copy(task).filter_languages(languages, hf_subsets=task.hf_subsets)
    except ValueError as error:
        if str(error).startswith("No subsets"):
            return None
        raise


def revisions(spec: MtebSpec) -> dict[str, Any]:
    """Return the revision of each selected task, and mteb's version."""
    return {
        "mteb": version("mteb"),
        "tasks": {
            task.metadata.name: str(task.metadata.dataset.get("revision"))
            for task in named_tasks(spec)
        },
    }
