"""What each evaluator of texts computes from the embeddings of one system."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from recipekit.arrays import Floats
from recipekit.component import Embed, Hits
from recipekit.evaluators.data_kinds import (
    LabelledPairs,
    ParallelSentences,
    RankedLists,
    ScoredPairs,
    Triplets,
)
from recipekit.evaluators.item_statistics import Statistic, labelled_pairs, means, scored_pairs
from recipekit.evaluators.metrics import per_query_metrics
from recipekit.records import Side, Similarity
from recipekit.search.similarity import pair_scores
from recipekit.search.topk import exact_top_k
from recipekit.tables import LABELS

__all__ = [
    "BITEXT_METRICS",
    "measure_bitext",
    "measure_pairs",
    "measure_reranking",
    "measure_sts",
    "measure_triplets",
]

Values = npt.NDArray[np.float64]
RANKED_TRANSLATIONS = 10
"""The cut-off of MRR over translations."""
BITEXT_METRICS = ("accuracy", "f1", f"mrr@{RANKED_TRANSLATIONS}")
"""The metrics of translations: as means over language pairs, and of each pair."""


def measure_sts(
    data: ScoredPairs, embed: Embed, similarities: Sequence[Similarity], sides: tuple[Side, Side]
) -> Statistic:
    """Correlate similarities with scores: Spearman and Pearson of each similarity in turn."""
    first, second = _embedded(embed, (data.first, data.second), sides)
    found: dict[str, Values] = {name: _scores(first, second, name) for name in similarities}
    return scored_pairs(found, np.asarray(data.scores, dtype=np.float64))


def measure_pairs(
    data: LabelledPairs,
    embed: Embed,
    similarities: Sequence[Similarity],
    sides: tuple[Side, Side],
) -> Statistic:
    """Separate pairs by similarity: average precision, best F1 and best accuracy of each."""
    first, second = _embedded(embed, (data.first, data.second), sides)
    found: dict[str, Values] = {name: _scores(first, second, name) for name in similarities}
    return labelled_pairs(found, np.asarray(data.labels, dtype=np.bool_))


def measure_triplets(
    data: Triplets, embed: Embed, similarities: Sequence[Similarity], sides: tuple[Side, Side]
) -> Statistic:
    """Count triplets whose anchor is more similar to the positive, for each similarity."""
    texts = (data.anchor, data.positive, data.negative)
    anchor, positive, negative = _embedded(embed, texts, (sides[0], sides[1], sides[1]))
    columns = [
        _scores(anchor, positive, similarity) > _scores(anchor, negative, similarity)
        for similarity in similarities
    ]
    return means(np.stack(columns, axis=1).astype(np.float64))


def measure_bitext(data: ParallelSentences, embed: Embed, similarity: Similarity) -> Statistic:
    """Search each sentence's translation among all sentences of another language.

    Metrics are accuracy, F1 and MRR@10: first their means over language pairs, then of each pair.
    """
    vectors = {language: embed(texts, "query") for language, texts in data.sentences.items()}
    if similarity == "cosine":
        vectors = {language: _unit(matrix) for language, matrix in vectors.items()}
    pairs = list(permutations(vectors, 2))
    by_pair = [
        _translations_found(vectors[a], vectors[b], data.sentences[b], similarity) for a, b in pairs
    ]
    details = {
        f"{metric} {a}-{b}": {"languages": [a, b]} for a, b in pairs for metric in BITEXT_METRICS
    }
    return means(np.concatenate([np.mean(by_pair, axis=0), *by_pair], axis=1), details)


def _translations_found(
    queries: Floats, passages: Floats, texts: Sequence[str], similarity: Similarity
) -> Values:
    """Return accuracy, F1 and reciprocal rank of each sentence, (n, 3); equal texts are equal.

    A sentence is the class that it is assigned to, as in MTEB: with c sentences assigned to
    sentence i, its F1 is 2 / (1 + c) if i itself is among them, else 0.
    """
    depth = min(RANKED_TRANSLATIONS, len(passages))
    hits = exact_top_k(queries, passages, depth, similarity=similarity, device="cpu")
    number = {text: position for position, text in reversed(list(enumerate(texts)))}
    same = np.array([number[text] for text in texts])
    found = same[hits.rows] == same[:, None]
    assigned = np.bincount(same[hits.rows[:, 0]], minlength=len(texts))[same]
    copies = np.bincount(same, minlength=len(texts))[same]
    correct = found[:, 0].astype(np.float64)
    hit_share = np.bincount(same, weights=correct, minlength=len(texts))[same]
    f1 = 2 * hit_share / (copies + assigned)
    reciprocal = np.where(found.any(axis=1), 1 / (1 + found.argmax(axis=1)), 0.0)
    return np.stack([correct, f1, reciprocal], axis=1)


def measure_reranking(
    data: RankedLists, embed: Embed, metrics: Sequence[str], similarity: Similarity
) -> Statistic:
    """Rank each query's own passages by similarity."""
    row = {
        text: number
        for number, text in enumerate(dict.fromkeys(t for one in data.passages for t in one))
    }
    queries, passages = embed(data.queries, "query"), embed(list(row), "passage")
    if similarity == "cosine":
        queries, passages = _unit(queries), _unit(passages)
    lists = [np.array([row[text] for text in texts], dtype=np.int32) for texts in data.passages]
    depth = max(map(len, lists))
    ranked = np.full((len(lists), depth), -1, dtype=np.int32)
    for number, own in enumerate(lists):
        scores = pair_scores(queries[number][None], passages[own], similarity)
        ranked[number, : len(own)] = own[np.argsort(-scores, kind="stable")]
    scores = np.where(ranked >= 0, -np.arange(depth), -np.inf).astype(np.float32)
    rows = np.arange(len(lists), dtype=np.int64)
    values = per_query_metrics(Hits(ranked, scores), rows, _labels(data, lists), metrics)
    return means(np.stack([values[name] for name in metrics], axis=1))


def _labels(data: RankedLists, lists: Sequence[npt.NDArray[np.int32]]) -> pa.Table:
    query = np.repeat(np.arange(len(lists), dtype=np.int32), list(map(len, lists)))
    passage = np.concatenate(lists)
    grade = np.concatenate([np.asarray(one, dtype=np.float32) for one in data.grades])
    order = np.lexsort((passage, query))
    columns = [pa.array(column[order]) for column in (query, passage, grade)]
    return pa.table(columns, schema=LABELS)


# Vectors
# -------------------------------------------------------------------------------------------------


def _embedded(embed: Embed, texts: Sequence[Sequence[str]], sides: Sequence[Side]) -> list[Floats]:
    """Embed columns of texts; equal texts of a side are embedded once."""
    unique: dict[Side, dict[str, int]] = {}
    for column, side in zip(texts, sides, strict=True):
        rows = unique.setdefault(side, {})
        for text in column:
            rows.setdefault(text, len(rows))
    vectors = {side: embed(list(rows), side) for side, rows in unique.items()}
    return [
        vectors[side][[unique[side][text] for text in column]]
        for column, side in zip(texts, sides, strict=True)
    ]


def _scores(first: Floats, second: Floats, similarity: Similarity) -> Values:
    if similarity == "cosine":
        first, second = _unit(first), _unit(second)
    return pair_scores(first, second, similarity).astype(np.float64)


def _unit(vectors: Floats) -> Floats:
    """Scale rows to length 1, in float32 as the encoders do."""
    return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1).numpy()
