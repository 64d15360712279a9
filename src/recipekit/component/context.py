"""`Context`: what a component can use when it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from recipekit.component.ranks import Ranks, SingleProcess

if TYPE_CHECKING:
    from recipekit.arrays import Floats, Rows
    from recipekit.component.encoders import Encoder
    from recipekit.component.training import TrainingContext
    from recipekit.dataset import Dataset
    from recipekit.records import Similarity

__all__ = ["Account", "Context", "Embeddings", "EncoderWeights", "Progress", "Spending", "Tracker"]

EncoderWeights = Literal["initial", "trained"]
"""The weights of an encoder: as the recipe names them, or after training."""


class Progress(Protocol):
    """Reports progress: a live line on a terminal, else plain lines, and always `log.jsonl`."""

    def track(self, name: str, total: int | None = None, unit: str = "") -> Tracker:
        """Start a counted task; use it as a context manager."""

    def log(self, event: str, **fields: Any) -> None:
        """Log an event with JSON values."""

    def info(self, message: str) -> None:
        """Show a message to the user."""

    def warn(self, message: str) -> None:
        """Show a warning to the user."""


class Tracker(Protocol):
    """A counted task."""

    def __enter__(self) -> Tracker: ...
    def __exit__(self, *exc: object) -> None: ...
    def advance(self, n: int = 1, **figures: float | str) -> None:
        """Count `n` more items, and show `figures` (`loss=0.3`) next to the rate."""


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one side by row: a memory-mapped matrix (n, dim), float32 or float16.

    Rows have length 1 if `similarity` is `cosine`.
    """

    path: Path
    matrix: Any
    similarity: Similarity
    """How they are compared, as their encoder declares it."""
    key: str = ""
    """Identifies the content: encoder, prompt, maximum length and texts."""
    rows: Rows | None = None
    """The rows of the data set that the matrix holds, ascending; None for all."""

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def take(self, rows: Rows) -> Any:
        """Return the embeddings of some rows of the data set, (len(rows), dim).

        Raises:
            KeyError: A row is not among those that were embedded.
        """
        from recipekit.arrays import lookup_sorted

        if self.rows is None:
            return self.matrix[rows]
        at, is_here = lookup_sorted(self.rows, rows)
        if not is_here.all():
            raise KeyError(f"row {int(rows[~is_here][0])} was not embedded")
        return self.matrix[at]


@dataclass(frozen=True)
class Account:
    """A ledger, and the most that may be booked to it."""

    ledger: str = ""
    """The same name for every attempt at one artifact, so that earlier calls count."""
    max_cost_usd: float | None = None
    max_calls: int | None = None
    limits: str = "spending"
    """The recipe's path of these limits, for messages."""


@dataclass(frozen=True)
class Spending:
    """Limits of a stage's calls to paid endpoints, for all of its components together."""

    accounts: tuple[Account, ...] = (Account(),)
    """Every call is booked to all of them, and each of them must allow it: the recipe's, and the
    stage's own if its section has limits."""
    calls: Path | None = None
    """The SQLite file that stores every paid reply; None stores nothing."""
    ask_again: bool = False
    """Whether calls whose replies are stored are made, and paid, again."""
    on_call: Callable[..., None] | None = None
    """Receives the request and the outcome (a reply or a failure) of every call, stored or not."""

    @property
    def max_cost_usd(self) -> float | None:
        """The smallest limit in USD; None if there is none."""
        limits = (account.max_cost_usd for account in self.accounts)
        return min((limit for limit in limits if limit is not None), default=None)


@dataclass(frozen=True)
class Context:
    """Everything that a component can use when it is built; there are no globals."""

    seed: int
    scratch: Path
    """The component's own folder in the stage's partial artifact, which survives a crash."""
    progress: Progress
    ranks: Ranks = field(default_factory=SingleProcess)
    _dataset: Dataset | None = None
    _training: TrainingContext | None = None
    _corpus: Callable[[], str] = field(default=lambda: _absent("corpus", "key"))
    encoder: Callable[..., Encoder] = field(default=lambda name: _absent("encoder", name))
    """`encoder(name, weights=...)` returns an encoder of the recipe by name; it is built once.

    `weights` is `"initial"` or `"trained"`. It is required for the encoder that the recipe trains
    once it is trained, so in evaluators and exporters. Where only one kind of weights exists,
    leave it out. A baseline's retriever gets the initial weights unless its recipe names the
    encoder `trained`."""
    embeddings: Callable[..., Embeddings] = field(
        default=lambda name, side: _absent("embeddings", name)
    )
    """`embeddings(name, side, weights=...)` returns the embeddings of all queries or passages by an
    encoder of the recipe; `weights` is that of `encoder`.

    All ranks encode together at the first call."""
    pair_scores: Callable[[str, Rows, Rows], Floats] = field(
        default=lambda name, query, passage: _absent("scores of pairs by", name)
    )
    """`pair_scores(name, query, passage)` returns the scores of pairs of rows by an encoder of the
    recipe, float32 (n,): the logits of one that scores pairs, and the similarities of the vectors
    of any other, as it compares them.

    Pairs ascend by query, and by passage within a query. All ranks score together at the first
    call."""
    query_rows: Rows | None = None
    """The queries that a retriever is asked about, ascending rows; None for all."""
    artifact: Callable[[str, Any, Callable[[Path], None]], Path] = field(
        default=lambda name, identity, build: _absent("artifact", name)
    )
    """`artifact(name, identity, build)` returns the folder of a cached by-product of the passages,
    such as a BM25 index.

    `build(folder)` writes it if it is not cached. `identity` is a JSON value, to which `corpus` is
    added. It must contain `dataset.key` if the by-product also depends on queries or labels."""

    spending: Spending = field(default_factory=Spending)
    """Limits of paid calls, and the account that they are booked to."""
    owner: str = ""
    """Identifies the cache of this run. It is in the ownership tag of indices on servers, so that
    a cache removes only its own."""

    library_cache: Path | None = None
    """A folder that outlives the run, for the caches of libraries; None keeps nothing."""

    trust_remote_code: bool = False
    """Whether a model that brings Python code may run it: `--trust-remote-code`."""

    def query_embeddings(self, name: str) -> Embeddings:
        """Return the embeddings of the queries that a retriever is asked about, `query_rows`.

        Use `take(rows)` to read them: the matrix may hold only some of the queries.
        """
        if self.query_rows is None:
            return self.embeddings(name, "query")
        return self.embeddings(name, "query", rows=self.query_rows)

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
    def similarity(self) -> Similarity:
        """How the vectors of the trained encoder are compared; `cosine` without a training."""
        return self._training.encoder.similarity if self._training else "cosine"

    @property
    def corpus(self) -> str:
        """Identifies the content of the passages. Queries and labels do not count."""
        return self._corpus()


def _absent(what: str, name: str) -> Any:
    raise RuntimeError(f"this context has no {what} {name!r}")
