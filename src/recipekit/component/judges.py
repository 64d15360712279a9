"""Judges of candidate pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field

from recipekit.component.spec import Component

if TYPE_CHECKING:
    from recipekit.arrays import Bools, Floats, Ints

__all__ = ["Judge", "JudgeSpec", "PairBatch", "Verdicts"]


@dataclass(frozen=True)
class PairBatch:
    """Candidate pairs to judge, all candidates of a query together, best first.

    A batch holds every candidate of its queries. `wanted` marks the pairs to judge; the others are
    context, above all source positives that can serve as references. A wanted source positive is a
    control pair: judge it like any other candidate, and do not use it as a reference for others.
    """

    query: Ints
    """Query rows, int32 (m,)."""
    passage: Ints
    """Passage rows, int32 (m,)."""
    source_positive: Bools
    """Source positives that no judge has overruled, bool (m,)."""
    previous_verdict: Any
    """The verdict of the judges before, int8 (m,); `Verdict.UNJUDGED` where there is none."""
    wanted: Bools
    """The pairs to judge, bool (m,)."""

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True)
class Verdicts:
    """A judge's verdicts, in any order."""

    query: Ints
    """Query rows, int32 (m,)."""
    passage: Ints
    """Passage rows, int32 (m,)."""
    verdict: Any
    """`Verdict` codes, int8 (m,)."""
    grade: Floats | None = None
    """float32 (m,), NaN where a pair has none."""
    confidence: Floats | None = None
    """float32 (m,), NaN where a pair has none."""
    reason: Sequence[str | None] | None = None
    """One text per pair, or None."""
    ungraded: Any = None
    """Pairs without a usable answer, bool (m,).

    Their verdict, an `ignore`, counts only where no judge before gave one.
    """


class Judge(Protocol):
    """Decides whether (query, passage) pairs are relevant.

    Subclass it for the defaults of the optional members.
    """

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream verdicts on the wanted pairs; a pair without one keeps its previous verdict.

        Verdicts are on disk when the next ones are requested, and a resumed attempt does not ask
        for them again. A judge that reads several pairs of a query together should therefore yield
        whole queries.
        """

    @property
    def figures(self) -> Mapping[str, float | str]:
        """Values to show live next to the stage's own counts, such as `usd`; optional.

        `usd_a_pair` is not shown, but used to forecast the cost.
        """
        return {}

    @property
    def counts(self) -> Mapping[str, Any]:
        """JSON values for the stage's summary, once the judge has finished; optional."""
        return {}


class JudgeSpec(Component[Judge]):
    """Gives three-state verdicts on candidate pairs."""

    kind: ClassVar[str] = "judge"
    measured: ClassVar[bool] = False
    """Whether the judge also gets control pairs, which measure its reliability.

    True for a judge that reads the texts. False for a filter that cannot judge a source positive,
    and for human labels, which would be compared with themselves.
    """
    human: ClassVar[bool] = False
    """Whether its verdicts are labels of people, as those of a file.

    Where they are the final verdicts on control pairs, the last verdict of the measured judges is
    compared with the label instead: human labels say nothing about the other judges.
    """

    previous_verdicts: tuple[Literal["positive", "negative", "ignore", "unjudged"], ...] | None = (
        None
    )
    """Judge only pairs whose verdict so far is one of these. Default: all pairs."""
    below_confidence: float | None = None
    """Judge only pairs whose last verdict came from a judge, with a confidence below this or none.
    """
    disagreeing_with: str | None = None
    """Judge only pairs on which this judge (its name in the recipe) and the last verdict differ."""
    max_rank: Annotated[int, Field(ge=1)] | None = None
    """Judge only candidates up to this rank."""
    ranks_below_positive: Annotated[int, Field(ge=0)] | None = None
    """Judge only candidates ranked above the query's best source positive, or at most this many
    ranks below it. A query without a source positive is skipped."""
    max_pairs: Annotated[int, Field(ge=1)] | None = None
    """Judge at most this many pairs: a seeded sample of those that the other conditions admit.

    At most the share `control_pairs.share` of them are control pairs with source labels.
    """
