"""The dev evaluation: how training measures the encoder's current weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Floats, Rows
from recipekit.component import Encoder, Hits, Ranks
from recipekit.dataset import Dataset
from recipekit.evaluators.metrics import per_query_metrics, with_positives
from recipekit.own_texts import own_texts
from recipekit.recipe.metrics import parse_metric
from recipekit.records import Side
from recipekit.search.exclusion import most_excluded, without
from recipekit.search.shared_search import share_queries
from recipekit.search.topk import exact_top_k
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.section import TrainSection
from recipekit.training.schedule import DevEvaluation, ScheduledPhase
from recipekit.training.selection import DevHistory, SelectionRule
from recipekit.training.state import TrainingState

__all__ = ["Dev", "DevMetric", "DevSample", "dev_sample", "prepare_dev"]


@dataclass(frozen=True)
class Dev:
    """The dev evaluation of one training."""

    evaluation: DevEvaluation
    queries: int
    passages: int

    def summary(self, state: TrainingState) -> dict[str, Any]:
        """Return the metric, its untrained, best and kept value, and what was measured on."""
        history = DevHistory.of(state.dev)
        return {
            "metric": self.evaluation.metric,
            "untrained": history.value(0),
            "best": history.value(history.best_step),
            "best_step": history.best_step,
            "kept": history.value(history.kept_step),
            "kept_step": history.kept_step,
            "queries": self.queries,
            "passages": self.passages,
        }


def prepare_dev(
    inputs: StageInputs,
    dataset: Dataset,
    section: TrainSection,
    embed: Callable[[Side, Rows], Floats],
    phases: Sequence[ScheduledPhase],
    recipe_seed: int,
) -> Dev | None:
    """Prepare the dev evaluation, or return None without one.

    Args:
        inputs: The stage's inputs.
        dataset: The collected data.
        section: The `train` section.
        embed: Embeds rows of a side with the present weights.
        phases: The phases that train.
        recipe_seed: Draws the sample, so that trainings with other seeds are compared on the same.
    """
    if section.eval_every_epochs is None:
        return None
    sample = dev_sample(dataset, inputs.table("judgments"), section.dev_corpus_size, recipe_seed)
    if len(sample.queries) == 0:
        inputs.progress.warn(
            "the dev split has no query with a positive: training is not evaluated, and the last "
            "weights are kept"
        )
        return None
    encoder = inputs.encoder(section.encoder)
    metric = DevMetric(encoder, embed, dataset, sample, section.dev_metric, inputs.ranks)
    rule = SelectionRule(section.keep_weights, section.patience, section.average_weights)
    if not any(scheduled.phase.trains_ranking for scheduled in phases):
        # The dev metric says nothing about how well such phases have trained.
        rule = replace(rule, keep="last", patience=None)
    evaluation = DevEvaluation(
        metric.measure, section.dev_metric, section.eval_every_epochs, rule, metric.forget
    )
    return Dev(evaluation, len(sample.queries), len(sample.passages))


@dataclass(frozen=True)
class DevSample:
    """What every dev evaluation ranks: rows of queries and, ascending, of passages."""

    queries: Rows
    passages: Rows


def dev_sample(
    dataset: Dataset, judgments: pa.Table | None, limit: int | None, seed: int
) -> DevSample:
    """Choose the dev queries that have a source positive, and the passages to rank for them.

    All passages that the sources labelled for these queries are included. Up to `limit` passages in
    all, those judged for them follow, and then a random sample of the others.
    """
    queries = with_positives(dataset.rows("dev"), dataset.labels)
    all_passages = np.arange(len(dataset.passages), dtype=np.int64)
    if limit is None or limit >= len(all_passages):
        return DevSample(queries, all_passages)
    labelled = _passages_of(dataset.labels, queries)
    judged = labelled[:0]
    if judgments is not None:
        judged = np.setdiff1d(_passages_of(judgments, queries), labelled)
    rng = np.random.default_rng([seed, len(all_passages)])
    others = np.setdiff1d(all_passages, np.concatenate([labelled, judged]), assume_unique=True)
    shuffled = np.concatenate([rng.permutation(judged), rng.permutation(others)])
    added = shuffled[: max(0, limit - len(labelled))]
    return DevSample(queries, np.sort(np.concatenate([labelled, added])))


class DevMetric:
    """A metric of the dev queries of a sample, by query, with the encoder's present weights."""

    def __init__(
        self,
        encoder: Encoder,
        embed: Callable[[Side, Rows], Floats],
        dataset: Dataset,
        sample: DevSample,
        metric: str,
        ranks: Ranks,
    ) -> None:
        """Embed nothing yet.

        Args:
            encoder: The encoder that is trained.
            embed: Embeds rows of a side with its present weights.
            dataset: The collected data.
            sample: The rows of both sides.
            metric: The metric.
            ranks: The ranks that train together.
        """
        self.encoder, self.embed, self.dataset, self.ranks = encoder, embed, dataset, ranks
        self.sample, self.metric = sample, metric
        self.depth = min(parse_metric(metric)[1], len(sample.passages))
        self.own = own_texts(dataset).take(sample.queries)
        self._embedded: dict[Side, Floats] = {}

    def measure(self) -> npt.NDArray[np.floating[Any]]:
        """Rank the passages of the sample for its queries: the metric of each query, (n,).

        All ranks call it together: each searches with a part of the queries, and gets all values.
        """
        sample, depth = self.sample, self.depth
        queries, passages = self._embeddings("query"), self._embeddings("passage")
        deeper = min(depth + most_excluded(self.own), len(passages))
        search = partial(exact_top_k, similarity=self.encoder.similarity, device=self.ranks.device)
        found = share_queries(
            lambda part: search(queries[part], passages, deeper), len(queries), deeper, self.ranks
        )
        # Positions in the sample become rows of the data set; -1, for no hit, stays.
        rows = np.where(found.rows >= 0, sample.passages[found.rows], -1).astype(np.int32)
        hits = without(Hits(rows, found.scores), self.own, depth)
        labels = self.dataset.labels
        return per_query_metrics(hits, sample.queries, labels, [self.metric])[self.metric]

    def forget(self, sides: Collection[Side]) -> None:
        """Embed some sides again the next time, since their embeddings have changed."""
        for side in sides:
            self._embedded.pop(side, None)

    def _embeddings(self, side: Side) -> Floats:
        if side not in self._embedded:
            rows = self.sample.queries if side == "query" else self.sample.passages
            self._embedded[side] = self.embed(side, rows)
        return self._embedded[side]


def _passages_of(pairs: pa.Table, queries: Rows) -> Rows:
    is_theirs = np.isin(pairs["query"].to_numpy(), queries)
    return np.unique(pairs["passage"].to_numpy()[is_theirs]).astype(np.int64)
