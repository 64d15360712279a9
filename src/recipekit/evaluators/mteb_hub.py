"""Whether the data of mteb's tasks can be had, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recipekit.encoding.model_files import HUB_TIMEOUT, hub_http_error
from recipekit.errors import RunError
from recipekit.report.numbers import plural

__all__ = ["check_reachable"]


def check_reachable(tasks: Iterable[Any]) -> None:
    """Check that the Hub can be reached if the data of a task is not cached, by one request.

    Args:
        tasks: Tasks of mteb's own.

    Raises:
        RunError: The Hub cannot be reached.
    """
    missing = [task for task in _single(tasks) if not _is_cached(task)]
    if not missing:
        return
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    first = missing[0].metadata
    try:
        HfApi().dataset_info(first.dataset["path"], timeout=HUB_TIMEOUT)
    except HfHubHTTPError:
        return  # an answer: mteb reports what is wrong with a data set
    except (OSError, hub_http_error()) as error:
        others = f" and {plural(len(missing) - 1, 'other task')}" if len(missing) > 1 else ""
        raise RunError(
            f"mteb downloads the data of {first.name}{others} from the Hugging Face Hub, which "
            f"cannot be reached ({type(error).__name__}); without a network, only cached tasks and "
            "local data work",
            code="RK647",
        ) from error


def _single(tasks: Iterable[Any]) -> Iterator[Any]:
    """The tasks, with the parts of those that are made of others in their place."""
    for task in tasks:
        parts = getattr(task.metadata, "tasks", None)
        if parts:
            yield from _single(parts)
        else:
            yield task


def _is_cached(task: Any) -> bool:
    """Whether there is a copy of a task's data in the cache of the Hub or of datasets."""
    from datasets.config import HF_DATASETS_CACHE
    from huggingface_hub.constants import HF_HUB_CACHE

    path = str(task.metadata.dataset["path"])
    downloaded = Path(HF_HUB_CACHE, f"datasets--{path.replace('/', '--')}", "snapshots")
    prepared = Path(HF_DATASETS_CACHE, path.replace("/", "___"))
    return downloaded.is_dir() or prepared.is_dir()
