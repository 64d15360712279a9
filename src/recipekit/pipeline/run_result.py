"""A finished run, for Python programs: its figures, its model and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipekit.errors import ModelError, RunError
from recipekit.stages import training_stage

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["Run", "data_frame"]


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows as a pandas data frame, or as they are if pandas is not installed."""
    if find_spec("pandas") is None:
        return list(rows)
    return import_module("pandas").DataFrame(rows)


@dataclass(frozen=True)
class Run:
    """A finished run."""

    path: Path
    """Its folder: `report.html`, `report.md`, `metrics.json`, `stages/`, `log.jsonl`."""
    ran: tuple[str, ...]
    """The stages that were executed."""
    cached: tuple[str, ...]
    """The stages that were taken from the cache."""
    trust_remote_code: bool = False
    """Whether models that bring Python code can run it: in the run, and in `model`."""

    @property
    def metric_rows(self) -> list[dict[str, Any]]:
        """Rows `{evaluator, split, system, metric, value, low, high, queries}`.

        `low` and `high` are the ends of the interval. Empty for a recipe that evaluates nothing.
        """
        file = self.path / "metrics.json"
        rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else []
        return rows

    @property
    def metrics(self) -> Any:
        """The rows of `metric_rows` as a pandas data frame; a list if pandas is not installed."""
        return data_frame(self.metric_rows)

    @property
    def report(self) -> str:
        """The report, as Markdown; empty if no stage has finished."""
        file = self.path / "report.md"
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    @property
    def report_html(self) -> Path | None:
        """The file of the report for people, `report.html`; None if no stage has finished.

        It needs no network and no other file. In a notebook, `IPython.display.HTML(filename=...)`
        shows it.
        """
        file = self.path / "report.html"
        return file if file.is_file() else None

    @property
    def model_path(self) -> Path:
        """The folder of the trained model.

        Raises:
            RunError: The run trained no model.
        """
        stage = training_stage()
        folder = self.path / "stages" / stage.name / stage.writes["encoder"]
        if not folder.is_dir():
            raise RunError(
                f"{self.path}: this run trained no model; the recipe needs a {stage.name} section, "
                "and the run must reach it",
                code="RK627",
            )
        return folder.resolve()

    @cached_property
    def model(self) -> SentenceTransformer:
        """The trained model, loaded at first use.

        `encode_query` and `encode_document` return the vectors that were evaluated.

        Raises:
            RunError: The run trained no model.
            ModelError: The model is that of a plugin with another format.
        """
        folder = self.model_path
        if not (folder / "modules.json").is_file():
            raise ModelError(
                f"{folder}: not a sentence-transformers model, so the plugin that made it must "
                "load it",
                code="RK402",
            )
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), trust_remote_code=self.trust_remote_code)
