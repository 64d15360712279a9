"""Which passages are asked about together, in which order: pairs to calls, as a pure function of
texts and seed.

A query's passages are taken in order of rank, `passages_per_call` at a time, apart by the verdict
that selected them in a cascade: so the calls stay the same, and their replies are found again, when
`max_rank` or `previous_verdicts` later selects more or fewer of them. Within a call they stand in a
seeded order of their own (position bias), another one for every vote. One passage has one order,
two have two: where the same prompt brings the same answer, it is paid once, and such a call has
fewer votes than others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from math import factorial

from recipekit.judges.language_model.texts import Shown
from recipekit.judges.prompting.canaries import CanaryKind, canary, kinds_for

__all__ = ["Group", "Item", "Plan", "QueryTexts"]


@dataclass(frozen=True)
class QueryTexts:
    """A query with the passages to judge, best first."""

    row: int
    query: Shown
    passages: tuple[Shown, ...]
    rows: tuple[int, ...]
    """The passages' rows."""
    strata: tuple[int, ...]
    """What selected each passage; passages of different strata do not share a call."""
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """A passage in a call."""

    text: str
    place: int | None = None
    """Which of the query's passages it is; None for a canary."""
    canary: CanaryKind | None = None


@dataclass(frozen=True)
class Group:
    """The passages of one call, in the order shown."""

    items: tuple[Item, ...]
    vote: int
    """Votes count from 0; the one after the last is the repeat, which measures consistency and
    decides nothing.
    """

    def halves(self) -> tuple[Group, Group]:
        """Two calls in place of one."""
        middle = len(self.items) // 2
        return Group(self.items[:middle], self.vote), Group(self.items[middle:], self.vote)


@dataclass(frozen=True)
class Plan:
    """How pairs become calls."""

    seed: int
    passages_per_call: int
    votes: int
    repeat: float
    """Share of the queries that are asked once more."""
    canaries: float
    """Share of the first votes' calls with a canary."""
    steady: bool = True
    """Whether the same prompt brings the same answer, as at temperature 0: then none is a vote of
    its own twice.
    """

    def groups(self, texts: QueryTexts) -> Iterator[Group]:
        """The calls of a query."""
        again = self._draw("repeat", texts.query.text) < self.repeat
        for number, places in enumerate(self._chunks(texts.strata)):
            items = [Item(texts.passages[place].text, place) for place in places]
            for vote, draw in enumerate(self._draws(texts.query.text, items, self.votes + again)):
                planted = self._planted(texts.query.text, number) if vote == 0 else []
                yield Group(self._shuffled(texts.query.text, [*items, *planted], draw), vote)

    def _chunks(self, strata: Sequence[int]) -> Iterator[list[int]]:
        for stratum in sorted(set(strata)):
            places = [place for place, own in enumerate(strata) if own == stratum]
            for start in range(0, len(places), self.passages_per_call):
                yield places[start : start + self.passages_per_call]

    def _planted(self, query: str, number: int) -> list[Item]:
        if self._draw("canary", query, str(number)) >= self.canaries:
            return []
        kinds = kinds_for(query)
        kind = kinds[int(self._draw("kind", query, str(number)) * len(kinds))]
        return [Item(canary(kind, query), canary=kind)]

    def _draws(self, query: str, items: list[Item], wanted: int) -> list[int]:
        """Draws of different orders, one for each vote.

        Where there are too few, they come again, or, if `steady`, are all there is.
        """
        if wanted == 1:
            return [0]
        orders = factorial(
            len({item.text for item in items})
        )  # the same text twice has one hash, and so stands together
        found: dict[tuple[str, ...], int] = {}
        for draw in count():
            found.setdefault(tuple(item.text for item in self._shuffled(query, items, draw)), draw)
            if len(found) == min(wanted, orders):
                break
        draws = list(found.values())
        return draws if self.steady else list(islice(cycle(draws), wanted))

    def _shuffled(self, query: str, items: list[Item], draw: int) -> tuple[Item, ...]:
        """By a keyed hash of each text, so that an item's place hangs on nothing but the call's own
        texts.
        """
        return tuple(
            sorted(items, key=lambda item: self._hash("order", str(draw), query, item.text))
        )

    def _draw(self, *what: str) -> float:
        """A number in [0, 1), uniform over whatever is hashed."""
        return int.from_bytes(self._hash(*what), "big") / 2**64

    def _hash(self, *what: str) -> bytes:
        key = self.seed.to_bytes(8, "little", signed=True)
        return hashlib.blake2b(
            "\0".join(what).encode("utf-8", "surrogatepass"), digest_size=8, key=key
        ).digest()
