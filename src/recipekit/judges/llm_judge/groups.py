"""Which passages share a call, and in which order: a pure function of texts and seed.

A query's passages are taken in rank order, `passages_per_call` at a time, separately for each
stratum (the previous verdict that selected them). So the calls stay the same, and their replies are
found again, when `max_rank` or `previous_verdicts` later selects more or fewer pairs. Within a call
the order is shuffled by seed, against position bias, and differs for every vote. One passage has
one order and two have two: where the same prompt brings the same reply (temperature 0), such a call
gets fewer votes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from math import factorial

from recipekit.judges.llm_judge.canaries import CanaryKind, canary_kinds, canary_text
from recipekit.judges.llm_judge.texts import QueryTexts

__all__ = ["Group", "GroupItem", "GroupPlan"]


@dataclass(frozen=True)
class GroupItem:
    """A passage in a call."""

    text: str
    index: int | None = None
    """The passage's index in `QueryTexts.passages`; None for a canary."""
    canary: CanaryKind | None = None


@dataclass(frozen=True)
class Group:
    """The passages of one call, in prompt order."""

    items: tuple[GroupItem, ...]
    vote: int
    """From 0. The vote after the last one is the repeat, which measures consistency only."""

    def __len__(self) -> int:
        return len(self.items)

    def halves(self) -> tuple[Group, Group]:
        """The group as two calls."""
        middle = len(self.items) // 2
        return Group(self.items[:middle], self.vote), Group(self.items[middle:], self.vote)


@dataclass(frozen=True)
class GroupPlan:
    """How pairs become calls."""

    seed: int
    passages_per_call: int
    votes: int
    repeat_share: float
    """Share of the queries that are judged once more."""
    canary_share: float
    """Share of the first vote's calls that contain a canary."""
    deterministic: bool = True
    """Whether the same prompt gets the same reply, so that repeating it adds no vote."""

    def groups(self, texts: QueryTexts) -> Iterator[Group]:
        """The calls of a query."""
        query = texts.query.text
        repeated = self._uniform("repeat", query) < self.repeat_share
        for number, indices in enumerate(self._chunks(texts.strata)):
            items = [GroupItem(texts.passages[index].text, index) for index in indices]
            for vote, order in enumerate(self._orders(query, items, self.votes + repeated)):
                planted = self._canaries(query, number) if vote == 0 else []
                yield Group(self._shuffled(query, [*items, *planted], order), vote)

    def _chunks(self, strata: Sequence[int]) -> Iterator[list[int]]:
        for stratum in sorted(set(strata)):
            indices = [index for index, own in enumerate(strata) if own == stratum]
            for start in range(0, len(indices), self.passages_per_call):
                yield indices[start : start + self.passages_per_call]

    def _canaries(self, query: str, number: int) -> list[GroupItem]:
        if self._uniform("canary", query, str(number)) >= self.canary_share:
            return []
        kinds = canary_kinds(query)
        kind = kinds[int(self._uniform("kind", query, str(number)) * len(kinds))]
        return [GroupItem(canary_text(kind, query), canary=kind)]

    def _orders(self, query: str, items: list[GroupItem], wanted: int) -> list[int]:
        """Numbers of different orders, one for each vote.

        If there are too few orders they repeat, or, if `deterministic`, there are fewer votes.
        """
        if wanted == 1:
            return [0]
        # Equal texts have equal hashes, and so no order of their own.
        existing = factorial(len({item.text for item in items}))
        found: dict[tuple[str, ...], int] = {}
        for order in count():
            shuffled = self._shuffled(query, items, order)
            found.setdefault(tuple(item.text for item in shuffled), order)
            if len(found) == min(wanted, existing):
                break
        orders = list(found.values())
        return orders if self.deterministic else list(islice(cycle(orders), wanted))

    def _shuffled(self, query: str, items: list[GroupItem], order: int) -> tuple[GroupItem, ...]:
        """The items by a keyed hash, so that the order depends on the call's own texts only."""
        return tuple(
            sorted(items, key=lambda item: self._hash("order", str(order), query, item.text))
        )

    def _uniform(self, *parts: str) -> float:
        """A number in [0, 1) by hash."""
        return int.from_bytes(self._hash(*parts), "big") / 2**64

    def _hash(self, *parts: str) -> bytes:
        key = self.seed.to_bytes(8, "little", signed=True)
        content = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=8, key=key).digest()
