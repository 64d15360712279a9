"""What changed between two runs: recipe keys, data, versions, devices and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from recipekit.pipeline.changes import changes
from recipekit.pipeline.data_hashes import data_hashes
from recipekit.pipeline.identity_parts import identity_parts
from recipekit.report.blocks import Block, Bullets, Code, Line, ReportSection, Table, Text
from recipekit.report.numbers import signed
from recipekit.report.run_folder import RunFolder, open_run
from recipekit.stages import PIPELINE

__all__ = ["MetricDifference", "RunDifferences", "compare_runs", "differences_blocks"]


@dataclass(frozen=True)
class MetricDifference:
    """One figure in both runs; None where a run lacks it."""

    evaluator: str
    split: str
    system: str
    metric: str
    first: float | None
    second: float | None

    @property
    def difference(self) -> float | None:
        """The second value minus the first."""
        if self.first is None or self.second is None:
            return None
        return self.second - self.first


@dataclass(frozen=True)
class RunDifferences:
    """What changed from one run to another. Every change is a line such as `path: old → new`."""

    first: str
    second: str
    recipe: tuple[str, ...]
    """Recipe keys."""
    data: tuple[str, ...]
    """Files, revisions, indices, and the collected queries, passages and labels."""
    versions: tuple[str, ...]
    """Versions of Python, distributions, stages and components."""
    devices: tuple[str, ...]
    metrics: tuple[MetricDifference, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the differences as JSON values."""
        metrics = [{**asdict(row), "difference": row.difference} for row in self.metrics]
        return {**asdict(self), "metrics": metrics}


def compare_runs(first: Path, second: Path) -> RunDifferences:
    """Return what changed from one run to another.

    Raises:
        StoreError: A folder is not a run, or one of its files is damaged.
    """
    names = [stage.name for stage in PIPELINE]
    old, new = open_run(first, names), open_run(second, names)
    return RunDifferences(
        first=str(first),
        second=str(second),
        recipe=tuple(changes(_comparable(old.recipe), _comparable(new.recipe))),
        data=tuple(chain(_inputs(old, new), _collected(old, new))),
        versions=tuple(_versions(old, new)),
        devices=tuple(_devices(old, new)),
        metrics=tuple(_metrics(old, new)),
    )


def _comparable(recipe: Any) -> Any:
    """Return a recipe in which components look as in identities.

    Another component is then one change, not one for each of its fields.
    """
    if isinstance(recipe, list):
        return [_comparable(item) for item in recipe]
    if not isinstance(recipe, Mapping):
        return recipe
    fields = {name: _comparable(value) for name, value in recipe.items() if name != "use"}
    return {"name": recipe["use"], "fields": fields} if "use" in recipe else fields


def _parts(run: RunFolder) -> dict[tuple[str, str], Any]:
    """Return the parts of the identities of a run's stages, by kind and path."""
    identities = (manifest.get("identity") for manifest in run.manifests.values())
    return {
        (part.kind, part.path): part.value
        for identity in identities
        if identity
        for part in identity_parts(identity)
    }


def _inputs(old: RunFolder, new: RunFolder) -> Iterator[str]:
    """Yield files and fingerprints that changed, where both runs have them."""
    before, after = _parts(old), _parts(new)
    for kind, path in before.keys() & after.keys():
        if before[kind, path] == after[kind, path]:
            continue
        if kind == "file":
            yield f"{_named_file(new.recipe, path)}: the content changed"
        elif kind == "fingerprint":
            yield from changes(before[kind, path], after[kind, path], path)


def _named_file(recipe: Any, path: str) -> str:
    """Return the key of a component's `file` with the file's name, for its path in an identity."""
    component, found = recipe, []
    for key in path.split("."):
        if not isinstance(component, Mapping) or key not in component:
            break
        component = component[key]
        found.append(key)
    file = component.get("file") if isinstance(component, Mapping) else None
    return path if file is None else f"{'.'.join(found)}.file ({Path(file).name})"


def _collected(old: RunFolder, new: RunFolder) -> Iterator[str]:
    if old.dataset is None or new.dataset is None or old.dataset.key == new.dataset.key:
        return
    before, after = data_hashes(old.dataset), data_hashes(new.dataset)
    for name, was in before.items():
        now = after[name]
        if was["rows"] != now["rows"]:
            yield f"{name}: {was['rows']:,} → {now['rows']:,}"
        elif was["sha256"] != now["sha256"]:
            yield f"{name}: {was['rows']:,} as before, with other content"


def _versions(old: RunFolder, new: RunFolder) -> Iterator[str]:
    yield from changes(_installed(old), _installed(new))
    before, after = _parts(old), _parts(new)
    for kind, path in before.keys() & after.keys():
        if kind == "version" and before[kind, path] != after[kind, path]:
            yield f"results of {path}: version {before[kind, path]} → {after[kind, path]}"


def _installed(run: RunFolder) -> dict[str, str]:
    """Return the versions that made a run's artifacts; several are joined."""
    found: dict[str, dict[str, None]] = {}
    for manifest in run.manifests.values():
        for name, version in (manifest.get("versions") or {}).items():
            found.setdefault(name, {})[str(version)] = None
    # A dot would look like a path.
    return {name: " and ".join(versions) for name, versions in found.items()}


def _devices(old: RunFolder, new: RunFolder) -> Iterator[str]:
    for stage in old.manifests.keys() & new.manifests.keys():
        devices = [str(run.manifests[stage].get("device") or "-") for run in (old, new)]
        if devices[0] != devices[1]:
            yield f"{stage}: {devices[0]} → {devices[1]}"


def _metrics(old: RunFolder, new: RunFolder) -> Iterator[MetricDifference]:
    before, after = _values(old), _values(new)
    for place in dict.fromkeys((*before, *after)):
        yield MetricDifference(*place, before.get(place), after.get(place))


def _values(run: RunFolder) -> dict[tuple[str, str, str, str], float]:
    rows = run.read_json(run.path / "metrics.json", list) or []
    return {
        (
            str(row.get("evaluator") or ""),
            str(row.get("split") or ""),
            str(row["system"]),
            str(row["metric"]),
        ): row["value"]
        for row in rows
        if row.get("value") is not None
    }


def differences_blocks(found: RunDifferences) -> list[Block]:
    """The differences for people."""
    changed = {
        "Recipe": found.recipe,
        "Data": found.data,
        "Versions": found.versions,
        "Devices": found.devices,
    }
    heading: Line = (Code(found.first), " → ", Code(found.second))
    blocks: list[Block] = [Text(heading)]
    blocks += [
        ReportSection(title, [Bullets(sorted(lines))]) for title, lines in changed.items() if lines
    ]
    same = [title.lower() for title, lines in changed.items() if not lines]
    if same:
        blocks.append(Text(f"Unchanged: {', '.join(same)}."))
    if found.metrics:
        blocks.append(_metrics_table(found))
    return blocks


def _metrics_table(found: RunDifferences) -> Table:
    several = len({(row.evaluator, row.split) for row in found.metrics}) > 1
    rows: list[list[Line]] = []
    for row in found.metrics:
        place = f"{row.evaluator}, {row.split}: " if several else ""
        figures = [_figure(row.first), _figure(row.second)]
        change = "" if row.difference is None else signed(row.difference)
        rows.append([f"{place}{row.system}", row.metric, *figures, change])
    return Table(["system", "metric", "first", "second", "difference"], rows, left=2)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
