"""Texts of a data set as a model is shown them: clean, and cut to so many tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.judges.prompting.fences import clean
from recipekit.llm.tokens import TokenCounter
from recipekit.tables import TextTable

__all__ = ["Shown", "ShownTexts", "shown"]


@dataclass(frozen=True)
class Shown:
    """A text as it is shown."""

    text: str
    cut: bool


class ShownTexts:
    """The texts of one side by row.

    Those used last are kept in memory, since candidates of many queries are the same few.
    """

    def __init__(
        self, table: TextTable, counter: TokenCounter, max_tokens: int, kept: int = 1 << 14
    ) -> None:
        self.table = table
        self.kept = kept
        self._texts: OrderedDict[int, Shown] = OrderedDict()
        self._shown = partial(shown, counter=counter, max_tokens=max_tokens)

    def of(self, rows: npt.NDArray[Any] | Iterable[int]) -> dict[int, Shown]:
        """The texts of some rows; what is not in memory is fetched at once."""
        wanted = dict.fromkeys(int(row) for row in rows)
        missing = [row for row in wanted if row not in self._texts]
        fetched = (
            dict(
                zip(
                    missing,
                    map(self._shown, self.table.texts(np.array(missing, dtype=np.int64))),
                    strict=True,
                )
            )
            if missing
            else {}
        )
        found = {row: fetched[row] if row in fetched else self._texts[row] for row in wanted}
        self._texts.update(fetched)
        for row in wanted:
            self._texts.move_to_end(row)
        while len(self._texts) > self.kept:
            self._texts.popitem(last=False)
        return found


def shown(text: str, counter: TokenCounter, max_tokens: int) -> Shown:
    """A text, clean and cut."""
    beginning, cut = counter.cut(clean(text), max_tokens)
    return Shown(beginning.strip(), cut)
