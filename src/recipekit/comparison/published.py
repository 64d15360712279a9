"""Published baselines in a comparison: their values of every item stand in for a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError

from recipekit.artifacts.key import FileHashes, canonical
from recipekit.comparison.alike import SEED, Parts, parts_at, parts_of_slot, searches_alike
from recipekit.comparison.arguments import Argument
from recipekit.comparison.item_values import ItemValues, read_item_values
from recipekit.comparison.mteb_scores import TaskScores, task_scores
from recipekit.component import Efficiency, EvaluatorSpec, Slot
from recipekit.errors import RunError, StoreError
from recipekit.evaluators.mteb import MtebSpec
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.recipe.sections import TRAINED
from recipekit.report.efficiency import EFFICIENCY
from recipekit.reproduce.bundle import Bundle
from recipekit.reproduce.lock import Lock, read_lock
from recipekit.reproduce.published_models import MODELS, PublishedFacts, read_facts
from recipekit.stages import evaluating_stage
from recipekit.stages.evaluate.section import UNTRAINED
from recipekit.yaml_format import parse

__all__ = ["PublishedModel", "published_model"]

SPECS: Final[Mapping[str, type[RetrievalSpec | MtebSpec]]] = {
    "retrieval": RetrievalSpec,
    "mteb": MtebSpec,
}
"""The evaluators whose own keys decide what is compared; the others are compared by their file."""


@dataclass(frozen=True)
class PublishedModel:
    """A system of a baseline."""

    label: str
    argument: Argument
    what: str
    bundle: Bundle
    system: str
    """The system whose values count: `trained`, `untrained`, or one of the recipe's baselines."""
    lock: Lock
    """What its figures depend on."""
    evaluators: Mapping[str, Resampling]
    """The keys of its evaluators, by name: one of `SPECS`, or those of intervals alone."""
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

    @property
    def is_encoder(self) -> bool:
        """Whether it is the encoder that the recipe measures."""
        return self.system in (TRAINED, UNTRAINED)

    def values(self, evaluator: str) -> ItemValues | None:
        """Return the published values of every query or item of a file; None without any.

        Raises:
            StoreError: They cannot be read.
        """
        file = self.bundle.folder / "per_query" / f"{evaluator}.arrow"
        try:
            return read_item_values(file, self.system)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"{file}: damaged; get the baseline again", code="RK542") from error

    def task_scores(self, evaluator: str) -> TaskScores:
        """Return the published scores of mteb's tasks.

        Raises:
            StoreError: They cannot be read.
        """
        folder = self.bundle.folder / "per_query" / evaluator / self.system
        try:
            return task_scores(self.rows(evaluator), folder)
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"{folder}: damaged; get the baseline again", code="RK542") from error

    def rows(self, evaluator: str) -> list[dict[str, Any]]:
        """Return the published rows of an evaluator."""
        own = {"evaluator": evaluator, "system": self.system}
        return [row for row in self.bundle.metrics() if own.items() <= row.items()]

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

    @property
    def facts(self) -> PublishedFacts:
        """What is known of its model; nothing where the baseline does not state it.

        Raises:
            StoreError: It cannot be read.
        """
        file = self.bundle.folder / MODELS
        if not file.is_file():
            return PublishedFacts()
        try:
            systems = json.loads(file.read_text(encoding="utf-8"))
            return read_facts(systems[self.system]) if self.system in systems else PublishedFacts()
        except (ValueError, TypeError) as error:
            raise StoreError(f"{file}: damaged; get the baseline again", code="RK542") from error

    def like(self, spec: RetrievalSpec, source: Parts | None = None) -> str | None:
        """Return the evaluator that measures as another one does; None without one.

        Both give a query the same value of a metric on equal data.

        Args:
            spec: The other evaluator.
            source: What decides the further data set that it measures; None for collected data.
        """
        for name, own in self.evaluators.items():
            if isinstance(own, RetrievalSpec) and searches_alike(own, spec):
                if self._source_of(own) == source:
                    return name
        return None

    def _source_of(self, spec: RetrievalSpec | MtebSpec) -> Parts | None:
        return None if spec.source is None else self.source_parts(spec.source)

    def like_published(self, other: PublishedModel, evaluator: str) -> str | None:
        """Return the evaluator that measures as one of another baseline does; None without one.

        That of an evaluator that searches is the same only on equal data.
        """
        spec = other.evaluators[evaluator]
        if isinstance(spec, RetrievalSpec):
            return self.like(spec, other._source_of(spec))
        return self._like_parts(other.parts_of(evaluator))

    def parts_of(self, evaluator: str) -> Parts:
        """Return what decides the values of an evaluator: settings, files, and revisions."""
        return parts_at(self._locked, f"{evaluating_stage().name}.evaluators.{evaluator}")

    def source_parts(self, source: str) -> Parts:
        """Return what decides a further data set: settings, files, revisions, and the seed."""
        parts = parts_at(self._locked, f"{evaluating_stage().name}.sources.{source}")
        return {**parts, SEED: canonical(self.seed)}

    @property
    def _locked(self) -> dict[str, Any]:
        return {**self.lock.settings, **self.lock.files, **self.lock.revisions}

    def _like_parts(self, wanted: Parts) -> str | None:
        """Return the evaluator that equal settings and files decide; None without one.

        Those of `mteb` on a further data set do not decide that data.
        """
        for name, own in self.evaluators.items():
            names_data = isinstance(own, MtebSpec) and own.source is not None
            if not names_data and self.parts_of(name) == wanted:
                return name
        return None

    def like_slot(self, slot: Slot[EvaluatorSpec], hashes: FileHashes) -> str | None:
        """Return the evaluator that measures equal files or tasks in the same way; None without.

        Intervals may be computed in another way.

        Args:
            slot: An evaluator of files or tasks.
            hashes: Content hashes of files.
        """
        return self._like_parts(parts_of_slot(slot, hashes))


def published_model(argument: Argument, bundle: Bundle) -> PublishedModel:
    """Return the system of a baseline that an argument names.

    Without a name it is the trained one, the untrained one with `before`, or the only one.

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
    system = _system(argument, bundle)
    known = {TRAINED: ("published", "trained"), UNTRAINED: ("before", "before training")}
    suffix, what = known.get(system, (system, system))
    return PublishedModel(
        label=f"{bundle.recipe} {suffix}",
        argument=argument,
        what=f"baseline, {what}",
        bundle=bundle,
        system=system,
        lock=lock,
        evaluators=dict(_evaluators(section.get("evaluators") or {})),
        recipe=bundle.recipe,
        seed=int(recipe.get("seed") or 0),
    )


def _system(argument: Argument, bundle: Bundle) -> str:
    """Return the system that an argument names.

    Raises:
        RunError: The baseline has no values of it.
    """
    rows = [row for row in bundle.metrics() if not row.get("variant_of")]
    systems = list(dict.fromkeys(str(row.get("system")) for row in rows))
    wanted = argument.system or (UNTRAINED if argument.before else TRAINED)
    if wanted in systems:
        return wanted
    if len(systems) == 1 and argument.system is None and not argument.before:
        return systems[0]
    hint = f"; name one of them, as in {argument.target}:{systems[-1]}" if systems else ""
    raise RunError(
        f"{argument.text}: this baseline has no system '{wanted}' (it has: "
        f"{', '.join(systems) or 'none'}){hint}",
        code="RK672",
    )


def _evaluators(written: Mapping[str, Any]) -> Iterator[tuple[str, Resampling]]:
    for name, keys in written.items():
        own = {key: value for key, value in dict(keys or {}).items() if key != "use"}
        spec = SPECS.get(str(dict(keys or {}).get("use")).rpartition("/")[2], Resampling)
        if spec is Resampling:
            own = {key: own[key] for key in Resampling.model_fields if key in own}
        with suppress(ValidationError):  # of another version of recipekit
            yield name, spec.model_validate(own)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        values = parse(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{file}: damaged; get the baseline again", code="RK542") from error
    return values if isinstance(values, dict) else {}
