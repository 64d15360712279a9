"""Pairs for people to label: drawn so that every rank, and every verdict, is among them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Bools, Floats, Rows, lookup_sorted, pair_keys, positions_in_groups
from recipekit.component import JudgeSpec
from recipekit.dataset import Dataset
from recipekit.errors import StoreError
from recipekit.judges.sample_rows import hidden, inert
from recipekit.judging.candidate_pairs import CandidatePairs, load_pairs
from recipekit.judging.reliability import rank_bands
from recipekit.pipeline.mined_recipe import MinedRecipe
from recipekit.records import Verdict
from recipekit.stages.judge.section import JudgeSection
from recipekit.tables import read_table

__all__ = ["check_output", "sample_rows", "spread", "write_sample"]

COLUMNS: Final = ("query_id", "passage_id", "query", "passage", "verdict", "draw")
FORMS: Final = (".csv", ".jsonl")
CUT = 30_000
"""Characters of a passage; a cell of a spreadsheet holds 32,767."""


def check_output(output: Path, *, force: bool) -> None:
    """See to it that a sample can be written to a file, before any work is done for it.

    Raises:
        StoreError: It is of another form, is there already, or its folder is not.
    """
    if output.suffix not in FORMS:
        raise StoreError(f"--output {output}: a sample is written as .csv or .jsonl", code="RK505")
    if output.exists() and not force:
        raise StoreError(
            f"{output}: is there already, perhaps with somebody's labels in it; --force replaces it",
            code="RK503",
        )
    if not output.parent.is_dir():
        raise StoreError(
            f"{output}: cannot be written: there is no folder {output.parent}", code="RK502"
        )


def sample_rows(mined: MinedRecipe, n: int) -> list[dict[str, str]]:
    """Draw unlabelled candidates, evenly over bands of rank and, where they are judged, over
    verdicts; fewer where there are no more.

    They come in a seeded order that tells nothing of rank or verdict, and only from what the
    recipe's measured judges look at. So few positives are among most candidates that a plain sample
    would hold almost none; an even one holds far too many. What is counted on it is weighted back
    to all the candidates that it was drawn from, by what `draw` hides (see
    `recipekit.judges.sample_rows`).

    Returns:
        Rows of `COLUMNS`, the verdict empty.
    """
    dataset = mined.dataset
    pairs = load_pairs(dataset, mined.candidates)
    rows = np.flatnonzero(_reach(pairs, mined.recipe.section(JudgeSection)) & ~pairs.labelled)
    stratum = rank_bands(pairs.rank[rows]) * (len(Verdict) + 1)
    if "judge" in mined.artifacts:
        stratum += 1 + _verdicts(
            mined.artifacts["judge"].path / "judgments.arrow",
            pairs.keys[rows],
            len(dataset.passages),
        )
    drawn, weight = spread(stratum, n, np.random.default_rng(mined.recipe.seed))
    return list(_rows(dataset, pairs.query[rows[drawn]], pairs.passage[rows[drawn]], weight))


def _reach(pairs: CandidatePairs, section: JudgeSection | None) -> Bools:
    """The candidates that some measured judge looks at; all, where there is none."""
    specs = [slot.spec for slot in section.judges.values()] if section else []
    measured = [spec for spec in specs if isinstance(spec, JudgeSpec) and type(spec).measured]
    return pairs.reached(measured) if measured else pairs.rank > 0


def _verdicts(file: Path, keys: Rows, n_passages: int) -> npt.NDArray[np.int8]:
    """The verdict on each pair, UNJUDGED where there is none."""
    judgments = read_table(file)
    judged = pair_keys(judgments["query"].to_numpy(), judgments["passage"].to_numpy(), n_passages)
    verdict = np.full(len(keys), Verdict.UNJUDGED, dtype=np.int8)
    at, there = lookup_sorted(judged, keys)
    verdict[there] = judgments["verdict"].to_numpy()[at[there]]
    return verdict


def spread(stratum: Rows, n: int, generator: np.random.Generator) -> tuple[Rows, Floats]:
    """Draw `n` of some rows, as evenly over the strata as their sizes allow.

    Where there are more strata than `n`, all are taken for one: a stratum that nothing is drawn
    from would be missing from the figures.

    Args:
        stratum: The number of each row's stratum, from 0, (m,).
        n: How many to draw; all of them, if there are no more.
        generator: Draws.

    Returns:
        The drawn rows, in random order, and for how many of its stratum each stands: the stratum's
        size by what was drawn of it.
    """
    sizes = np.bincount(stratum)
    if np.count_nonzero(sizes) > n:
        stratum, sizes = np.zeros_like(stratum), np.array([len(stratum)])
    shuffled = generator.permutation(len(stratum))
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    turn = positions_in_groups(stratum[order])  # each row's turn in its stratum
    drawn: Rows = generator.permutation(order[np.argsort(turn, kind="stable")[:n]])
    weight = sizes[stratum[drawn]] / np.bincount(stratum[drawn])[stratum[drawn]]
    return drawn, weight.astype(np.float32)


def _rows(
    dataset: Dataset, query: npt.NDArray[Any], passage: npt.NDArray[Any], weight: Floats
) -> Iterator[dict[str, str]]:
    columns = (
        dataset.queries.column("id", query),
        dataset.passages.column("id", passage),
        dataset.queries.texts(query),
        [
            text if len(text) <= CUT else f"{text[:CUT]} …"
            for text in dataset.passages.texts(passage)
        ],
        weight.tolist(),
    )
    for query_id, passage_id, asked, text, stands_for in zip(*columns, strict=True):
        yield dict(
            zip(
                COLUMNS,
                (query_id, passage_id, asked, text, "", hidden(stands_for, query_id, passage_id)),
                strict=True,
            )
        )


def write_sample(rows: list[dict[str, str]], output: Path) -> None:
    """Write rows as `.csv` (with the byte-order mark by which spreadsheets know UTF-8) or `.jsonl`.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        if output.suffix == ".jsonl":
            output.write_text(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
                encoding="utf-8",
            )
            return
        with output.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({name: inert(value) for name, value in row.items()} for row in rows)
    except OSError as error:
        raise StoreError(f"{output}: cannot be written ({error.strerror})", code="RK502") from error
