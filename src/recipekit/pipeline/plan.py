"""The plan: which stages are cached, which have to run and why, and how much work that is.

Keys need no data: they follow from the recipe, from the content of local files, and from one
another. A plan is therefore quick, and needs neither torch nor a network. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from recipekit import stages
from recipekit.artifacts.key import FileHashes, canonical, key_of
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import Sizes
from recipekit.errors import ComponentError
from recipekit.pipeline.changes import changes_since
from recipekit.pipeline.identity import stage_identity, without_limits
from recipekit.pipeline.ledger import ledger_of, spent_by
from recipekit.pipeline.preflight import check_keys, key_notes
from recipekit.pipeline.project import project_of
from recipekit.recipe.sections import Recipe, Section
from recipekit.report.numbers import plural, usd
from recipekit.stages.dataset_view import dataset_view
from recipekit.stages.estimate_inputs import EstimateInputs
from recipekit.stages.stage import Stage

__all__ = ["Plan", "StagePlan", "make_plan", "plan"]

FORCED = "--from runs it again"


@dataclass(frozen=True)
class StagePlan:
    """What a run would do about one stage."""

    stage: str
    key: str | None
    """The artifact's key; None where it depends on a stage or a server that is not ready yet."""
    state: str
    """`hit` (cached), `miss` (has to run) or `unknown`."""
    reasons: tuple[str, ...] = ()
    """For a miss: what changed since the stage last ran, one change per line."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """For a hit: the counts in its manifest."""
    estimate: Mapping[str, Any] = field(default_factory=dict)
    """For what has to run: the expected work, as far as the data is known."""
    kept: tuple[str, ...] = ()
    """For what has to run: what earlier attempts left for it, such as a checkpoint."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """Everything that the key is computed from."""


@dataclass(frozen=True)
class Plan:
    """The stages of a recipe, in order."""

    recipe: str
    cache: Path
    stages: tuple[StagePlan, ...]
    notes: tuple[str, ...] = ()
    """Warnings about keys of the recipe."""

    def __iter__(self) -> Iterator[StagePlan]:
        return iter(self.stages)

    def __getitem__(self, name: str) -> StagePlan:
        return next(stage for stage in self.stages if stage.stage == name)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as JSON values, for `plan.json`."""
        return [asdict(stage) for stage in self.stages]


def plan(recipe: Recipe, *, cache: Path | str | None = None, start: str | None = None) -> Plan:
    """Plan a run of a recipe, and write nothing.

    Args:
        recipe: A loaded recipe.
        cache: The cache's folder; by default, that of the recipe's project.
        start: The stage from which on stages will run again, cached or not.

    Raises:
        RecipeError: A key does not fit a file that it names.
        DataError: A local file that the recipe names is missing.
    """
    store = Store(project_of(recipe, cache=cache).cache)
    return make_plan(recipe, store, FileHashes(store.root / "hashes.json"), start=start)


def make_plan(
    recipe: Recipe, store: Store, hashes: FileHashes, *, start: str | None = None
) -> Plan:
    """Plan a run of a recipe in a cache; see `plan`.

    Args:
        recipe: A loaded recipe.
        store: The cache.
        hashes: Content hashes of files, which the caller can save.
        start: The stage from which on stages will run again, cached or not.

    Raises:
        RecipeError: A key does not fit a file that it names.
        DataError: A local file that the recipe names is missing.
    """
    check_keys(recipe)
    planner = _Planner(recipe, store, hashes, start)
    sections = dict(recipe.stages())
    planned = [
        planner.plan(stage, sections[stage.name])
        for stage in stages.PIPELINE
        if stage.name in sections
    ]
    notes = tuple(note for _, note in key_notes(recipe, planner.names))
    return Plan(recipe.name, planner.store.root, tuple(planned), notes)


class _Planner:
    """Plans stage after stage, remembering the keys and artifacts of those before."""

    def __init__(self, recipe: Recipe, store: Store, hashes: FileHashes, start: str | None) -> None:
        self.recipe, self.store, self.start = recipe, store, start
        self.hashes = hashes
        self.names = [name for name, _ in recipe.stages()]
        self.keys: dict[str, str] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.expected: Sizes | None = None

    def plan(self, stage: Stage, section: Section) -> StagePlan:
        """Plan one stage."""
        if stage.sizes is not None:
            self.expected = stage.sizes(section, self.expected)
        inputs = stages.inputs_of(stage, self.names)
        unknown = [name for name in inputs if name not in self.keys]
        if unknown:
            return self._unknown(stage, section, f"depends on {', '.join(unknown)}")
        keys = {name: self.keys[name] for name in inputs}
        try:
            identity = stage_identity(self.recipe, stage, section, keys, self.hashes)
        except ComponentError as error:
            return self._unknown(stage, section, error.message)
        key = self.keys[stage.name] = key_of(identity)
        artifact = self.store.find(stage.name, key)
        if artifact is None and stage.spends:
            artifact = self._under_other_limits(stage, identity)
        if artifact is None or self._is_forced(stage):
            reasons: tuple[str, ...] = (FORCED,)
            if artifact is None:
                reasons = tuple(changes_since(self.store, self.recipe, stage.name, identity))
            work = self._estimate(stage, section)
            planned = StagePlan(stage.name, key, "miss", reasons, estimate=work, identity=identity)
            if artifact is not None:
                self.artifacts[stage.name] = artifact
            return replace(planned, kept=tuple(self._kept(stage, planned)))
        self.artifacts[stage.name] = artifact
        self.keys[stage.name] = artifact.key
        made = artifact.manifest
        return StagePlan(
            stage.name,
            artifact.key,
            "hit",
            summary=made["summary"],
            identity=made["identity"],
        )

    def _under_other_limits(self, stage: Stage, identity: Mapping[str, Any]) -> Artifact | None:
        """Return an artifact that differs only in spending limits, which it did not reach.

        Its content is what the present limits would give, too.
        """
        if self._is_forced(stage):
            return None  # the stage runs again, under the present limits
        wanted = canonical(without_limits(identity))
        for artifact in self.store.all():
            if artifact.stage != stage.name:
                continue
            made = artifact.manifest
            limit_reached = made["summary"].get("spent", {}).get("limit_reached", False)
            if not limit_reached and canonical(without_limits(made["identity"])) == wanted:
                return artifact
        return None

    def _is_forced(self, stage: Stage) -> bool:
        """Return whether the stage runs even if it is cached."""
        start = self.start
        return start is not None and self.names.index(start) <= self.names.index(stage.name)

    def _kept(self, stage: Stage, planned: StagePlan) -> Iterator[str]:
        """Yield what an interrupted attempt at a stage left, and what was paid for it."""
        folder = self.store.partial(stage.name, str(planned.key))
        if stage.unfinished is not None and folder.is_dir():
            yield from stage.unfinished(folder)
        if stage.spends:
            spent = spent_by(ledger_of([planned]), self.store.calls)
            if spent.calls:
                yield f"the replies of {plural(spent.calls, 'paid call')} ({usd(spent.usd)})"

    def _unknown(self, stage: Stage, section: Section, reason: str) -> StagePlan:
        work = self._estimate(stage, section)
        return StagePlan(stage.name, None, "unknown", (reason,), {}, work)

    def _estimate(self, stage: Stage, section: Section) -> dict[str, Any]:
        """Return the work of a stage that has to run: its own estimate and the spending limits."""
        dataset = dataset_view(self.artifacts)
        sizes = self.expected
        if dataset is not None:
            dimension = sizes.dimension if sizes is not None else None
            sizes = replace(Sizes.of(dataset), dimension=dimension)
        if sizes is None:
            return {} if stage.extends_dataset else {"unknown until": self._sizes_known_after()}
        summaries = {
            name: artifact.manifest["summary"] for name, artifact in self.artifacts.items()
        }
        inputs = EstimateInputs(self.recipe, sizes, dataset, summaries)
        work = dict(stage.estimate(inputs, section)) if stage.estimate else {}
        if stage.spends:
            work |= self.recipe.limits_of(stage.name).model_dump(exclude_none=True)
        return work

    def _sizes_known_after(self) -> str:
        extending = stages.dataset_stages()
        missing = next(stage for stage in extending if stage.name not in self.artifacts)
        hint = f". Set `{missing.sizes_key}` for an estimate" if missing.sizes_key else ""
        return f"{missing.name} has run{hint}"
