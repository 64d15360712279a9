"""The plan: which stages are made already, which have to be made and why, and how much work that
is.

Keys need no data: they follow from the recipe, from the content of local files, and from one
another. So a plan is quick, needs no torch and no network, and says what would run before anything
does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from recipekit.artifacts.key import FileHashes, canonical, key_of
from recipekit.artifacts.store import Artifact, Store
from recipekit.dataset import Dataset
from recipekit.errors import ComponentError
from recipekit.pipeline.estimate import estimate
from recipekit.pipeline.identity import stage_identity
from recipekit.recipe.sections import SECTIONS, Recipe
from recipekit.stages.pipeline import PIPELINE

__all__ = ["Plan", "StagePlan", "changes", "plan"]

CACHE = Path(".recipekit")


@dataclass(frozen=True)
class StagePlan:
    """What a run would do about one stage."""

    stage: str
    key: str | None
    """The artifact's key.

    None where it cannot be known before a stage has run or a server was asked.
    """
    state: str
    """`hit` (made already), `miss` (to be made) or `unknown`."""
    why: tuple[str, ...] = ()
    """For a miss: which input changed since the stage was last made, one per line."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """For a hit: the counts of its manifest."""
    estimate: Mapping[str, Any] = field(default_factory=dict)
    """For what is not made yet: the work expected, as far as the data is known."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """Everything behind the key."""


@dataclass(frozen=True)
class Plan:
    """The stages of a recipe, in order."""

    recipe: str
    cache: Path
    stages: tuple[StagePlan, ...]

    def __iter__(self) -> Iterator[StagePlan]:
        return iter(self.stages)

    def as_json(self) -> list[dict[str, Any]]:
        """The plan as JSON values, for `plan.json`."""
        return [asdict(stage) for stage in self.stages]


def plan(recipe: Recipe, *, cache: Path | str = CACHE) -> Plan:
    """Plan a run of a recipe.

    Args:
        recipe: A loaded recipe.
        cache: The cache's folder.

    Raises:
        DataError: A local file that the recipe names is missing.
    """
    store = Store(Path(cache))
    hashes = FileHashes(store.root / "hashes.json")
    keys: dict[str, str] = {}
    found: dict[str, Artifact] = {}
    planned: list[StagePlan] = []
    sections = dict(recipe.stages())
    dataset: Dataset | None = None
    for stage in PIPELINE:
        if stage.name not in sections:
            continue
        section = sections[stage.name]
        mined = found["mine"].manifest["summary"] if "mine" in found else None
        work = partial(estimate, recipe, stage.name, section, dataset, mined)
        present = [name for name in stage.reads if name in sections]
        if any(name not in keys for name in present):
            why = f"depends on {', '.join(n for n in present if n not in keys)}"
            planned.append(StagePlan(stage.name, None, "unknown", (why,), {}, work()))
            continue
        try:
            identity = stage_identity(
                recipe, stage, section, {name: keys[name] for name in present}, hashes
            )
        except ComponentError as error:
            planned.append(StagePlan(stage.name, None, "unknown", (error.message,), {}, work()))
            continue
        key = keys[stage.name] = key_of(identity)
        artifact = store.find(stage.name, key)
        if artifact:
            found[stage.name] = artifact
            if stage.name == "collect":
                dataset = Dataset(artifact.path, artifact.key)
            planned.append(
                StagePlan(stage.name, key, "hit", (), artifact.manifest["summary"], {}, identity)
            )
        else:
            changed = tuple(_why(store, recipe.name, stage.name, identity))
            planned.append(StagePlan(stage.name, key, "miss", changed, {}, work(), identity))
    hashes.save()
    return Plan(recipe.name, store.root, tuple(planned))


def _why(store: Store, recipe: str, stage: str, identity: Mapping[str, Any]) -> Iterator[str]:
    """What differs from the artifact of this stage that resembles this one most, preferring the
    recipe's own.
    """
    others = [artifact.manifest for artifact in store.all() if artifact.stage == stage]
    if not others:
        yield "never made"
        return
    own = [manifest for manifest in others if manifest.get("recipe") == recipe]
    differences = [list(changes(manifest["identity"], identity)) for manifest in own or others]
    yield from min(differences, key=len)


def changes(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """The leaves in which two identities differ, as `path: old → new`; changed inputs and files are
    named, not hashed.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping) and not _another(old, new):
        for name in dict.fromkeys((*old, *new)):
            yield from changes(
                old.get(name, _ABSENT),
                new.get(name, _ABSENT),
                f"{path}.{name}" if path else str(name),
            )
    elif old is not _ABSENT and new is not _ABSENT and canonical(old) == canonical(new):
        return
    elif path.startswith("inputs."):
        yield f"{path.removeprefix('inputs.')} changed"
    elif ".files." in path:
        label, _, file = path.partition(".files.")
        yield f"{_readable(label)}: content of '{file.replace('..', '.')}' changed"
    else:
        yield f"{_readable(path)}: {_short(old)} → {_short(new)}"


_ABSENT: Any = object()


def _another(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether another component stands in a place: then all its keys differ, and its name says it."""
    return "fields" in old and "fields" in new and old.get("name") != new.get("name")


def _readable(path: str) -> str:
    """An identity's path as the recipe has it: without the levels that only identities have."""
    return (
        ".".join(part for part in path.split(".") if part not in ("section", "fields")) or "recipe"
    )


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "(none)"
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return str(value["name"])  # a component that came or went: all its keys would say no more
    text = canonical(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


assert tuple(stage.name for stage in PIPELINE) == SECTIONS
