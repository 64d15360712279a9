"""What the stages hand to the components that they build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recipekit.component.ranks import Ranks, SingleProcess

if TYPE_CHECKING:
    from recipekit.component.kinds import Encoder
    from recipekit.component.training import TrainingContext
    from recipekit.dataset import Dataset
    from recipekit.records import Side

__all__ = ["Context", "Embeddings", "Progress", "Spending", "Tracker"]


class Progress(Protocol):
    """Where work reports what it does: a live line on a terminal, plain lines elsewhere,
    `log.jsonl` always.
    """

    def track(self, name: str, total: int | None = None, unit: str = "") -> Tracker:
        """Start a counted piece of work; a context manager."""

    def log(self, event: str, **fields: Any) -> None:
        """Record an event with its figures (JSON values)."""

    def info(self, message: str) -> None:
        """Tell the user something worth a line of its own."""

    def warn(self, message: str) -> None:
        """Tell the user something that is not an error."""


class Tracker(Protocol):
    """One counted piece of work."""

    def __enter__(self) -> Tracker: ...
    def __exit__(self, *exc: object) -> None: ...
    def advance(self, n: int = 1, **figures: float | str) -> None:
        """Count `n` more done, and show `figures` (`loss=0.3`) beside the rate and the time left."""


@dataclass(frozen=True)
class Embeddings:
    """One side's embeddings, by row: a memory-mapped matrix (n, dim) of float32 or float16, unit
    rows if normalized.
    """

    path: Path
    matrix: Any
    normalized: bool
    key: str = ""
    """Identifies the content: encoder, prompt, length and texts."""

    def __len__(self) -> int:
        return int(self.matrix.shape[0])


@dataclass(frozen=True)
class Spending:
    """What a stage's calls to paid endpoints may cost, all of its components together."""

    ledger: str = ""
    """Names the account that the calls are booked to: the same for every attempt at one artifact.
    """
    max_cost_usd: float | None = None
    max_calls: int | None = None
    calls: Path | None = None
    """The SQLite file in which every call ever paid for is kept; None keeps none."""


@dataclass(frozen=True)
class Context:
    """What a component may use when it is built.

    Everything comes through here; nothing is global.
    """

    seed: int
    scratch: Path
    """A folder of this component alone, inside the stage's partial artifact: it survives a crash,
    for resuming.
    """
    progress: Progress
    ranks: Ranks = field(default_factory=SingleProcess)
    _dataset: Dataset | None = None
    _training: TrainingContext | None = None
    _corpus: Callable[[], str] = field(default=lambda: _absent("corpus", "key"))
    encoder: Callable[[str], Encoder] = field(default=lambda name: _absent("encoder", name))
    """Build (once) an encoder that the recipe names."""
    embeddings: Callable[[str, Side], Embeddings] = field(
        default=lambda name, side: _absent("embeddings", name)
    )
    """Embeddings of all queries or passages by a named encoder; encoded at the first call, by all
    ranks together.
    """
    artifact: Callable[[str, Any, Callable[[Path], None]], Path] = field(
        default=lambda name, identity, build: _absent("artifact", name)
    )
    """`artifact(name, identity, build)`: the folder of a cached by-product of the passages (a BM25
    index). `build(folder)` writes it where the cache has none; `identity` is a JSON value, to which
    `corpus` is added. What depends on queries or labels, too, names `dataset.key` in it."""

    spending: Spending = field(default_factory=Spending)
    """What may be paid, and where it is booked."""
    owner: str = ""
    """Identifies the cache that this run works with: what it makes on servers bears it, so that
    nobody removes what is another's.
    """

    @property
    def dataset(self) -> Dataset:
        """The collected data."""
        if self._dataset is None:
            raise RuntimeError("nothing is collected yet: a source has no data set")
        return self._dataset

    @property
    def training(self) -> TrainingContext:
        """The training that a phase is part of."""
        if self._training is None:
            raise RuntimeError("this context has no training: only phases have one")
        return self._training

    @property
    def corpus(self) -> str:
        """Identifies the passages by their content: the same for data sets that differ in queries
        and labels alone.
        """
        return self._corpus()


def _absent(what: str, name: str) -> Any:
    raise RuntimeError(f"this context has no {what} {name!r}")
