"""How reliable the judges are: their verdicts on control pairs against the labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Bools
from recipekit.dataset import Dataset
from recipekit.judging.agreement import FIGURES, agreement
from recipekit.judging.candidate_pairs import RANK_BANDS, CandidatePairs, rank_bands
from recipekit.judging.judgments import Reasons
from recipekit.judging.verdict_log import VerdictLog
from recipekit.judging.verdicts import SOURCE, Codes
from recipekit.records import Verdict

__all__ = ["RELIABILITY_FILE", "Reliability"]

RELIABILITY_FILE = "reliability.json"

LENGTH_BANDS: Final = {
    "1-250": 0,
    "251-500": 251,
    "501-1000": 501,
    "1001-2000": 1001,
    "2001-": 2001,
}
"""Bands of characters of a passage with its title: name and least number."""
NOT_RETRIEVED = "not retrieved"

MAX_EXAMPLES = 12
MAX_EXAMPLE_CHARACTERS = 2000


@dataclass(frozen=True)
class Reliability:
    """Measures the judges once all of them have finished."""

    pairs: CandidatePairs
    dataset: Dataset
    control_pairs: Mapping[str, int]
    """How many control pairs each measured judge got, by name."""
    undecidable: str | None
    """Why the final verdict on source labels is unknown, if it is."""
    human_judges: Collection[int]
    """Codes of judges whose verdicts are human labels, which would be compared with themselves."""
    has_human_labels: bool

    def measure(self, logs: Mapping[str, VerdictLog], seed: int) -> dict[str, Any]:
        """Compare the verdicts on control pairs with their labels.

        On source labels, `final` is the measured judges' last verdict, since the label itself
        usually stays. On human labels it is the final verdict, whichever judge gave it.

        Args:
            logs: The logs of all judges, by name and in order, for the reasons of examples.
            seed: Chooses the examples.

        Returns:
            `control_pairs` (how many, by label, of `source_labels` and `human_labels`, and
            `not_candidates`); `source_labels` and `human_labels` (None without any), each with
            `judges` and `final`: the figures of `agreement` with `by_rank` and `by_length`,
            and of a judge how many `control_pairs` it got; and `examples` of disagreement.
        """
        control = self.pairs.control_pairs
        source = ~control.human
        by_source = self._figures(source, control.verdicts.verdict)
        if self.undecidable is not None:
            unjudged = np.full(len(control), Verdict.UNJUDGED, dtype=np.int8)
            by_source["final"] = {
                **self._figures_of(unjudged, source),
                "unmeasured": dict.fromkeys(FIGURES, self.undecidable),
            }
        by_human = self._figures(control.human, self._final_verdicts())
        return {
            "format": 3,
            "control_pairs": {
                "source_labels": _count_labels(control.truth[source]),
                "human_labels": _count_labels(control.truth[control.human]),
                "not_candidates": control.not_candidates,
            },
            "source_labels": by_source,
            "human_labels": by_human if self.has_human_labels else None,
            "examples": list(_examples(self.pairs, self.dataset, logs, seed)),
        }

    def _figures(self, selected: Bools, final: Codes) -> dict[str, Any]:
        """The figures of each judge, and of the final verdicts, on selected control pairs."""
        by_judge = self.pairs.control_pairs.verdicts.by_judge
        judges = {
            name: {"control_pairs": n, **self._figures_of(by_judge[name], selected)}
            for name, n in self.control_pairs.items()
        }
        return {"judges": judges, "final": self._figures_of(final, selected)}

    def _figures_of(self, verdict: Codes, selected: Bools) -> dict[str, Any]:
        """`agreement` on selected control pairs, in all, by rank and by length of the passage."""
        control = self.pairs.control_pairs

        def compare(these: Bools) -> dict[str, Any]:
            return agreement(control.truth[these], verdict[these], control.weight[these])

        figures = compare(selected)
        for name, (labels, band) in self._bands.items():
            in_bands = {label: compare(selected & (band == i)) for i, label in enumerate(labels)}
            figures[name] = {label: found for label, found in in_bands.items() if found["pairs"]}
        return figures

    @cached_property
    def _bands(self) -> dict[str, tuple[Sequence[str], npt.NDArray[np.int64]]]:
        """The names of each kind of band, and the band of each control pair, (m,)."""
        rows = self.pairs.control_pairs.rows
        rank = np.where(
            self.pairs.retrieved[rows], rank_bands(self.pairs.rank[rows]), len(RANK_BANDS)
        )
        passages = pa.array(self.pairs.passage[rows])
        characters = sum(
            pc.utf8_length(self.dataset.passages.table[column].take(passages)).to_numpy()
            for column in ("title", "text")
        )
        length = np.digitize(characters, list(LENGTH_BANDS.values())) - 1
        return {
            "by_rank": ((*RANK_BANDS, NOT_RETRIEVED), rank),
            "by_length": (tuple(LENGTH_BANDS), length),
        }

    def _final_verdicts(self) -> Codes:
        """The final verdict on each control pair, (m,).

        If no judge overruled a source label, or human labels decided, it is the last verdict of the
        measured judges.
        """
        rows, verdicts = self.pairs.control_pairs.rows, self.pairs.verdicts
        judge = verdicts.judge[rows]
        by_label = self.pairs.labelled[rows] & (judge == SOURCE)
        by_label |= np.isin(judge, list(self.human_judges))
        measured = self.pairs.control_pairs.verdicts.verdict
        final: Codes = np.where(by_label, measured, verdicts.verdict[rows])
        return final


def _count_labels(truth: Codes) -> dict[str, int]:
    return {
        name: int((truth == Verdict[name.upper()]).sum())
        for name in ("positive", "negative", "ignore")
    }


def _examples(
    pairs: CandidatePairs, dataset: Dataset, logs: Mapping[str, VerdictLog], seed: int
) -> Iterator[dict[str, Any]]:
    """A seeded choice of pairs whose label and last verdict are opposites.

    Half are labelled positive and half negative, where there are enough of both.
    """
    control = pairs.control_pairs
    verdicts = control.verdicts
    opposite = (verdicts.verdict >= 0) & (control.truth == 1 - verdicts.verdict)
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(opposite))
    positive = control.truth[shuffled] == Verdict.POSITIVE
    turn = np.where(positive, np.cumsum(positive), np.cumsum(~positive))
    chosen = shuffled[np.argsort(turn, kind="stable")[:MAX_EXAMPLES]]
    rows = control.rows[chosen]
    query, passage = pairs.query[rows], pairs.passage[rows]
    in_order = np.argsort(rows)
    reasons = Reasons(
        pairs.keys[rows[in_order]],
        verdicts.judge[chosen[in_order]],
        list(logs.values()),
        pairs.n_passages,
    ).take(np.argsort(in_order))
    columns = zip(
        chosen.tolist(),
        dataset.queries.column("id", query),
        dataset.passages.column("id", passage),
        dataset.queries.texts(query),
        dataset.passages.texts(passage),
        reasons.to_pylist(),
        pairs.rank[rows].tolist(),
        strict=True,
    )
    for position, query_id, passage_id, query_text, passage_text, reason, rank in columns:
        confidence = float(verdicts.confidence[position])
        yield {
            "query_id": query_id,
            "passage_id": passage_id,
            "query": query_text,
            "passage": passage_text[:MAX_EXAMPLE_CHARACTERS],
            "label": Verdict(int(control.truth[position])).name.lower(),
            "labelled_by": "human" if control.human[position] else "source",
            "verdict": Verdict(int(verdicts.verdict[position])).name.lower(),
            "judge": list(logs)[int(verdicts.judge[position]) - 1],
            "reason": reason,
            "confidence": None if np.isnan(confidence) else confidence,
            "rank": rank,
        }
