"""What `recipekit judge try` and `recipekit judge sample` do with mined candidates."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from recipekit import stages
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import Progress, Ranks, Spending
from recipekit.dataset import Dataset
from recipekit.judging.labelling_sample import SampledPair, draw_sample
from recipekit.judging.verdict_log import VerdictLog
from recipekit.llm.completion import Reply, Request, RequestFailed
from recipekit.recipe.sections import Recipe
from recipekit.stages.accounts import accounts_of
from recipekit.stages.dataset_view import dataset_view
from recipekit.stages.inputs import StageInputs
from recipekit.stages.judge.judge import judge
from recipekit.stages.judge.section import JudgeSection
from recipekit.stages.judge.stage import JUDGE
from recipekit.stages.judge.trial import (
    JudgeTrial,
    count_candidates,
    select_queries,
    tried_pairs,
    unconditional_judges,
)
from recipekit.stages.mine.stage import MINE
from recipekit.tables import read_table, write_table

__all__ = ["MinedRecipe", "sample_pairs", "try_judges"]


@dataclass(frozen=True)
class MinedRecipe:
    """A recipe whose candidates are mined, and perhaps judged."""

    recipe: Recipe
    store: Store
    artifacts: Mapping[str, Artifact]
    """Finished artifacts, by stage."""

    @property
    def dataset(self) -> Dataset:
        """The collected data."""
        dataset = dataset_view(self.artifacts)
        assert dataset is not None
        return dataset

    @property
    def candidates(self) -> pa.Table:
        """All candidates, as `CANDIDATES`."""
        return read_table(stages.files_of(self.artifacts)["candidates"])

    @property
    def judgments(self) -> pa.Table | None:
        """The verdicts, as `JUDGMENTS`, if the candidates are judged."""
        file = stages.files_of(self.artifacts).get("judgments")
        return read_table(file) if file else None


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
        mine, out = (Path(folder) / stage.name for stage in (MINE, JUDGE))
        mine.mkdir()
        out.mkdir()
        write_table(mine / MINE.writes["candidates"], table.schema, [tried])
        artifacts = {**mined.artifacts, MINE.name: Artifact(MINE.name, "try", mine)}
        inputs = StageInputs.of(recipe, mined.store, artifacts, progress(Path(folder)), ranks)
        # Each trial has an account of its own.
        account = f"try-{secrets.token_hex(8)}"
        calls: list[tuple[Request, Reply | RequestFailed]] = []
        inputs.spending = Spending(
            accounts_of(recipe, JUDGE.name, account),
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
