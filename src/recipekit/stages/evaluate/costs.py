"""What the systems of an evaluation cost: the speed and size of encoders, and bytes of indices."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from recipekit.arrays import Floats
from recipekit.component import (
    Context,
    Efficiency,
    Embeddings,
    Encoder,
    Progress,
    Ranks,
    Retriever,
)
from recipekit.encoding.compression_keys import bytes_per_vector
from recipekit.records import Side

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "TimedEmbed",
    "Vectors",
    "baseline_efficiency",
    "encoder_efficiency",
    "index_bytes",
    "recording",
    "texts_efficiency",
]

Vectors = Mapping[Side, Embeddings]
"""The embeddings of queries, and of passages unless a server has them."""
Value = TypeVar("Value")

WARM_UP: Final = 16
"""Texts that are embedded before time is measured."""


# Encoders
# -------------------------------------------------------------------------------------------------


def encoder_efficiency(vectors: Vectors) -> Efficiency:
    """Return what an encoder costs, with the speed at which its cached vectors were made.

    A speed is None for vectors that were not encoded here, or before speeds were kept.
    """
    made = {side: _how_made(each) for side, each in vectors.items()}
    queries, passages = made["query"], made.get("passage", {})
    dimension = int(vectors["query"].matrix.shape[1])
    count = len(vectors["passage"]) if "passage" in vectors else None
    return Efficiency(
        parameters=queries.get("parameters"),
        dimension=dimension,
        bytes_per_vector=bytes_per_vector(dimension),
        index_bytes=None if count is None else count * bytes_per_vector(dimension),
        passages_per_second=_speed(passages),
        queries_per_second=_speed(queries),
        device=queries.get("device"),
        precision=queries.get("precision"),
    )


def _how_made(embeddings: Embeddings) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads((embeddings.path.parent / "embeddings.json").read_text())
    return found


def _speed(made: Mapping[str, Any]) -> float | None:
    """Return texts per second of the last attempt at encoding, which may have resumed another."""
    encoded, seconds = made.get("encoded"), made.get("seconds")
    return round(encoded / seconds, 2) if encoded and seconds else None


@dataclass
class TimedEmbed:
    """Embeds texts with an encoder, and measures how fast. All ranks call it together."""

    load: Callable[[], Encoder]
    ranks: Ranks
    progress: Progress
    _texts: dict[Side, int] = field(default_factory=dict)
    _seconds: dict[Side, float] = field(default_factory=dict)

    def __call__(self, texts: Sequence[str], side: Side, prompt: str | None = None) -> Floats:
        """Embed texts of a side, float32 (n, dim)."""
        from recipekit.encoding.embed_texts import embed_texts

        encoder = self.load()
        if not self._texts:
            embed_texts(encoder, texts[:WARM_UP], side, self.ranks, self.progress)
        started = time.perf_counter()
        found = embed_texts(encoder, texts, side, self.ranks, self.progress, prompt=prompt)
        seconds = time.perf_counter() - started
        self._seconds[side] = self._seconds.get(side, 0.0) + seconds
        self._texts[side] = self._texts.get(side, 0) + len(texts)
        return found

    def efficiency(self) -> Efficiency:
        """Return what the encoder costs, with the speed on the texts so far."""
        from recipekit.encoding.embed import device_name
        from recipekit.encoding.forward_passes import device_of
        from recipekit.encoding.model_size import count_parameters
        from recipekit.encoding.precision import name_precision

        encoder = self.load()
        return Efficiency(
            parameters=count_parameters(cast("nn.Module", encoder)),
            dimension=encoder.dimension,
            bytes_per_vector=bytes_per_vector(encoder.dimension),
            passages_per_second=self._per_second("passage"),
            queries_per_second=self._per_second("query"),
            device=device_name(encoder, self.ranks),
            precision=name_precision(encoder.precision, device_of(encoder)),
        )

    def _per_second(self, side: Side) -> float | None:
        seconds = self._seconds.get(side)
        return round(self._texts[side] / seconds, 2) if seconds else None


def texts_efficiency(embed: object) -> Efficiency:
    """Return what a system that only embeds texts costs, by its `embed`."""
    return embed.efficiency() if isinstance(embed, TimedEmbed) else Efficiency()


# Baselines
# -------------------------------------------------------------------------------------------------


def recording(context: Context, used: dict[Any, dict[Side, Embeddings]]) -> Context:
    """Return a context that records which embeddings a retriever asks for, by encoder and side."""

    def embeddings(name: str, side: Side, **keys: Any) -> Embeddings:
        found = context.embeddings(name, side, **keys)
        used.setdefault((name, keys.get("weights")), {})[side] = found
        return found

    return replace(context, embeddings=embeddings)


def baseline_efficiency(
    retriever: Retriever, used: Iterable[Vectors], by_products: int | None, *, is_main: bool
) -> Efficiency:
    """Return what a retriever costs: its encoders, and what is searched here and on servers.

    Each query is embedded by all encoders in turn.

    Args:
        retriever: The retriever.
        used: The embeddings of each encoder that it uses.
        by_products: The bytes of what it searches here; None for nothing.
        is_main: Whether this is the rank that talks to servers.
    """
    each = [encoder_efficiency(vectors) for vectors in used if "query" in vectors]
    on_servers = getattr(retriever, "index_bytes", 0) if is_main else 0
    size = None if on_servers is None else (on_servers + (by_products or 0)) or None
    sizes = [one.parameters for one in each]
    return Efficiency(
        parameters=sum(filter(None, sizes)) if each and None not in sizes else None,
        dimension=_same([one.dimension for one in each]),
        index_bytes=size,
        passages_per_second=_in_turn([one.passages_per_second for one in each]),
        queries_per_second=_in_turn([one.queries_per_second for one in each]),
        device=_same([one.device for one in each]),
        precision=_same([one.precision for one in each]),
    )


def _same(values: Sequence[Value]) -> Value | None:
    """The value that all of them have; None if they differ."""
    return values[0] if values and all(value == values[0] for value in values) else None


def _in_turn(speeds: Sequence[float | None]) -> float | None:
    """Texts per second where each text is embedded by all encoders, one after the other."""
    known = [speed for speed in speeds if speed]
    if not known or len(known) < len(speeds):
        return None
    return round(1 / sum(1 / speed for speed in known), 2)


def index_bytes(folders: Iterable[Path]) -> int | None:
    """Return the bytes of the by-products that a retriever searches; None if there are none.

    Tokens and the embeddings of queries are not searched.
    """
    searched = [folder for folder in folders if folder.parent.name != "tokens"]
    return sum(_searched_bytes(one) for one in searched if not _is_of_queries(one)) or None


def _searched_bytes(folder: Path) -> int:
    summary = folder / "embeddings.json"
    if summary.is_file():
        made = json.loads(summary.read_text())
        return int(made["texts"]) * bytes_per_vector(made["dimension"])
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _is_of_queries(folder: Path) -> bool:
    identity = json.loads((folder / "manifest.json").read_text()).get("identity") or {}
    return isinstance(identity, dict) and identity.get("side") == "query"
