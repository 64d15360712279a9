"""What `recipekit judge try` and `recipekit judge sample` do with a recipe: mine, then judge."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from recipekit.artifacts.store import Artifact, Store
from recipekit.component import Progress, Ranks, Spending
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.judging.labelling_sample import SampledPair, draw_sample
from recipekit.judging.verdict_log import VerdictLog
from recipekit.llm.completion import Reply, Request, RequestFailed
from recipekit.pipeline.execute import run
from recipekit.pipeline.ledger import accounts_of
from recipekit.pipeline.plan import plan
from recipekit.pipeline.preflight import check_servers
from recipekit.pipeline.project import project_of
from recipekit.recipe.sections import Recipe
from recipekit.stages.dataset_view import dataset_view
from recipekit.stages.inputs import StageInputs
from recipekit.stages.judge.judge import judge
from recipekit.stages.judge.section import JudgeSection
from recipekit.stages.judge.trial import (
    JudgeTrial,
    count_candidates,
    select_queries,
    tried_pairs,
    unconditional_judges,
)
from recipekit.stages.mine.section import MineSection
from recipekit.tables import read_table, write_table

__all__ = ["MinedRecipe", "mined_recipe", "sample_pairs", "try_judges"]


@dataclass(frozen=True)
class MinedRecipe:
    """A recipe whose candidates are mined, and perhaps judged."""

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

    @property
    def judgments(self) -> pa.Table | None:
        """The verdicts, as `JUDGMENTS`, if the candidates are judged."""
        if "judge" not in self.artifacts:
            return None
        return read_table(self.artifacts["judge"].path / "judgments.arrow")


def mined_recipe(
    recipe: Recipe,
    *,
    cache: Path | None,
    runs: Path | None,
    command: str,
    say: Callable[[str], None],
    ahead: Collection[str] = (),
) -> MinedRecipe:
    """Collect and mine unless that is done, as `recipekit run --until mine` does.

    Args:
        recipe: The recipe.
        cache: The folder of artifacts; by default, that of the recipe's project.
        runs: Where the run's folder is made; by default, in the recipe's project.
        command: The command that resumes a failed run.
        say: Receives lines for people.
        ahead: Later stages whose servers are checked first.

    Raises:
        RunError: The recipe has no mine section, or a stage failed.
    """
    if recipe.section(MineSection) is None:
        raise RunError(
            "there are no candidates to judge: this recipe has no mine section", code="RK620"
        )
    project = project_of(recipe, cache=cache, runs=runs)
    store = Store(project.cache)
    found = _artifacts(recipe, store)
    if not {"collect", "mine"} <= set(found):
        check_servers(recipe, ahead)
        run(
            recipe,
            cache=project.cache,
            runs=project.runs,
            until="mine",
            command=command,
            on_event=lambda event: say(event.line) if event.line else None,
        )
        found = _artifacts(recipe, store)
    return MinedRecipe(recipe, store, found)


def _artifacts(recipe: Recipe, store: Store) -> dict[str, Artifact]:
    found = {}
    for stage in plan(recipe, cache=store.root):
        if stage.key and stage.stage in ("collect", "mine", "judge"):
            artifact = store.find(stage.stage, stage.key)
            if artifact is not None:
                found[stage.stage] = artifact
    return found


def sample_pairs(mined: MinedRecipe, n: int) -> list[SampledPair]:
    """Draw `n` pairs for people to label."""
    section = mined.recipe.section(JudgeSection)
    specs = [slot.spec for slot in section.judges.values()] if section else []
    return draw_sample(
        mined.dataset, mined.candidates, mined.judgments, specs, n, mined.recipe.seed
    )


def try_judges(
    mined: MinedRecipe,
    section: JudgeSection,
    n: int,
    *,
    progress: Callable[[Path], Progress],
    ranks: Ranks,
    ask_again: bool = False,
) -> JudgeTrial:
    """Judge whole queries, drawn by the recipe's seed, until there are `n` pairs to show.

    Whole queries, so that the judges see the groups of a run, and a run finds the replies in the
    store, except those of judges that were tried without their conditions.

    Args:
        mined: The recipe with its candidates.
        section: From `trial_section`.
        n: How many pairs to show.
        progress: Makes the progress reporter, given a folder for its log.
        ranks: The process's device.
        ask_again: Whether calls whose replies are stored are made, and paid, again.
    """
    recipe, table = mined.recipe, mined.candidates
    queries = select_queries(table, section, n, recipe.seed)
    tried = table.filter(pa.array(np.isin(table["query"].to_numpy(), queries)))
    with tempfile.TemporaryDirectory(prefix="recipekit-try-") as folder:
        mine, out = Path(folder) / "mine", Path(folder) / "judge"
        mine.mkdir()
        out.mkdir()
        write_table(mine / "candidates.arrow", table.schema, [tried])
        artifacts = {**mined.artifacts, "mine": Artifact("mine", "try", mine)}
        inputs = StageInputs.of(recipe, mined.store, artifacts, progress(Path(folder)), ranks)
        # Each trial has an account of its own.
        account = f"try-{secrets.token_hex(8)}"
        calls: list[tuple[Request, Reply | RequestFailed]] = []
        inputs.spending = Spending(
            accounts_of(recipe, "judge", account),
            ask_again=ask_again,
            on_call=lambda request, outcome: calls.append((request, outcome)),
        )
        summary = judge(inputs, section, out)
        logs = {name: VerdictLog(out / "scratch" / "verdicts" / name) for name in section.judges}
        pairs = tuple(tried_pairs(mined.dataset, tried, logs, n, recipe.seed))
    return JudgeTrial(
        pairs=pairs,
        queries=len(queries),
        candidates=count_candidates(tried, section),
        all_candidates=count_candidates(table, section),
        summary=summary,
        unconditional=unconditional_judges(recipe, section, summary),
        calls=tuple(calls),
    )
