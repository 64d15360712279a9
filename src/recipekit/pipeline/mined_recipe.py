"""The candidates of a recipe, mined_recipe now where they are not there yet: what the verbs below
`recipekit judge` begin with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from recipekit.artifacts.store import Artifact, Store
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.pipeline.execute import run
from recipekit.pipeline.plan import plan
from recipekit.pipeline.preflight import check_servers
from recipekit.recipe.sections import Recipe
from recipekit.stages.dataset_view import dataset_view
from recipekit.stages.mine.section import MineSection
from recipekit.tables import read_table

__all__ = ["MinedRecipe", "mined_recipe"]


@dataclass(frozen=True)
class MinedRecipe:
    """A recipe's finished stages, up to judge where that is made."""

    recipe: Recipe
    store: Store
    artifacts: Mapping[str, Artifact]

    @property
    def dataset(self) -> Dataset:
        """The collected data."""
        dataset = dataset_view(self.artifacts)
        assert dataset is not None
        return dataset

    @property
    def candidates(self) -> pa.Table:
        """All candidates, as `CANDIDATES`."""
        return read_table(self.artifacts["mine"].path / "candidates.arrow")


def mined_recipe(
    recipe: Recipe,
    *,
    cache: Path,
    runs: Path,
    command: str,
    say: Callable[[str], None],
    ahead: Collection[str] = (),
) -> MinedRecipe:
    """Collect and mine, where that is not done yet; as `recipekit run --until mine` does.

    Args:
        recipe: The recipe.
        cache: Where artifacts are.
        runs: Where the run's folder is made.
        command: The command that goes on with it.
        say: Receives lines for people.
        ahead: Stages whose servers are seen to be there before hours are spent on these two.

    Raises:
        RunError: The recipe mines nothing, or a stage failed.
    """
    if recipe.section(MineSection) is None:
        raise RunError(
            "there are no candidates to judge: this recipe has no mine section", code="RK620"
        )
    found = _artifacts(recipe, cache)
    if not {"collect", "mine"} <= set(found):
        check_servers(recipe, ahead)
        run(recipe, cache=cache, runs=runs, until="mine", command=command, say=say)
        found = _artifacts(recipe, cache)
    return MinedRecipe(recipe, Store(cache), found)


def _artifacts(recipe: Recipe, cache: Path) -> dict[str, Artifact]:
    store = Store(cache)
    found = {
        stage.stage: store.find(stage.stage, stage.key)
        for stage in plan(recipe, cache=cache)
        if stage.key
    }
    return {
        name: artifact
        for name, artifact in found.items()
        if artifact and name in ("collect", "mine", "judge")
    }
