"""Writes the files of a bundle: a run's recipe, lock, figures, report, and what may go with it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from recipekit import __version__
from recipekit.artifacts.store import write_json
from recipekit.evaluators.mteb_values_file import MTEB_VALUES
from recipekit.evaluators.per_query_file import PER_QUERY_FILE
from recipekit.pipeline.report import read_blocks, write_blocks
from recipekit.recipe.environment import names
from recipekit.recipe.sections import Recipe
from recipekit.report.blocks import Block, Examples, ReportSection, Text
from recipekit.report.efficiency import EFFICIENCY
from recipekit.report.run_folder import RunFolder
from recipekit.reproduce.bundle import FORMAT, INDEX, file_hashes
from recipekit.reproduce.bundle_card import write_bundle_card
from recipekit.reproduce.licences import (
    check_replies_allowed,
    may_quote,
    permission,
    source_licences,
)
from recipekit.reproduce.local_files import LocalFile, LocalFiles
from recipekit.reproduce.lock import Lock, write_lock
from recipekit.reproduce.published_models import MODELS, published_facts
from recipekit.reproduce.replies import REPLIES, write_replies
from recipekit.reproduce.run_lock import lock_of_run
from recipekit.reproduce.secrets import check_no_secrets
from recipekit.reproduce.tolerances import trained_systems, with_tolerances
from recipekit.stages import writer_of
from recipekit.yaml_format import dump

__all__ = ["ShareOptions", "Shared", "write_bundle"]


@dataclass(frozen=True)
class ShareOptions:
    """What the author agrees to."""

    data: bool = False
    """Include local files whose licence is unknown: the author may pass them on."""
    replies: bool = False
    """Include the paid LLM replies."""
    tolerance: float | None = None
    """A tolerance for every figure, instead of a measured one."""


@dataclass(frozen=True)
class Shared:
    """What was written."""

    destination: str
    """Where it is: a path, or a repository on the Hub at its commit."""
    files: Sequence[str]
    left_out: Mapping[str, Mapping[str, str]]
    """Local files that the bundle does not contain, with the reason."""
    replies: int
    rows: Sequence[Mapping[str, Any]] = field(default=())
    """The published figures with their tolerances."""


def write_bundle(
    run: RunFolder,
    recipe: Recipe,
    options: ShareOptions,
    repeated: Sequence[Sequence[Mapping[str, Any]]],
    address: str,
    deliver: Callable[[Path], str],
) -> Shared:
    """Write the bundle of a run into a temporary folder, and deliver it.

    Args:
        run: A finished run.
        recipe: Its recipe, loaded from the run's folder.
        options: What the author agrees to.
        repeated: Rows of metrics of further runs, from which tolerances are computed.
        address: What the card tells others to reproduce.
        deliver: Puts the complete folder where it belongs, and returns the address.

    Raises:
        StoreError: A file changed since the run, or would contain a secret, or cannot be written;
            or the replies may quote data whose licence forbids it.
    """
    licences = source_licences(recipe)
    if options.replies:
        check_replies_allowed(licences)
    with tempfile.TemporaryDirectory(prefix="recipekit-share-") as temporary:
        folder = Path(temporary)
        local = LocalFiles()
        values = local.rewritten(run.recipe, recipe)
        lock, values = _pinned(lock_of_run(run, recipe), values)
        left_out = _copy_files(local.files, folder, options)
        text = dump(values)
        (folder / "recipe.yaml").write_text(text, encoding="utf-8")
        write_lock(folder / "recipe.lock", lock)
        trained = trained_systems(recipe)
        figures = run.read_json(run.path / "metrics.json", list) or []
        rows = with_tolerances(figures, repeated, trained, options.tolerance)
        write_json(folder / "metrics.json", rows)
        _write_models(folder, recipe, rows)
        _copy_values(run, folder)
        _write_report(run, folder, recipe, texts=not left_out and may_quote(licences, options.data))
        replies = 0
        if options.replies:
            replies = write_replies(run, run.cache, folder / REPLIES)
        included = [file for file in local.files if file.name not in left_out]
        write_bundle_card(folder, run, rows, included, address)
        _write_index(folder, run, text, left_out, replies)
        check_no_secrets(folder, text)
        files = [INDEX, *file_hashes(folder)]
        delivered = deliver(folder)
    return Shared(delivered, files, left_out, replies, rows)


def _pinned(lock: Lock, values: dict[str, Any]) -> tuple[Lock, dict[str, Any]]:
    """Pin the commits of the Hub in a recipe, so that a moved branch changes nothing."""
    settings = dict(lock.settings)
    for path, found in lock.revisions.items():
        commit = found.get("revision") or found.get("dataset") if isinstance(found, dict) else None
        component: Any = values
        for part in path.split("."):
            component = component.get(part, {}) if isinstance(component, dict) else {}
        if isinstance(commit, str) and "revision" in component:
            component["revision"] = commit
            if f"{path}.revision" in settings:
                settings[f"{path}.revision"] = commit
    return replace(lock, settings=settings), values


def _copy_files(
    files: Sequence[LocalFile], folder: Path, options: ShareOptions
) -> dict[str, dict[str, str]]:
    """Copy the files that may be shared, and return the others with the reason."""
    left_out = {}
    for file in files:
        allowed = permission(file.licence)
        if file.is_code or allowed == "allowed" or (allowed == "unknown" and options.data):
            target = folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.path.is_dir():
                shutil.copytree(file.path, target, ignore=shutil.ignore_patterns(".*"))
            else:
                shutil.copyfile(file.path, target)
        else:
            reason = f"its licence is unknown ({file.licence})"
            if not file.licence:
                reason = "its licence is not stated"
            if allowed == "forbidden":
                reason = f"its licence forbids it ({file.licence})"
            left_out[file.name] = {"key": file.key, "reason": reason}
    return left_out


def _write_models(folder: Path, recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what the files of the measured models state, if the recipe measures any."""
    measured = {row["system"] for row in rows}
    facts = {name: own for name, own in published_facts(recipe).items() if name in measured}
    if facts:
        write_json(folder / MODELS, facts)


def _copy_values(run: RunFolder, folder: Path) -> None:
    """Copy per-item values, and what systems cost.

    Values are a table of each evaluator, and a file of each of mteb's tasks.
    """
    rankings = run.file(writer_of("rankings").name, "rankings")
    if rankings is None:
        return
    files = sorted(rankings.glob(f"*/{EFFICIENCY}"))
    costs = {file.parent.name: run.read_json(file, dict) for file in files}
    if costs:
        write_json(folder / EFFICIENCY, costs)
    copies = {
        file: f"{file.parent.name}.arrow" for file in sorted(rankings.glob(f"*/{PER_QUERY_FILE}"))
    }
    for file in sorted(rankings.glob(f"*/results/*/*{MTEB_VALUES}")):
        evaluator, _, system, name = file.relative_to(rankings).parts
        copies[file] = f"{evaluator}/{system}/{name.removesuffix(MTEB_VALUES)}.json"
    for file, name in copies.items():
        target = folder / "per_query" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _write_report(run: RunFolder, folder: Path, recipe: Recipe, *, texts: bool) -> None:
    blocks = read_blocks(run.path)
    if not texts:
        blocks = list(_without_examples(blocks))
    write_blocks(blocks, run.name, folder)
    here = Path(str(run.run.get("recipe") or recipe.origin.folder)).parent
    for file in (folder / "report.html", folder / "report.md"):
        text = file.read_text(encoding="utf-8")
        for place, written in ((here, "."), (Path.cwd(), "."), (Path.home(), "~")):
            if place != Path(place.anchor):
                text = text.replace(f"{place}/", f"{written}/")
        file.write_text(text, encoding="utf-8")


def _without_examples(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks without texts of queries and passages, and without what introduces them."""
    kept: list[Block] = []
    for block, following in zip_longest(blocks, blocks[1:]):
        introduces = isinstance(block, Text) and isinstance(following, Examples)
        if isinstance(block, ReportSection):
            inside = _without_examples(block.blocks)
            kept += [replace(block, blocks=inside)] if inside else []
        elif not isinstance(block, Examples) and not introduces:
            kept.append(block)
    return kept


def _write_index(
    folder: Path, run: RunFolder, recipe: str, left_out: Mapping[str, Any], replies: int
) -> None:
    values = {
        "bundle": FORMAT,
        "recipe": run.name,
        "recipekit": __version__,
        "run": run.path.resolve().name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "variables": sorted(set(names(recipe))),
        "replies": replies,
        "left_out": left_out,
        "files": file_hashes(folder),
    }
    (folder / INDEX).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
