"""`recipekit judge sample`: pairs for people to label, drawn evenly over ranks and verdicts.

Most candidates are negatives at deep ranks, so a plain sample holds hardly any positive. An even
sample holds too many, and each pair has a weight: how many candidates it represents. The weights
are written to a file of their own (`weights_file`), since they would tell the labeller a pair's
rank and verdict.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from recipekit.arrays import Bools, Floats, Rows, lookup_sorted, pair_keys, positions_in_groups
from recipekit.component import JudgeSpec
from recipekit.dataset import Dataset
from recipekit.errors import StoreError
from recipekit.human_labels import weights_file
from recipekit.human_labels.label_file import escape_cell
from recipekit.judging.candidate_pairs import RANK_BANDS, CandidatePairs, load_pairs, rank_bands
from recipekit.judging.verdicts import Codes
from recipekit.records import Verdict

__all__ = ["SampledPair", "check_output", "draw_sample", "sample_strata", "write_sample"]

COLUMNS: Final = ("query_id", "passage_id", "query", "passage", "verdict")
FORMS: Final = (".csv", ".jsonl")
MAX_CHARACTERS = 30_000
"""Characters of a passage; a spreadsheet's cell holds 32,767."""


@dataclass(frozen=True)
class SampledPair:
    """A pair to label."""

    query_id: str
    passage_id: str
    query: str
    passage: str
    stratum: str
    """Band of ranks and verdict, such as `11-50, positive`."""
    weight: float
    """How many candidates it represents."""


def check_output(output: Path, *, force: bool) -> None:
    """Check that a sample can be written, before any work is done for it.

    Raises:
        StoreError: The file has an unknown form or exists, or there is no such folder.
    """
    if output.suffix not in FORMS:
        raise StoreError(f"--output {output}: a sample is written as .csv or .jsonl", code="RK505")
    if output.exists() and not force:
        raise StoreError(
            f"{output}: exists, and may contain labels; --force replaces it", code="RK503"
        )
    if not output.parent.is_dir():
        raise StoreError(
            f"{output}: cannot be written: there is no folder {output.parent}", code="RK502"
        )


def draw_sample(
    dataset: Dataset,
    candidates: pa.Table,
    judgments: pa.Table | None,
    specs: Sequence[JudgeSpec],
    n: int,
    seed: int,
) -> list[SampledPair]:
    """Draw `n` unlabelled candidates that a measured judge can get, in a random order.

    Args:
        dataset: The collected data.
        candidates: All candidates.
        judgments: The verdicts on them, if they are judged.
        specs: The recipe's judges.
        n: How many pairs; all of them if there are fewer.
        seed: Draws.
    """
    pairs = load_pairs(dataset, candidates)
    rows = np.flatnonzero(_reachable(pairs, specs) & ~pairs.labelled)
    names = list(Verdict)
    stratum = rank_bands(pairs.rank[rows]) * len(names)
    if judgments is not None:
        stratum += _verdicts(judgments, pairs.keys[rows], len(dataset.passages)) - min(names)
    drawn, weight = sample_strata(stratum, n, np.random.default_rng(seed))
    bands = list(RANK_BANDS)
    query, passage = pairs.query[rows[drawn]], pairs.passage[rows[drawn]]
    columns = zip(
        dataset.queries.column("id", query),
        dataset.passages.column("id", passage),
        dataset.queries.texts(query),
        dataset.passages.texts(passage),
        stratum[drawn].tolist(),
        weight.tolist(),
        strict=True,
    )
    return [
        SampledPair(
            query_id,
            passage_id,
            query_text,
            _shortened(passage_text),
            f"{bands[number // len(names)]}, {names[number % len(names)].name.lower()}",
            stands_for,
        )
        for query_id, passage_id, query_text, passage_text, number, stands_for in columns
    ]


def _reachable(pairs: CandidatePairs, specs: Sequence[JudgeSpec]) -> Bools:
    """The candidates that a measured judge can get; all candidates if there is none."""
    measured = [spec for spec in specs if type(spec).measured]
    return pairs.in_rank_range_of_any(measured) if measured else pairs.rank > 0


def _verdicts(judgments: pa.Table, keys: Rows, n_passages: int) -> Codes:
    """The verdict on each pair, UNJUDGED where there is none."""
    judged = pair_keys(judgments["query"].to_numpy(), judgments["passage"].to_numpy(), n_passages)
    verdict = np.full(len(keys), Verdict.UNJUDGED, dtype=np.int8)
    at, found = lookup_sorted(judged, keys)
    verdict[found] = judgments["verdict"].to_numpy()[at[found]]
    return verdict


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} …"


def sample_strata(stratum: Rows, n: int, generator: np.random.Generator) -> tuple[Rows, Floats]:
    """Draw `n` rows, as evenly over the strata as their sizes allow.

    If there are more strata than `n`, rows are drawn from all alike: a stratum without a drawn row
    would be missing from the figures.

    Args:
        stratum: The number of each row's stratum, from 0, (m,).
        n: How many rows to draw; all of them if there are fewer.
        generator: Draws.

    Returns:
        The drawn rows in random order, and how many rows of its stratum each represents.
    """
    sizes = np.bincount(stratum)
    if np.count_nonzero(sizes) > n:
        stratum, sizes = np.zeros_like(stratum), np.array([len(stratum)])
    shuffled = generator.permutation(len(stratum))
    by_stratum = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    turn = positions_in_groups(stratum[by_stratum])
    drawn: Rows = generator.permutation(by_stratum[np.argsort(turn, kind="stable")[:n]])
    weight = sizes[stratum[drawn]] / np.bincount(stratum[drawn])[stratum[drawn]]
    return drawn, weight.astype(np.float32)


def write_sample(pairs: list[SampledPair], output: Path) -> None:
    """Write the pairs as `.csv` or `.jsonl` with an empty verdict, and their `weights_file`.

    Raises:
        StoreError: A file cannot be written.
    """
    weights = [
        {name: getattr(pair, name) for name in ("query_id", "passage_id", "stratum", "weight")}
        for pair in pairs
    ]
    try:
        weights_file(output).write_text(
            json.dumps({"format": 1, "pairs": weights}, ensure_ascii=False, indent=1),
            encoding="utf-8",
        )
        if output.suffix == ".jsonl":
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(pairs)]
            output.write_text("".join(lines), encoding="utf-8")
            return
        # Spreadsheets recognize UTF-8 by the byte-order mark.
        with output.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for row in _rows(pairs):
                writer.writerow({name: escape_cell(value) for name, value in row.items()})
    except OSError as error:
        raise StoreError(f"{output}: cannot be written ({error.strerror})", code="RK502") from error


def _rows(pairs: list[SampledPair]) -> Iterator[dict[str, str]]:
    for pair in pairs:
        yield {name: getattr(pair, name, "") for name in COLUMNS}
