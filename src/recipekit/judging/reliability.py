"""How far the judges can be trusted: what they said of pairs whose truth is known, and whether that
is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Bools, Floats, Rows
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.judging.agreement import FIGURES, agreement
from recipekit.judging.candidate_pairs import CandidatePairs
from recipekit.judging.control_pairs import ControlPairs
from recipekit.judging.policy import ReliabilityFloors
from recipekit.judging.verdict_log import VerdictLog
from recipekit.judging.verdict_state import SOURCE, Codes
from recipekit.records import Verdict

__all__ = [
    "BANDS",
    "RELIABILITY_FILE",
    "Reliability",
    "check_floors",
    "decisive_labels",
    "enforce_floors",
    "rank_bands",
]

RELIABILITY_FILE = "reliability.json"

BANDS = {"1-10": 1, "11-50": 11, "51-100": 51, "101-": 101}
"""Ranks among the candidates: a band's name and its first rank."""
LENGTHS = {"1-250": 0, "251-500": 251, "501-1000": 501, "1001-2000": 1001, "2001-": 2001}
"""Characters of a passage, its title included: a band's name and its least number."""
NOT_RETRIEVED = "not retrieved"

EXAMPLES = 12
"""Disagreements that are shown."""
ENOUGH = 10
"""Pairs of a label without which no floor is held: of ten without an error, Wilson's interval still
reaches to 28 %.
"""
NEEDED = {
    "kappa": ("positive", "negative"),
    "false_positive_rate": ("negative",),
    "false_negative_rate": ("positive",),
}
"""The labels that a figure rests on, each; the others rest on all of them together."""


def rank_bands(rank: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The number of each rank's band."""
    band: npt.NDArray[np.int64] = np.digitize(rank, list(BANDS.values())) - 1
    return band


@dataclass(frozen=True)
class Reliability:
    """Everything that was said of pairs of known truth."""

    pairs: CandidatePairs
    """All pairs, once every judge has spoken."""
    dataset: Dataset
    asked: Mapping[str, int]
    """The measured judges, with how many blind pairs each was asked about."""
    undecided: Mapping[str, Sequence[str]]
    """Of these, the ones whose conditions go by judges that do not speak of labelled pairs: by
    name, the judges they wait for.
    """
    files: Collection[int]
    """The codes of judges that read label files, which would be measured by themselves."""
    by_people: bool
    """Whether there is a sample that people labelled."""

    def told(self, journals: Mapping[str, VerdictLog], seed: int) -> dict[str, Any]:
        """What the measured judges are worth, as JSON values.

        Args:
            journals: What every judge of the recipe said, by name, in their order: for the reasons.
            seed: Chooses the examples.

        Returns:
            `blind` (how many pairs of known truth there are, by whose label it is and what it
            says), `labels` and `people` (None without a sample): by these labels, for each of
            `judges` and for the `cascade`, `agreement`'s figures with `asked`, `by_rank` and
            `by_length`; and `examples` of disagreement.

        The cascade on the sources' labels is the measured judges' last word on them, though the
        labels may stand; on people's sample it is what stands in the end, whoever said it.
        """
        blind = self.pairs.blind
        bands = [_by_rank(self.pairs), _by_length(self.pairs, self.dataset)]
        counts = {
            "labels": _counts(blind.truth[~blind.people]),
            "people": _counts(blind.truth[blind.people]),
        }
        return {
            "format": 2,
            "blind": {**counts, "labels_on_other_pairs": blind.elsewhere},
            "labels": self._by(~blind.people, blind.said.verdict, bands, unknown=self._unknown()),
            "people": self._by(blind.people, self._standing(), bands) if self.by_people else None,
            "examples": list(_examples(self.pairs, self.dataset, journals, seed)),
        }

    def _by(
        self, these: Bools, last: Codes, bands: Sequence[_Bands], *, unknown: str | None = None
    ) -> dict[str, Any]:
        """The figures by some labels; `unknown` says why there are none of all judges together."""
        blind, bands = self.pairs.blind, [band.taken(these) for band in bands]

        def figures(said: Codes) -> dict[str, Any]:
            return _figures(blind.truth[these], said[these], blind.weight[these], bands)

        judges = {
            name: {"asked": asked, **figures(blind.said.own[name])}
            for name, asked in self.asked.items()
        }
        nobody = np.full(len(blind), Verdict.UNJUDGED, dtype=np.int8)
        cascade = figures(last if unknown is None else nobody)
        if unknown is not None:
            cascade["unmeasured"] = dict.fromkeys(FIGURES, unknown)
        return {"judges": judges, "cascade": cascade}

    def _unknown(self) -> str | None:
        return _undecidable(self.undecided) if len(self.asked) > 1 and self.undecided else None

    def _standing(self) -> Codes:
        """What stands of each blind pair in the end; of a label that stands as it was given, or
        that a file gave, the models' last word.
        """
        said, rows = self.pairs.said, self.pairs.blind.rows
        by_label = (self.pairs.labelled[rows] & (said.judge[rows] == SOURCE)) | np.isin(
            said.judge[rows], list(self.files)
        )
        standing: Codes = np.where(by_label, self.pairs.blind.said.verdict, said.verdict[rows])
        return standing


def _counts(truth: Codes) -> dict[str, int]:
    return {
        verdict.name.lower(): int((truth == verdict).sum())
        for verdict in (Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE)
    }


def _undecidable(undecided: Mapping[str, Sequence[str]]) -> str:
    """Why all judges together cannot be measured by the sources' labels."""
    name, silent = next(iter(undecided.items()))
    return f"what '{name}' is asked goes by {' and '.join(map(repr, silent))}, which does not speak of labelled pairs"


# ReliabilityFloors
# -------------------------------------------------------------------------------------------------------------------


def decisive_labels(trust: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """By whose labels the floors are held, `people` or `labels`, and the figures by these."""
    by = "labels" if trust["people"] is None else "people"
    return by, trust[by]


def check_floors(
    blind: ControlPairs,
    floors: ReliabilityFloors,
    truth: Codes,
    *,
    by_people: bool,
    undecided: Mapping[str, Sequence[str]],
    remedies: Mapping[str, Callable[[], Codes]],
) -> None:
    """See that what is required can be measured, before anybody is paid.

    Args:
        blind: The pairs of known truth.
        floors: The recipe's `require`.
        truth: The labels of those by which floors are held and that some measured judge looks at.
        by_people: Whether there is a sample that people labelled, by which floors are then held.
        undecided: See `Reliability`.
        remedies: What could be done about too few labels, and which there would be then; the first
            that is enough is advised.

    Raises:
        RunError: There are too few labels, or what the judges say together is not to be known from
            them.
    """
    if not by_people and len(blind.said.own) > 1 and undecided:
        raise _unmeasurable([_undecidable(undecided)])
    whose = "in people's sample" if by_people else "among the candidates that are judged blind"
    if short := [
        f"{name} needs {ENOUGH} {what} {whose}, and there are {n}"
        for name, what, n in _lacking(floors, truth)
    ]:
        helps = next(
            (remedy for remedy, then in remedies.items() if not _lacking(floors, then())), None
        )
        raise _unmeasurable(short, *([] if helps is None else [helps]), by_people=by_people)


def _lacking(floors: ReliabilityFloors, truth: Codes) -> list[tuple[str, str, int]]:
    """The required figures for which there are too few labels: of which, and how many there are."""
    found = {
        "positive": int((truth == Verdict.POSITIVE).sum()),
        "negative": int((truth == Verdict.NEGATIVE).sum()),
    }
    return [(name, what, n) for name in _required(floors) for what, n in _few(name, found)]


def _few(name: str, found: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The labels of which a figure has too few, and how many there are."""
    for label in NEEDED.get(name, ()):
        if found[label] < ENOUGH:
            yield f"known {label}s", found[label]
    if name not in NEEDED and sum(found.values()) < ENOUGH:
        yield "known pairs", sum(found.values())


def enforce_floors(
    trust: Mapping[str, Any], floors: ReliabilityFloors, *, look: str, unpaid: Mapping[str, int]
) -> None:
    """Make sure that the last word on pairs judged blind reaches what the recipe requires.

    Args:
        trust: What `measured_trust` found.
        floors: The recipe's `require`.
        look: Where a person can look at the figures.
        unpaid: The judges whose budget did not reach all of their pairs, and how many it left.

    Raises:
        RunError: It does not, or a required figure could not be measured.
    """
    by, told = decisive_labels(trust)
    cascade, required = told["cascade"], _required(floors)
    missing = [why for name in required if (why := _too_few(name, cascade)) is not None]
    if missing:
        wanting = max(
            (ENOUGH - n for name in required for _, n in _few(name, _told(name, cascade))),
            default=0,
        )
        paid_for = [
            f"raise the budget, which left {n:,} pairs of judge '{name}' unjudged"
            for name, n in unpaid.items()
        ]
        raise _unmeasurable(
            missing,
            *(paid_for if sum(unpaid.values()) >= wanting else ()),
            by_people=by == "people",
        )
    failed = [
        _short_of(name, cascade[name], limit)
        for name, limit in required.items()
        if not _reached(name, cascade[name]["value"], limit)
    ]
    if failed:
        whose = "labelled by people" if by == "people" else "judged blind"
        advice = f"figures and examples stand in {look}. Improve the judges, or lower the limit, which judges nothing again"
        raise RunError(
            f"the judges stay below judge.require: {', '.join(failed)}, on {cascade['pairs']:,} pairs {whose}; {advice}",
            code="RK621",
        )


def _required(floors: ReliabilityFloors) -> dict[str, float]:
    return {name: limit for name in FIGURES if (limit := getattr(floors, name)) is not None}


def _unmeasurable(reasons: Sequence[str], *ways: str, by_people: bool = False) -> RunError:
    """`ways` to go on that come before labelling by hand, of which people have done some where
    `by_people`.
    """
    label = "label some (`recipekit judge sample` writes a file to fill in), and name the file in judge.control_pairs.human_labels"
    if by_people:
        label = "label more pairs for judge.control_pairs.human_labels (`recipekit judge sample` writes a file to fill in), or require less"
    advice = ", or ".join([*ways, label])
    return RunError(
        f"judge.require asks for what cannot be measured: {'; '.join(reasons)}. To go on, {advice}",
        code="RK622",
    )


def _too_few(name: str, cascade: Mapping[str, Any]) -> str | None:
    """Why a figure does not hold a floor, where it does not."""
    if cascade[name] is None:
        return f"{name} ({cascade['unmeasured'][name]})"
    said = "judged" if name == "decided_share" else "called positive or negative"
    few = _few(name, _told(name, cascade))
    return next(
        (f"{name} ({n} {what} were {said}, and {ENOUGH} are needed)" for what, n in few), None
    )


def _told(name: str, cascade: Mapping[str, Any]) -> dict[str, int]:
    """On how many pairs of each label something was said that counts for a figure."""
    verdicts = (
        ("positive", "negative", "ignore") if name == "decided_share" else ("positive", "negative")
    )
    return {
        label: sum(row[verdict] for verdict in verdicts) for label, row in cascade["table"].items()
    }


def _reached(name: str, value: float, limit: float) -> bool:
    return value <= limit if name.endswith("_rate") else value >= limit


def _short_of(name: str, figure: Mapping[str, float], limit: float) -> str:
    side = "at most" if name.endswith("_rate") else "at least"
    return f"{name} {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}], {side} {limit:g} is required"


# By rank and by length
# ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bands:
    """Names of bands, and the band of each blind pair."""

    name: str
    labels: tuple[str, ...]
    of: npt.NDArray[np.int64]

    def taken(self, these: Bools) -> _Bands:
        """Of some pairs alone."""
        return _Bands(self.name, self.labels, self.of[these])


def _by_rank(pairs: CandidatePairs) -> _Bands:
    rows = pairs.blind.rows
    band = np.where(pairs.retrieved[rows], rank_bands(pairs.rank[rows]), len(BANDS))
    return _Bands("by_rank", (*BANDS, NOT_RETRIEVED), band)


def _by_length(pairs: CandidatePairs, dataset: Dataset) -> _Bands:
    rows = pa.array(pairs.passage[pairs.blind.rows])
    characters = sum(
        pc.utf8_length(dataset.passages.table[name].take(rows)).to_numpy()
        for name in ("title", "text")
    )
    return _Bands("by_length", tuple(LENGTHS), np.digitize(characters, list(LENGTHS.values())) - 1)


def _figures(truth: Codes, said: Codes, weight: Floats, bands: Sequence[_Bands]) -> dict[str, Any]:
    told = agreement(truth, said, weight)
    for band in bands:
        told[band.name] = {}
        for number, label in enumerate(band.labels):
            here = band.of == number
            figures = agreement(truth[here], said[here], weight[here])
            if figures["pairs"]:
                told[band.name][label] = figures
    return told


# Examples
# -----------------------------------------------------------------------------------------------------------------


def _examples(
    pairs: CandidatePairs, dataset: Dataset, journals: Mapping[str, VerdictLog], seed: int
) -> Iterator[dict[str, Any]]:
    """Pairs whose label and last verdict are opposites: a seeded choice, half of each sort where
    there are as many.
    """
    blind = pairs.blind
    opposite = (blind.truth == 1 - blind.said.verdict) & (blind.said.verdict >= 0)
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(opposite))
    positive = blind.truth[shuffled] == Verdict.POSITIVE
    alternating = np.argsort(
        np.where(positive, np.cumsum(positive), np.cumsum(~positive)), kind="stable"
    )
    chosen = shuffled[alternating[:EXAMPLES]]
    rows = blind.rows[chosen]
    reasons = _reasons(pairs, rows, blind.said.judge[chosen], journals)
    ids = (
        dataset.queries.column("id", pairs.query[rows]),
        dataset.passages.column("id", pairs.passage[rows]),
    )
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


def _reasons(
    pairs: CandidatePairs, rows: Rows, codes: npt.NDArray[Any], journals: Mapping[str, VerdictLog]
) -> dict[int, str]:
    """What the judges gave as their reasons for some rows, by row."""
    found: dict[int, str] = {}
    for code, journal in enumerate(journals.values(), start=1):
        own = np.sort(rows[codes == code])
        for batch in journal.batches() if len(own) else ():
            here, _ = pairs.positions(batch["query"].to_numpy(), batch["passage"].to_numpy())
            mine: Bools = np.isin(here, own)
            texts = batch["reason"].filter(pa.array(mine)).to_pylist() if mine.any() else []
            found |= {
                int(row): text
                for row, text in zip(here[mine], texts, strict=True)
                if text is not None
            }
    return found
