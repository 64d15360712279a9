"""Search the passages of a run with its encoder, before and after training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from recipekit.arrays import Ints
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import EncoderWeights, Progress, Ranks
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.recipe.sections import Recipe
from recipekit.records import Verdict
from recipekit.stages import PIPELINE, trained_encoder, training_artifact
from recipekit.stages.inputs import StageInputs
from recipekit.stages.recipe import load_recipe
from recipekit.tables import read_table

__all__ = ["Found", "RunSearch", "SearchResult", "recipe_encoder", "run_artifacts"]

SYSTEMS: Final[Mapping[EncoderWeights, str]] = {
    "initial": "before training",
    "trained": "after training",
}


@dataclass(frozen=True)
class Found:
    """A passage that a search found."""

    rank: int
    score: float
    id: str
    title: str
    text: str
    label: str
    """What the run knows about the pair: `positive`, `negative`, `ignore`, or empty."""


@dataclass(frozen=True)
class SearchResult:
    """What a query finds."""

    query: str
    systems: Mapping[str, tuple[Found, ...]]
    """The best passages by system, `before training` and `after training`, best first."""
    labelled: bool
    """Whether it is a query of the data set, so that labels of its passages can be known."""
    kept_initial: bool
    """Whether the run kept the untrained weights, so that both systems are equal."""


class RunSearch:
    """Searches one run; the encoder and the embeddings are loaded once."""

    def __init__(self, inputs: StageInputs, encoder: str) -> None:
        """Use the data and the encoder of a run; see `open`."""
        dataset = inputs.dataset
        assert dataset is not None
        self.inputs, self.encoder, self.dataset = inputs, encoder, dataset
        self._labels = _LabelsByText(dataset, inputs.files.get("judgments"))

    @classmethod
    def open(
        cls,
        run: Path,
        progress: Progress,
        ranks: Ranks,
        *,
        allow_local_code: bool = False,
        trust_remote_code: bool = False,
    ) -> RunSearch:
        """Open a run's folder.

        Args:
            run: The folder.
            progress: Reports encoding, where embeddings are not cached.
            ranks: The process's device.
            allow_local_code: Let the recipe name a class in a local file.
            trust_remote_code: Let models that bring Python code run it.

        Raises:
            RunError: The run has no passages or no encoder, or its artifacts are gone.
        """
        artifacts = dict(run_artifacts(run))
        if not artifacts:
            raise RunError(
                f"{run}: there are no passages, since no stage has finished", code="RK628"
            )
        recipe = load_recipe(
            run / "recipe.resolved.yaml",
            allow_local_code=allow_local_code,
            trust_remote_code=trust_remote_code,
        )
        store = Store(next(iter(artifacts.values())).path.parents[2])
        inputs = StageInputs.of(recipe, store, artifacts, progress, ranks)
        return cls(inputs, recipe_encoder(run, recipe))

    def search(self, query: str, k: int) -> SearchResult:
        """Find the `k` best passages, by the encoder's own similarity.

        Raises:
            RunError: The query is empty.
        """
        text = query.strip()
        if not text:
            raise RunError("the query is empty", code="RK628")
        labels = self._labels.of(text)
        systems = {
            _name(weights, self._has_training): tuple(self._find(weights, text, k, labels or {}))
            for weights in self._weights()
        }
        return SearchResult(text, systems, labels is not None, self._kept_initial)

    @property
    def _has_training(self) -> bool:
        training = training_artifact(self.inputs.artifacts)
        return self.inputs.trained == self.encoder and training is not None

    @cached_property
    def _kept_initial(self) -> bool:
        file = self.inputs.files.get("training") if self._has_training else None
        if file is None:
            return False
        training = json.loads(file.read_text())
        return ((training.get("dev") or {}).get("summary") or {}).get("kept_step") == 0

    def _weights(self) -> tuple[EncoderWeights, ...]:
        if not self._has_training:
            return ("initial",)
        initial = self.inputs.encoder(self.encoder, weights="initial")
        # A layer with random weights has no meaning before training.
        return ("trained",) if initial.has_untrained_dense else ("initial", "trained")

    def _find(
        self, weights: EncoderWeights, query: str, k: int, labels: Mapping[int, str]
    ) -> Iterator[Found]:
        from recipekit.search.topk import exact_top_k

        passages = self.inputs.embeddings(self.encoder, "passage", weights=weights)
        hits = exact_top_k(
            self._embed(weights, query),
            passages.matrix,
            min(k, len(self.dataset.passages)),
            similarity=passages.similarity,
        )
        rows = hits.rows[0]
        columns = [self.dataset.passages.column(name, rows) for name in ("id", "title", "text")]
        for rank, (row, score, id, title, text) in enumerate(
            zip(rows.tolist(), hits.scores[0].tolist(), *columns, strict=True), start=1
        ):
            yield Found(rank, score, id, title, text, labels.get(row, ""))

    def _embed(self, weights: EncoderWeights, query: str) -> Any:
        """Return the embedding of a query, float32 (1, dim)."""
        from recipekit.encoding.embed import embed_tokens
        from recipekit.encoding.tokens import TokenizedTexts

        encoder = self.inputs.encoder(self.encoder, weights=weights)
        ids: list[Ints]
        ids, cut = encoder.tokenize([query], "query")
        tokens = TokenizedTexts(ids[0], np.array([0, len(ids[0])], np.int64), cut)
        return embed_tokens(encoder, tokens, np.zeros(1, np.int64), "query", self.inputs.ranks)


class _LabelsByText:
    """The verdicts and source labels of the data set's queries, by the query's text."""

    def __init__(self, dataset: Dataset, judgments: Path | None) -> None:
        queries = dataset.queries
        self._rows = {
            text.strip(): row
            for rows, texts in queries.chunks()
            for row, text in zip(np.asarray(rows).tolist(), texts, strict=True)
        }
        self._source = dataset.labels
        self._judged = read_table(judgments) if judgments is not None else None

    def of(self, query: str) -> dict[int, str] | None:
        """Return labels by passage; None for a text that is not a query of the data set."""
        row = self._rows.get(query)
        if row is None:
            return None
        labels: dict[int, str] = {}
        mine = self._source.filter(self._source["query"].to_numpy() == row)
        for passage, grade in zip(
            *(mine[c].to_pylist() for c in ("passage", "grade")), strict=True
        ):
            labels[passage] = "positive" if grade > 0 else "negative"
        if self._judged is not None:
            mine = self._judged.filter(self._judged["query"].to_numpy() == row)
            columns = (mine[name].to_pylist() for name in ("passage", "verdict"))
            for passage, verdict in zip(*columns, strict=True):
                if verdict in (Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE):
                    labels[passage] = Verdict(verdict).name.lower()
        return labels


def _name(weights: EncoderWeights, has_training: bool) -> str:
    return SYSTEMS[weights] if has_training else "untrained"


def run_artifacts(run: Path) -> Iterator[tuple[str, Artifact]]:
    """Yield the artifacts that a run links to.

    Raises:
        RunError: They were removed, or are not in a cache.
    """
    for stage in PIPELINE:
        link = run / "stages" / stage.name
        if not link.is_symlink() and not link.exists():
            continue
        path = link.resolve()
        artifact = Artifact(stage.name, path.name, path)
        if not artifact.is_whole():
            raise RunError(
                f"{link}: the artifact is no longer in the cache; run the recipe again",
                code="RK628",
            )
        yield stage.name, artifact


def recipe_encoder(run: Path, recipe: Recipe) -> str:
    """Return the encoder that a run is about: the one that it trains, or else its first.

    Raises:
        RunError: Its recipe has no encoder.
    """
    trained = trained_encoder(recipe)
    if trained is not None:
        return trained
    for name, slot in (recipe.encoders or {}).items():
        if slot.spec.embeds_texts and not slot.spec.scores_pairs:
            return name
    raise RunError(f"{run}: this recipe has no encoder that embeds texts", code="RK628")
