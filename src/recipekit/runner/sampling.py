"""Pairs for people to label: drawn so that every rank, and every verdict, is among them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recipekit.component import JudgeSpec
from recipekit.errors import StoreError
from recipekit.recipe.models import JudgeSection
from recipekit.records import Dataset, Rows, Verdict, pair_keys, read_table
from recipekit.runner.mined import Mined
from recipekit.stages.trust import rank_bands

__all__ = ["check_output", "sample_rows", "write_sample"]

COLUMNS: Final = ("query_id", "passage_id", "query", "passage", "verdict")
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
        raise StoreError(f"{output}: is there already, perhaps with somebody's labels in it; --force replaces it", code="RK503")
    if not output.parent.is_dir():
        raise StoreError(f"{output}: cannot be written: there is no folder {output.parent}", code="RK502")


def sample_rows(mined: Mined, n: int) -> list[dict[str, str]]:
    """Draw unlabelled candidates, evenly over bands of rank and, where they are judged, over verdicts; fewer where there are no more.

    They come in a seeded order that tells nothing of rank or verdict, and only from what the recipe's measured judges look at.

    Returns:
        Rows of `COLUMNS`, the verdict empty.
    """
    table, dataset = mined.candidates, mined.dataset
    query, passage = table["query"].to_numpy(), table["passage"].to_numpy()
    rank = np.arange(1, len(query) + 1) - np.searchsorted(query, query)
    keys = pair_keys(query, passage, len(dataset.passages))
    labels = pair_keys(dataset.labels["query"].to_numpy(), dataset.labels["passage"].to_numpy(), len(dataset.passages))
    rows = np.flatnonzero((rank <= _deepest(mined.recipe.judge)) & ~np.isin(keys, labels))
    stratum = rank_bands(rank[rows]) * (len(Verdict) + 1)
    if "judge" in mined.artifacts:
        stratum += 1 + _verdicts(mined.artifacts["judge"].path / "judgments.arrow", keys[rows], len(dataset.passages))
    generator = np.random.default_rng(mined.recipe.seed)
    drawn = _spread(rows, stratum, n, generator)
    return list(_rows(dataset, query[drawn], passage[drawn]))


def _deepest(section: JudgeSection | None) -> int:
    """The rank down to which some measured judge looks."""
    specs = [slot.spec for slot in section.judges.values()] if section else []
    tops = [spec.top for spec in specs if isinstance(spec, JudgeSpec) and type(spec).measured]
    found = [top for top in tops if top is not None]
    return max(found) if found and len(found) == len(tops) else np.iinfo(np.int32).max


def _verdicts(file: Path, keys: Rows, n_passages: int) -> npt.NDArray[np.int8]:
    """The verdict on each pair, UNJUDGED where there is none."""
    judgments = read_table(file)
    judged = pair_keys(judgments["query"].to_numpy(), judgments["passage"].to_numpy(), n_passages)
    verdict = np.full(len(keys), Verdict.UNJUDGED, dtype=np.int8)
    at = np.searchsorted(judged, keys)
    there = at < len(judged)
    there[there] = judged[at[there]] == keys[there]
    verdict[there] = judgments["verdict"].to_numpy()[at[there]]
    return verdict


def _spread(rows: Rows, stratum: Rows, n: int, generator: np.random.Generator) -> Rows:
    """`n` rows, as evenly over the strata as their sizes allow, in random order."""
    shuffled = generator.permutation(len(rows))
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    first = np.flatnonzero(np.diff(stratum[order], prepend=-1))
    turn = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))  # each row's turn in its stratum
    drawn: Rows = generator.permutation(rows[order[np.argsort(turn, kind="stable")[:n]]])
    return drawn


def _rows(dataset: Dataset, query: npt.NDArray[Any], passage: npt.NDArray[Any]) -> Iterator[dict[str, str]]:
    columns = (
        dataset.queries.column("id", query),
        dataset.passages.column("id", passage),
        dataset.queries.texts(query),
        [text if len(text) <= CUT else f"{text[:CUT]} …" for text in dataset.passages.texts(passage)],
    )
    for values in zip(*columns, strict=True):
        yield dict(zip(COLUMNS, (*values, ""), strict=True))


def write_sample(rows: list[dict[str, str]], output: Path) -> None:
    """Write rows as `.csv` (with the byte-order mark by which spreadsheets know UTF-8) or `.jsonl`.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        if output.suffix == ".jsonl":
            output.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            return
        with output.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({**row, "query": _inert(row["query"]), "passage": _inert(row["passage"])} for row in rows)
    except OSError as error:
        raise StoreError(f"{output}: cannot be written ({error.strerror})", code="RK502") from error


def _inert(text: str) -> str:
    """A text that no spreadsheet takes for a formula: passages may come from anybody."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
