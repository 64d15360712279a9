"""Reading the sources of a recipe onto disk, as they come, before anything is merged.

Texts go to Arrow files batch by batch; of each only a digest of 16 bytes stays in memory.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Bools
from recipekit.component import Slot, Source, SourceSpec
from recipekit.errors import ComponentError, DataError
from recipekit.records import SPLITS, Label, Passage, Query
from recipekit.stages.inputs import StageInputs
from recipekit.tables import read_table

__all__ = ["Intake", "Part", "is_blank", "places", "read_sources"]

BATCH_ROWS = 8192
BATCH_CHARACTERS = 2**25
DIGEST_BYTES = 16
BLANK = bytes(DIGEST_BYTES)
CODES: dict[str | None, int] = {None: -1, **{split: code for code, split in enumerate(SPLITS)}}

TEXT = pa.large_string()
READ_PASSAGES = pa.schema([("id", TEXT), ("title", TEXT), ("text", TEXT)])
READ_QUERIES = pa.schema([("id", TEXT), ("text", TEXT), ("split", pa.int8())])
READ_LABELS = pa.schema([("query", TEXT), ("passage", TEXT), ("grade", pa.float32())])


@dataclass(frozen=True)
class Part:
    """What one source gave: the ranges of its rows among all that was read."""

    name: str
    use: str
    source: Source
    passages: slice
    queries: slice
    labels: slice


@dataclass(frozen=True)
class Intake:
    """All that was read, in the order in which it came, duplicates included; the tables are
    memory-mapped.

    The digests are binary(16), one a row, all zero for a blank text. A passage's is of the text as
    models see it, title and text joined; a query's is keyed by the seed, so that its first bytes
    are a uniform draw that depends on text and seed alone.
    """

    parts: Sequence[Part]
    passages: pa.Table
    queries: pa.Table
    labels: pa.Table
    passage_digests: pa.Array
    query_digests: pa.Array

    def draws(self) -> npt.NDArray[np.float64]:
        """A uniform number in [0, 1) per query, from its text and the seed."""
        words = np.frombuffer(self.query_digests.buffers()[1], dtype="<u8")
        draws: npt.NDArray[np.float64] = words[::2] / 2.0**64
        return draws


def is_blank(digests: pa.Array) -> Bools:
    """Which rows have no text."""
    words = np.frombuffer(digests.buffers()[1], dtype="<u8").reshape(-1, 2)
    blank: Bools = np.logical_not(words.any(axis=1))
    return blank


class _Spool:
    """Rows on their way to disk."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._path, self._schema = path, schema
        self._columns: list[list[Any]] = [[] for _ in schema]
        self._characters = 0
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)

    def add(self, *values: Any, characters: int = 0) -> None:
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self.rows += 1
        self._characters += characters
        if len(self._columns[0]) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def table(self) -> pa.Table:
        """Everything that was added, mapped. Nothing can be added after it."""
        self._flush()
        self._writer.close()
        self._sink.close()
        return read_table(self._path)

    def _flush(self) -> None:
        if self._columns[0]:
            self._writer.write(pa.record_batch(self._columns, schema=self._schema))
            self._columns = [[] for _ in self._schema]
            self._characters = 0


class _Reader:
    """Takes records one by one."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.passages = _Spool(scratch / "passages.arrow", READ_PASSAGES)
        self.queries = _Spool(scratch / "queries.arrow", READ_QUERIES)
        self.labels = _Spool(scratch / "labels.arrow", READ_LABELS)
        self.passage_digests, self.query_digests = bytearray(), bytearray()
        self._key = seed.to_bytes(8, "little")

    @property
    def rows(self) -> tuple[int, int, int]:
        """How many passages, queries and labels there are."""
        return self.passages.rows, self.queries.rows, self.labels.rows

    def take(self, record: object) -> None:
        """Spool one record.

        Raises:
            UnicodeEncodeError: A text or id holds half a surrogate pair.
            ComponentError: It is no record, or its split is none.
        """
        match record:
            case Passage(id, text, title):
                self.passage_digests += _digest(f"{title} {text}".strip() if title else text)
                self.passages.add(_encodable(id), title, text, characters=len(title) + len(text))
            case Query(id, text, split):
                if split not in CODES:
                    raise ComponentError(
                        f"query '{id}' is of split '{split}'; there are: {', '.join(SPLITS)}",
                        code="RK211",
                    )
                self.query_digests += _digest(text, self._key)
                self.queries.add(_encodable(id), text, CODES[split], characters=len(text))
            case Label(query, passage, grade):
                self.labels.add(_encodable(query), _encodable(passage), grade)
            case _:
                raise ComponentError(f"{record!r:.60} is no Passage, Query or Label", code="RK211")

    def intake(self, parts: Sequence[Part]) -> Intake:
        """All that was taken."""
        return Intake(
            parts,
            self.passages.table(),
            self.queries.table(),
            self.labels.table(),
            _digest_array(self.passage_digests),
            _digest_array(self.query_digests),
        )


def read_sources(
    inputs: StageInputs, slots: Sequence[tuple[str, Slot[SourceSpec]]], scratch: Path
) -> Intake:
    """Read every source to its end.

    Raises:
        DataError: Something in it is wrong, or a source has no passage or no query.
        ComponentError: A source gives what is no record.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    reader = _Reader(scratch, inputs.seed)
    parts = []
    for name, slot in slots:
        source: Source = slot.spec.build(inputs.context(scratch / name))
        begin = reader.rows
        with (
            inputs.progress.track(f"collect {name}", unit="records") as tracker,
            _named(name, slot.use),
        ):
            for record in source.load():
                try:
                    reader.take(record)
                except UnicodeEncodeError as error:
                    where = next(places(source, partial(operator.eq, record)), f"source '{name}'")
                    half = ascii(error.object[error.start])
                    raise DataError(
                        f"{where}: {half} is half a character, which no text can hold", code="RK303"
                    ) from error
                tracker.advance()
        part = Part(name, slot.use, source, *map(slice, begin, reader.rows))
        for what, rows in (("passage", part.passages), ("query", part.queries)):
            if rows.start == rows.stop:
                raise DataError(
                    f"source '{name}' ({slot.use}) is empty: it gave no {what}", code="RK306"
                )
        parts.append(part)
    return reader.intake(parts)


@contextmanager
def _named(name: str, use: str) -> Iterator[None]:
    """Say which source a plugin's mistake is in."""
    try:
        yield
    except ComponentError as error:
        raise ComponentError(
            f"source '{name}' ({use}): {error.message}", code=error.code
        ) from error


def places(source: Source, wanted: Callable[[Any], bool]) -> Iterator[str]:
    """The locations of the records that `wanted` accepts, if the source knows locations.

    The source is read again, up to the last location that is asked for.
    """
    yield from (str(location) for location, record in source.located() if wanted(record))


def _digest(text: str, key: bytes = b"") -> bytes:
    encoded = text.encode()
    return (
        hashlib.blake2b(encoded, digest_size=DIGEST_BYTES, key=key).digest()
        if encoded and not text.isspace()
        else BLANK
    )


def _encodable(id: str) -> str:
    if not id.isascii():
        id.encode()
    return id


def _digest_array(digests: bytearray) -> pa.Array:
    return pa.Array.from_buffers(
        pa.binary(DIGEST_BYTES), len(digests) // DIGEST_BYTES, [None, pa.py_buffer(digests)]
    )
