"""Published baselines in a comparison: their values of every item stand in for a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from recipekit.artifacts.key import FileHashes, canonical, slot_identity
from recipekit.comparison.arguments import Argument
from recipekit.component import Efficiency, EvaluatorSpec, Slot
from recipekit.errors import RunError, StoreError
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.pipeline.identity_parts import identity_parts
from recipekit.recipe.sections import TRAINED
from recipekit.report.efficiency import EFFICIENCY
from recipekit.reproduce.bundle import Bundle
from recipekit.reproduce.lock import Lock, read_lock
from recipekit.stages import evaluating_stage
from recipekit.stages.evaluate.section import UNTRAINED
from recipekit.tables import read_table
from recipekit.yaml_format import parse

__all__ = ["PublishedModel", "published_model"]

RETRIEVAL: Final = "retrieval"
"""The evaluator that keeps values of every query."""
EVALUATOR: Final = "own"
"""The name of an evaluator in an identity that is compared with a lock."""


@dataclass(frozen=True)
class PublishedModel:
    """A system of a baseline."""

    label: str
    argument: Argument
    what: str
    bundle: Bundle
    system: str
    """The system whose values count: `trained` or `untrained`."""
    lock: Lock
    """What its figures depend on."""
    evaluators: Mapping[str, RetrievalSpec]
    """Its evaluators that keep values of every query, by name."""
    named: Sequence[str]
    """The names of all its evaluators."""
    recipe: str
    """The name of its recipe."""
    seed: int
    """The seed of its recipe."""

    @property
    def data(self) -> Mapping[str, Any]:
        """Rows and sha256 of its queries, passages and labels."""
        return self.lock.data

    @property
    def is_trained(self) -> bool:
        """Whether a recipe trained it."""
        return self.system == TRAINED

    def values(self, evaluator: str, metric: str) -> dict[int, float]:
        """Return the published value of every query or item of a file; empty without any."""
        file = self.bundle.folder / "per_query" / f"{evaluator}.arrow"
        if not file.is_file():
            return {}
        try:
            table = read_table(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"{file}: damaged; get the baseline again", code="RK542") from error
        chosen = pc.and_(pc.equal(table["system"], self.system), pc.equal(table["metric"], metric))
        rows = table.filter(chosen)
        return dict(zip(rows["query"].to_pylist(), rows["value"].to_pylist(), strict=True))

    @property
    def efficiency(self) -> Efficiency:
        """What its run measured that it costs, with the first evaluator that searches."""
        file = self.bundle.folder / EFFICIENCY
        if not file.is_file():
            return Efficiency()
        try:
            costs = json.loads(file.read_text(encoding="utf-8"))
            found = [systems[self.system] for systems in costs.values() if self.system in systems]
            known = found[0] if found else {}
            return Efficiency(**{each.name: known.get(each.name) for each in fields(Efficiency)})
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"{file}: damaged; get the baseline again", code="RK542") from error

    def like(self, spec: RetrievalSpec) -> str | None:
        """Return the evaluator that measures as another one does; None without one.

        Both give a query the same value of a metric on equal data.
        """
        return next((name for name, own in self.evaluators.items() if _same(own, spec)), None)

    def like_slot(self, slot: Slot[EvaluatorSpec], hashes: FileHashes) -> str | None:
        """Return the evaluator that measures an equal file in the same way; None without one.

        Intervals may be computed in another way.

        Args:
            slot: An evaluator of a file.
            hashes: Content hashes of files.
        """
        stage = evaluating_stage().name
        section = {"evaluators": {EVALUATOR: slot_identity(slot, hashes)}}
        identity = {"stage": stage, "version": 0, "seed": 0, "section": section}
        parts = {part.path: part.value for part in identity_parts(identity)}
        wanted = _of_evaluator(parts, f"{stage}.evaluators.{EVALUATOR}.")
        locked = {**self.lock.settings, **self.lock.files}
        for name in self.named:
            if _of_evaluator(locked, f"{stage}.evaluators.{name}.") == wanted:
                return name
        return None


def _of_evaluator(parts: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """Return the settings and files of an evaluator that decide the values of its items."""
    found = {}
    for path, value in parts.items():
        key = path.removeprefix(prefix)
        if key != path and key not in Resampling.model_fields:
            found[key] = canonical(value)
    return found


def _same(first: RetrievalSpec, second: RetrievalSpec) -> bool:
    keys = ("source", "split", "exclude_same_id", "exclude_own_text")
    # A further data set is not in the lock, so it may be another one.
    return first.source is None and all(getattr(first, k) == getattr(second, k) for k in keys)


def published_model(argument: Argument, bundle: Bundle) -> PublishedModel:
    """Return the trained system of a baseline, or the untrained one with `before`.

    Raises:
        StoreError: A part of the baseline cannot be read.
        RunError: It has no values of this system, or the argument has options that need a model.
    """
    if argument.compression or argument.model_options:
        raise RunError(
            f"{argument.text}: a baseline has published values and no model, so its vectors cannot "
            "be changed; name a run or a model",
            code="RK673",
        )
    folder = bundle.folder
    lock = read_lock(folder / "recipe.lock", bundle.recipe)
    recipe = _parsed(folder / "recipe.yaml")
    section = recipe.get(evaluating_stage().name) or {}
    system = UNTRAINED if argument.before else TRAINED
    systems = {str(row.get("system")) for row in bundle.metrics()}
    if system not in systems:
        known = ", ".join(sorted(systems))
        raise RunError(
            f"{argument.text}: this baseline has no system '{system}' (it has: {known})",
            code="RK672",
        )
    suffix = "before" if argument.before else "published"
    return PublishedModel(
        label=f"{bundle.recipe} {suffix}",
        argument=argument,
        what="baseline, before training" if argument.before else "baseline, trained",
        bundle=bundle,
        system=system,
        lock=lock,
        evaluators=dict(_evaluators(section.get("evaluators") or {})),
        named=list(section.get("evaluators") or {}),
        recipe=bundle.recipe,
        seed=int(recipe.get("seed") or 0),
    )


def _evaluators(written: Mapping[str, Any]) -> Iterator[tuple[str, RetrievalSpec]]:
    for name, keys in written.items():
        own = {key: value for key, value in dict(keys or {}).items() if key != "use"}
        with suppress(ValidationError):  # of another kind, or another version of recipekit
            if str(keys.get("use")).rpartition("/")[2] == RETRIEVAL:
                yield name, RetrievalSpec.model_validate(own)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        values = parse(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{file}: damaged; get the baseline again", code="RK542") from error
    return values if isinstance(values, dict) else {}
