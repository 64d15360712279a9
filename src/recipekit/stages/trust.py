"""How far the judges can be trusted: what they said of pairs whose truth is known, and whether that is enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.errors import RunError
from recipekit.recipe.models import Floors
from recipekit.records import Bools, Dataset, Rows, Verdict
from recipekit.stages.agreement import FIGURES, agreement
from recipekit.stages.journal import Journal
from recipekit.stages.pairs import Pairs
from recipekit.stages.said import Codes

__all__ = ["BANDS", "TRUST_FILE", "gate", "measured_trust", "rank_bands"]

TRUST_FILE = "trust.json"

BANDS = {"1-10": 1, "11-50": 11, "51-100": 51, "101-": 101}
"""Ranks among the candidates: a band's name and its first rank."""
LENGTHS = {"1-250": 0, "251-500": 251, "501-1000": 501, "1001-2000": 1001, "2001-": 2001}
"""Characters of a passage, its title included: a band's name and its least number."""
NOT_RETRIEVED = "not retrieved"

EXAMPLES = 12
"""Disagreements that are shown."""


def rank_bands(rank: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The number of each rank's band."""
    band: npt.NDArray[np.int64] = np.digitize(rank, list(BANDS.values())) - 1
    return band


def measured_trust(pairs: Pairs, dataset: Dataset, judges: Mapping[str, int], journals: Mapping[str, Journal], seed: int) -> dict[str, Any]:
    """What the measured judges are worth, as JSON values.

    Args:
        pairs: All pairs, once every judge has spoken.
        dataset: For texts and ids.
        judges: The measured judges, with how many blind pairs each was asked about.
        journals: What every judge of the recipe said, by name, in their order: for the reasons.
        seed: Chooses the examples.

    Returns:
        `blind` (how many pairs were to be judged blind, by label and by whose label it is), `judges` and `cascade` (the last word of all of
        them): `agreement`'s figures with `asked`, `by_rank` and `by_length`; and `examples` of disagreement.
    """
    blind = pairs.blind
    bands = {"by_rank": _by_rank(pairs), "by_length": _by_length(pairs, dataset)}
    told = {name: {"asked": asked, **_figures(blind.truth, blind.said.own[name], bands)} for name, asked in judges.items()}
    return {
        "format": 1,
        "blind": {
            "positive": int((blind.truth == Verdict.POSITIVE).sum()),
            "negative": int((blind.truth == Verdict.NEGATIVE).sum()),
            "ignore": int((blind.truth == Verdict.IGNORE).sum()),
            "labelled_by_people": int(blind.people.sum()),
            "labels_on_other_pairs": blind.elsewhere,
        },
        "judges": told,
        "cascade": _figures(blind.truth, blind.said.verdict, bands),
        "examples": list(_examples(pairs, dataset, journals, seed)),
    }


def gate(trust: Mapping[str, Any], floors: Floors, *, look: str) -> None:
    """Make sure that the last word on pairs judged blind reaches what the recipe requires.

    Args:
        trust: What `measured_trust` found.
        floors: The recipe's `require`.
        look: Where a person can look at the figures.

    Raises:
        RunError: It does not, or a required figure could not be measured.
    """
    cascade = trust["cascade"]
    required = {name: getattr(floors, name) for name in FIGURES if getattr(floors, name) is not None}
    missing = [f"{name} ({cascade['unmeasured'][name]})" for name in required if cascade[name] is None]
    if missing:
        advice = "label some (`recipekit judge sample` writes a file to fill in), and name the file in judge.trust.sample"
        raise RunError(f"judge.require asks for what cannot be measured: {', '.join(missing)}; {advice}", code="RK622")
    failed = [
        _short_of(name, cascade[name], limit) for name, limit in required.items() if not _reached(name, cascade[name]["value"], limit)
    ]
    if failed:
        advice = f"figures and examples stand in {look}. Improve the judges, or lower the limit, which judges nothing again"
        raise RunError(f"the judges stay below judge.require: {', '.join(failed)}, on {cascade['pairs']:,} pairs; {advice}", code="RK621")


def _reached(name: str, value: float, limit: float) -> bool:
    return value <= limit if name.endswith("_rate") else value >= limit


def _short_of(name: str, figure: Mapping[str, float], limit: float) -> str:
    side = "at most" if name.endswith("_rate") else "at least"
    return f"{name} {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}], {side} {limit:g} is required"


# By rank and by length ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bands:
    """Names of bands, and the band of each blind pair."""

    names: tuple[str, ...]
    of: npt.NDArray[np.int64]


def _by_rank(pairs: Pairs) -> _Bands:
    rows = pairs.blind.rows
    band = np.where(pairs.retrieved[rows], rank_bands(pairs.rank[rows]), len(BANDS))
    return _Bands((*BANDS, NOT_RETRIEVED), band)


def _by_length(pairs: Pairs, dataset: Dataset) -> _Bands:
    rows = pa.array(pairs.passage[pairs.blind.rows])
    characters = sum(pc.utf8_length(dataset.passages.table[name].take(rows)).to_numpy() for name in ("title", "text"))
    return _Bands(tuple(LENGTHS), np.digitize(characters, list(LENGTHS.values())) - 1)


def _figures(truth: Codes, said: Codes, bands: Mapping[str, _Bands]) -> dict[str, Any]:
    told = agreement(truth, said)
    for name, band in bands.items():
        told[name] = {}
        for number, label in enumerate(band.names):
            here = band.of == number
            figures = agreement(truth[here], said[here])
            if figures["pairs"]:
                told[name][label] = figures
    return told


# Examples -----------------------------------------------------------------------------------------------------------------


def _examples(pairs: Pairs, dataset: Dataset, journals: Mapping[str, Journal], seed: int) -> Iterator[dict[str, Any]]:
    """Pairs whose label and last verdict are opposites: a seeded choice, half of each sort where there are as many."""
    blind = pairs.blind
    opposite = (blind.truth == 1 - blind.said.verdict) & (blind.said.verdict >= 0)
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(opposite))
    positive = blind.truth[shuffled] == Verdict.POSITIVE
    alternating = np.argsort(np.where(positive, np.cumsum(positive), np.cumsum(~positive)), kind="stable")
    chosen = shuffled[alternating[:EXAMPLES]]
    rows = blind.rows[chosen]
    reasons = _reasons(pairs, rows, blind.said.judge[chosen], journals)
    ids = dataset.queries.column("id", pairs.query[rows]), dataset.passages.column("id", pairs.passage[rows])
    texts = dataset.queries.texts(pairs.query[rows]), dataset.passages.texts(pairs.passage[rows])
    for number, place in enumerate(chosen.tolist()):
        confidence = float(blind.said.confidence[place])
        yield {
            "query_id": ids[0][number],
            "passage_id": ids[1][number],
            "query": texts[0][number],
            "passage": texts[1][number][:2000],
            "label": Verdict(int(blind.truth[place])).name.lower(),
            "labelled_by": "people" if blind.people[place] else "the source",
            "verdict": Verdict(int(blind.said.verdict[place])).name.lower(),
            "judge": list(journals)[int(blind.said.judge[place]) - 1],
            "reason": reasons.get(int(rows[number])),
            "confidence": None if np.isnan(confidence) else confidence,
            "rank": int(pairs.rank[rows[number]]),
        }


def _reasons(pairs: Pairs, rows: Rows, codes: npt.NDArray[Any], journals: Mapping[str, Journal]) -> dict[int, str]:
    """What the judges gave as their reasons for some rows, by row."""
    found: dict[int, str] = {}
    for code, journal in enumerate(journals.values(), start=1):
        own = np.sort(rows[codes == code])
        for batch in journal.batches() if len(own) else ():
            here, _ = pairs.positions(batch["query"].to_numpy(), batch["passage"].to_numpy())
            mine: Bools = np.isin(here, own)
            texts = batch["reason"].filter(pa.array(mine)).to_pylist() if mine.any() else []
            found |= {int(row): text for row, text in zip(here[mine], texts, strict=True) if text is not None}
    return found
