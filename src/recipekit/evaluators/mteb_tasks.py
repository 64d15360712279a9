"""mteb's tasks by name."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from recipekit.errors import ComponentError

if TYPE_CHECKING:
    from recipekit.evaluators.mteb import MtebSpec

__all__ = ["named_tasks", "revisions"]


def named_tasks(spec: MtebSpec) -> list[Any]:
    """Return the tasks that the recipe names, each once.

    Raises:
        ComponentError: mteb does not know one of them, or none has these languages and types.
    """
    import mteb

    languages = None if spec.languages is None else list(spec.languages)
    names = list(spec.tasks)
    try:
        if spec.benchmark is not None:
            names += [task.metadata.name for task in mteb.get_benchmark(spec.benchmark).tasks]
        found = [mteb.get_task(name, languages=languages) for name in dict.fromkeys(names)]
    except (KeyError, ValueError) as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0]
        raise ComponentError(f"mteb {version('mteb')}: {reason:.200}", code="RK252") from error
    types = spec.task_types
    kept = [
        task for task in found if task.hf_subsets and (types is None or task.metadata.type in types)
    ]
    if names and not kept:
        raise ComponentError("no task has these languages and task_types", code="RK252")
    return kept


def revisions(spec: MtebSpec) -> dict[str, Any]:
    """Return the revision of each named task, and mteb's version."""
    return {
        "mteb": version("mteb"),
        "tasks": {
            task.metadata.name: str(task.metadata.dataset.get("revision"))
            for task in named_tasks(spec)
        },
    }
