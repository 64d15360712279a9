"""Runs a baseline again in a fresh cache, and compares its figures with the published ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

from recipekit.dataset import Dataset
from recipekit.errors import RecipekitError
from recipekit.pipeline.data_hashes import data_hashes
from recipekit.pipeline.execute import run as execute
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.run_events import OnEvent
from recipekit.report.blocks import Block, Line, Strong, Table, Text
from recipekit.report.numbers import plural
from recipekit.reproduce.drift import drift
from recipekit.reproduce.preparation import Prepared, check_published
from recipekit.reproduce.replies import read_replies
from recipekit.reproduce.tolerances import place
from recipekit.stages import evaluating_stage

__all__ = ["Outcome", "outcomes", "outcomes_blocks", "reproduce"]

UNREACHABLE: Final = "RK650"
"""The code of an LLM endpoint that cannot be reached."""


@dataclass(frozen=True)
class Outcome:
    """One published figure, and the one measured here."""

    evaluator: str
    split: str
    system: str
    metric: str
    published: float
    here: float | None
    """None if the run here has no such figure."""
    tolerance: float
    basis: str
    languages: Sequence[str] | None = None
    """The language pair of the metric, if it is that of a single one."""

    @property
    def is_within(self) -> bool:
        """Whether both figures differ by no more than the tolerance."""
        # A difference of exactly the tolerance must not fail by a float's last digit.
        return self.here is not None and abs(self.here - self.published) <= self.tolerance + 1e-12

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "within": self.is_within}


def reproduce(
    prepared: Prepared, *, launch: Launch, on_event: OnEvent, command: str, quiet: bool = False
) -> list[Outcome]:
    """Run a prepared baseline, and return every published figure with the one measured here."""
    cache = prepared.work / ".recipekit"
    if prepared.replies:
        read_replies(prepared.replies, cache)
    with _missing_replies(prepared):
        finished = execute(
            prepared.recipe,
            cache=cache,
            runs=prepared.runs,
            until=evaluating_stage().name,
            launch=launch,
            command=command,
            output="quiet" if quiet else "text",
            on_event=on_event,
            check_dataset=partial(_check_dataset, prepared),
            reach=prepared.replies is None,
        )
    return outcomes(prepared.bundle.metrics(), finished.metric_rows)


@contextmanager
def _missing_replies(prepared: Prepared) -> Iterator[None]:
    """Explain that an endpoint was asked, although no variable names one."""
    try:
        yield
    except RecipekitError as error:
        if prepared.replies is None or not prepared.unset or error.code != UNREACHABLE:
            raise
        first, _, resume = error.message.partition("\n")
        stage = first.partition(": ")[0]
        raise error.with_message(
            f"{stage}: the baseline has no reply to a request of this run, and the endpoint cannot "
            f"be used, since {', '.join(prepared.unset)} "
            f"{'is' if len(prepared.unset) == 1 else 'are'} not set\n{resume}".rstrip()
        ) from error


def _check_dataset(prepared: Prepared, dataset: Dataset) -> None:
    """Refuse collected data that is not the published one."""
    found = drift(prepared.locked, replace(prepared.locked, data=data_hashes(dataset)))
    check_published(str(prepared.work), (), found, prepared.force)


def outcomes(
    published: Sequence[Mapping[str, Any]], here: Sequence[Mapping[str, Any]]
) -> list[Outcome]:
    """Return every published figure with the one measured here."""
    measured = {place(row): row.get("value") for row in here}
    return [
        Outcome(
            *place(row),
            published=row["value"],
            here=measured.get(place(row)),
            tolerance=row["tolerance"],
            basis=row["tolerance_basis"],
            languages=row.get("languages"),
        )
        for row in published
        if row.get("value") is not None
    ]


def outcomes_blocks(found: Sequence[Outcome]) -> list[Block]:
    """The figures as a table, in which single language pairs are only those that miss theirs."""
    shown = [each for each in found if not (each.languages and each.is_within)]
    blocks: list[Block] = []
    if shown:
        blocks.append(_outcomes_table(shown, several=len(set(map(_where, found))) > 1))
    hidden = len(found) - len(shown)
    if hidden:
        pairs = plural(hidden, "figure of a language pair", "figures of language pairs")
        others = "the other " if any(each.languages for each in shown) else ""
        blocks.append(Text(f"{others}{pairs}: within tolerance"))
    return blocks


def _outcomes_table(found: Sequence[Outcome], *, several: bool) -> Table:
    rows: list[list[Line]] = []
    for each in found:
        where = f"{_where(each)}: " if several else ""
        here = difference = "-"
        if each.here is not None:
            here, difference = f"{each.here:.4f}", f"{each.here - each.published:+.4f}"
        within: Line = "yes" if each.is_within else Strong("no")
        figures: list[Line] = [f"{each.published:.4f}", here, difference, f"{each.tolerance:.4f}"]
        rows.append([f"{where}{each.system}", each.metric, *figures, within])
    header = ["system", "metric", "published", "here", "difference", "tolerance", "within"]
    return Table(header, rows, left=2)


def _where(outcome: Outcome) -> str:
    """What was measured; evaluators of files have no split."""
    return ", ".join(filter(None, [outcome.evaluator, outcome.split]))
