"""The conformance check of judges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from recipekit.component import Context, Judge, JudgeSpec, PairBatch, Verdicts
from recipekit.dataset import Dataset
from recipekit.records import Verdict
from recipekit.testing.promises import (
    build,
    conformance_check,
    expect,
    expect_array,
    expect_dataset,
    expect_json_map,
    expect_members,
    expect_methods,
    found,
    items,
    member,
)
from recipekit.testing.specs import check_spec

__all__ = ["check_judge"]

ROUNDING = 0.01
"""How much grades can differ between batches: two units in bfloat16's last place."""
VERDICTS = "it must yield Verdicts"


@conformance_check
def check_judge(spec: JudgeSpec, context: Context) -> None:
    """Check a judge over `context.dataset`, on pairs of its labelled queries.

    It gives at most one verdict on each wanted pair, and none on any other, in known codes; and the
    same verdicts for any order and batches of the queries, but for the rounding of grades and
    confidences.

    Raises:
        AssertionError: It breaks a promise.
    """
    check_spec(spec, "judge")
    expect_dataset(type(spec).__name__, context)
    name = type(spec).__name__
    judge = build(spec, Judge, context)
    expect_methods(name, judge, Judge, "judge")
    expect_members(name, judge, Judge, "figures", "counts")
    batches = _pairs(context.dataset, context.seed)
    whole = _verdicts(name, spec, context, batches)
    expect(
        whole,
        f"{name} judges no pair of {len(batches)} queries; check it on data where it judges some",
    )
    expect(
        _verdicts(name, spec, context, batches) == whole,
        f"{name} gives other verdicts in a second run",
    )
    joined = [
        PairBatch(
            *(np.concatenate(arrays) for arrays in zip(*map(_arrays, batches[::-1]), strict=True))
        )
    ]
    again = _verdicts(name, spec, context, joined)
    same = again.keys() == whole.keys() and all(_alike(again[pair], whole[pair]) for pair in whole)
    expect(same, f"{name}: verdicts depend on the order of the queries, or on the batches")
    nothing = [
        PairBatch(
            b.query,
            b.passage,
            b.source_positive,
            b.previous_verdict,
            np.zeros(len(b), dtype=np.bool_),
        )
        for b in batches
    ]
    expect(
        not _verdicts(name, spec, context, nothing), f"{name} judges pairs although none is wanted"
    )
    expect(not _verdicts(name, spec, context, []), f"{name} judges pairs although there are none")


def _arrays(batch: PairBatch) -> tuple[np.ndarray, ...]:
    return batch.query, batch.passage, batch.source_positive, batch.previous_verdict, batch.wanted


def _pairs(dataset: Dataset, seed: int) -> list[PairBatch]:
    """Pairs of labelled queries with their positives and other passages, most of them wanted."""
    random = np.random.default_rng(seed)
    batches = []
    positives = dataset.positives
    query, passage = positives["query"].to_numpy(), positives["passage"].to_numpy()
    for row in np.unique(query)[:16]:
        own = passage[query == row]
        others = random.permutation(np.setdiff1d(np.arange(len(dataset.passages)), own))[:20]
        passages = random.permutation(np.concatenate([own, others])).astype(np.int32)
        given = np.isin(passages, own)
        before = np.where(given, Verdict.POSITIVE, Verdict.UNJUDGED).astype(np.int8)
        wanted = ~given & (random.random(len(passages)) < 0.8)
        batches.append(
            PairBatch(np.full(len(passages), row, dtype=np.int32), passages, given, before, wanted)
        )
    return batches


def _verdicts(
    name: str, spec: JudgeSpec, context: Context, batches: Sequence[PairBatch]
) -> dict[tuple[int, int], tuple[object, ...]]:
    """The verdicts of a judge by pair, after checks of their form."""
    wanted = {
        pair
        for b in batches
        for pair in zip(b.query[b.wanted].tolist(), b.passage[b.wanted].tolist(), strict=True)
    }
    judged: dict[tuple[int, int], tuple[object, ...]] = {}
    judge = build(spec, Judge, context)
    for verdicts in items(f"{name}.judge()", VERDICTS, lambda: judge.judge(iter(batches))):
        for pair, verdict, *rest in _rows(name, verdicts):
            expect(
                pair in wanted,
                f"{name} judges query {pair[0]} and passage {pair[1]}, which is not wanted",
            )
            expect(pair not in judged, f"{name} judges query {pair[0]} and passage {pair[1]} twice")
            known = (Verdict.NEGATIVE, Verdict.POSITIVE, Verdict.IGNORE)
            expect(
                verdict in known,
                f"{name}: {verdict} is not a verdict; leave out pairs that stay unjudged",
            )
            judged[pair] = (verdict, *rest)
    for attribute in ("figures", "counts"):
        value = member(name, judge, attribute, "it must be a mapping")
        expect_json_map(f"{name}.{attribute}", value)
    return judged


def _alike(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two judgments of a pair are equal, up to the rounding of scores."""
    (verdict, *numbers, reason), (other_verdict, *other_numbers, other_reason) = one, other
    rounded = all(
        a == b
        or (
            a is not None
            and b is not None
            and math.isclose(float(a), float(b), rel_tol=ROUNDING, abs_tol=ROUNDING)
        )
        for a, b in zip(numbers, other_numbers, strict=True)
    )
    return (verdict, reason) == (other_verdict, other_reason) and rounded


def _rows(name: str, verdicts: Verdicts) -> Iterator[tuple[Any, ...]]:
    """Yield ((query, passage), verdict, grade, confidence, reason), numbers as text.

    As text, NaN equals itself.
    """
    expect(isinstance(verdicts, Verdicts), f"{name}.judge() yields {found(verdicts)}; {VERDICTS}")
    m = len(verdicts.query) if np.ndim(verdicts.query) == 1 else 0
    dtypes = {"query": np.integer, "passage": np.integer, "verdict": np.integer}
    optional = {"grade": np.float32, "confidence": np.float32, "ungraded": np.bool_}
    for what, dtype in {**dtypes, **optional}.items():
        column = getattr(verdicts, what)
        if column is not None or what in dtypes:
            expect_array(f"{name}.judge(): Verdicts.{what}", column, (m,), dtype)
    reasons = [None] * m if verdicts.reason is None else verdicts.reason
    are_texts = (
        isinstance(reasons, Sequence)
        and not isinstance(reasons, str)
        and len(reasons) == m
        and all(reason is None or isinstance(reason, str) for reason in reasons)
    )
    expect(
        are_texts,
        f"{name}.judge(): Verdicts.reason is {found(reasons)}; a list of {m} texts or Nones is "
        "expected",
    )
    pairs = zip(verdicts.query.tolist(), verdicts.passage.tolist(), strict=True)
    numbers = [
        [None] * m if column is None else list(map(repr, column.tolist()))
        for column in (verdicts.grade, verdicts.confidence)
    ]
    yield from zip(pairs, verdicts.verdict.tolist(), *numbers, reasons, strict=True)
