"""The card of a bundle, `README.md`, which the Hub shows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipekit.exporters.cards import evaluation, figures, reproduction, write_card
from recipekit.report.blocks import Block, Figure, Listing, Text, figures_of
from recipekit.report.efficiency import EFFICIENCY
from recipekit.report.run_folder import RunFolder
from recipekit.reproduce.licences import card_licence
from recipekit.reproduce.local_files import LocalFile
from recipekit.reproduce.published_models import MODELS
from recipekit.stages import training_stage

__all__ = ["write_bundle_card"]


def write_bundle_card(
    folder: Path,
    run: RunFolder,
    rows: Sequence[Mapping[str, Any]],
    included: Sequence[LocalFile],
    address: str,
) -> None:
    """Write the card of a bundle whose other files are written.

    Args:
        folder: The bundle's folder.
        run: The run.
        rows: The published figures.
        included: The local files that the bundle contains.
        address: What others reproduce: a repository on the Hub, or the name of a folder or file.
    """
    costs = folder / EFFICIENCY
    card = {
        "metrics": rows,
        "recipe": (folder / "recipe.yaml").read_text("utf-8"),
        "efficiency": json.loads(costs.read_text("utf-8")) if costs.is_file() else {},
        "figures": {"model": _training_figures(run)},
    }
    blocks: list[Block] = [
        Text(str(run.recipe.get("description") or "A recipekit baseline.")),
        Text("Repeat it, and compare every figure with its tolerance:"),
        Listing(f"recipekit reproduce {shlex.quote(address)}", "sh"),
        *evaluation(card),
        *figures(card, "model"),
        reproduction(card),
    ]
    front = {"tags": ["recipekit"], **_licence(included), **_base_model(folder)}
    write_card(folder, front, run.name, blocks)


def _training_figures(run: RunFolder) -> list[Figure]:
    """Return the figures of training, such as its learning curve."""
    stage = training_stage()
    if stage.describe is None or not run.finished(stage.name):
        return []
    report = stage.describe(run)
    return list(figures_of([*report.results, *report.details]))


def _licence(included: Sequence[LocalFile]) -> dict[str, str]:
    """Return the licence of the included data, if all of it has the same one."""
    stated = {file.licence for file in included if not file.is_code}
    licence = stated.pop() if len(stated) == 1 else None
    return card_licence(licence) if licence else {}


def _base_model(folder: Path) -> dict[str, Any]:
    """Return the models on the Hub that the measured systems start from."""
    file = folder / MODELS
    facts = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    models = list(dict.fromkeys(own["base_model"] for own in facts.values() if own["base_model"]))
    return {"base_model": models[0] if len(models) == 1 else models} if models else {}
