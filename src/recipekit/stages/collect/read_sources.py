"""Reading the sources of a recipe to disk, before anything is merged.

Texts are cleaned and written to Arrow files batch by batch. Only a digest of 16 bytes of each text
stays in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Bools
from recipekit.component import Slot, Source, SourceSpec
from recipekit.data_files.clean_text import clean_text
from recipekit.errors import ComponentError, DataError
from recipekit.records import SPLITS, Label, Passage, Query
from recipekit.stages.inputs import StageInputs
from recipekit.tables import read_table

__all__ = ["Intake", "Part", "is_blank", "locations", "query_uniform", "read_sources"]

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
    """One source, and the ranges of its rows among all rows read."""

    name: str
    use: str
    source: Source
    passages: slice
    queries: slice
    labels: slice


@dataclass(frozen=True)
class Intake:
    """Everything that was read, in the order of reading, with duplicates; tables are memory-mapped.

    Digests are binary(16), one per row, all zero for a blank text. A passage's digest is of the
    text as models see it, title and text joined. A query's digest is keyed by the seed, so that its
    first bytes are a uniform random number that depends only on the text and the seed.
    """

    parts: Sequence[Part]
    passages: pa.Table
    queries: pa.Table
    labels: pa.Table
    passage_digests: pa.Array
    query_digests: pa.Array
    cleaned: int
    """Records in which `clean_text` replaced characters."""

    def uniforms(self) -> npt.NDArray[np.float64]:
        """Return a uniform number in [0, 1) per query, from its text and the seed."""
        words = np.frombuffer(self.query_digests.buffers()[1], dtype="<u8")
        uniforms: npt.NDArray[np.float64] = words[::2] / 2.0**64
        return uniforms


def is_blank(digests: pa.Array) -> Bools:
    """Return which rows have no text."""
    words = np.frombuffer(digests.buffers()[1], dtype="<u8").reshape(-1, 2)
    blank: Bools = np.logical_not(words.any(axis=1))
    return blank


class _Spool:
    """Rows that are written to disk in batches."""

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
        """Return all rows, memory-mapped. No row can be added afterwards."""
        self._flush()
        self._writer.close()
        self._sink.close()
        return read_table(self._path)

    def _flush(self) -> None:
        if self._columns[0]:
            self._writer.write(pa.record_batch(self._columns, schema=self._schema))
            self._columns = [[] for _ in self._schema]
            self._characters = 0


class _RecordWriter:
    """Cleans and writes records one by one."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.passages = _Spool(scratch / "passages.arrow", READ_PASSAGES)
        self.queries = _Spool(scratch / "queries.arrow", READ_QUERIES)
        self.labels = _Spool(scratch / "labels.arrow", READ_LABELS)
        self.passage_digests, self.query_digests = bytearray(), bytearray()
        self.cleaned = 0
        self._key = seed.to_bytes(8, "little")

    @property
    def rows(self) -> tuple[int, int, int]:
        """The numbers of passages, queries and labels so far."""
        return self.passages.rows, self.queries.rows, self.labels.rows

    def take(self, record: object) -> None:
        """Write one record.

        Raises:
            ComponentError: The object is not a record, or its split does not exist.
        """
        match record:
            case Passage(id, text, title):
                id, title, text = self._clean(id, title, text)
                self.passage_digests += _digest(f"{title} {text}".strip() if title else text)
                self.passages.add(id, title, text, characters=len(title) + len(text))
            case Query(id, text, split):
                if split not in CODES:
                    message = f"query '{id}' has split '{split}'; splits are {', '.join(SPLITS)}"
                    raise ComponentError(message, code="RK211")
                id, text = self._clean(id, text)
                self.query_digests += _digest(text, self._key)
                self.queries.add(id, text, CODES[split], characters=len(text))
            case Label(query, passage, grade):
                query, passage = clean_text(query), clean_text(passage)
                self.labels.add(query, passage, grade)
            case _:
                message = f"{record!r:.60} is not a Passage, Query or Label"
                raise ComponentError(message, code="RK211")

    def _clean(self, *texts: str) -> list[str]:
        """Clean the texts of one record, and count it if that changes one."""
        cleaned = list(map(clean_text, texts))
        self.cleaned += cleaned != list(texts)
        return cleaned

    def intake(self, parts: Sequence[Part]) -> Intake:
        """Return everything that was written."""
        return Intake(
            parts,
            self.passages.table(),
            self.queries.table(),
            self.labels.table(),
            _digest_array(self.passage_digests),
            _digest_array(self.query_digests),
            self.cleaned,
        )


def read_sources(
    inputs: StageInputs, slots: Sequence[tuple[str, Slot[SourceSpec]]], scratch: Path
) -> Intake:
    """Read every source to its end.

    Raises:
        DataError: A source finds a mistake in its data, or has no passage or no query.
        ComponentError: A source yields an object that is not a record.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    reader = _RecordWriter(scratch, inputs.seed)
    parts = []
    for name, slot in slots:
        source: Source = slot.spec.build(inputs.context(scratch / name))
        begin = reader.rows
        with (
            inputs.progress.track(f"collect {name}", unit="records") as tracker,
            _named(name, slot.use),
        ):
            for record in source.load():
                reader.take(record)
                tracker.advance()
        part = Part(name, slot.use, source, *map(slice, begin, reader.rows))
        for what, rows in (("passage", part.passages), ("query", part.queries)):
            if rows.start == rows.stop:
                raise DataError(
                    f"source '{name}' ({slot.use}) is empty: it has no {what}", code="RK306"
                )
        parts.append(part)
    return reader.intake(parts)


@contextmanager
def _named(name: str, use: str) -> Iterator[None]:
    """Name the source in an error about what it yields."""
    try:
        yield
    except ComponentError as error:
        raise ComponentError(
            f"source '{name}' ({use}): {error.message}", code=error.code
        ) from error


def locations(source: Source, wanted: Callable[[Any], bool]) -> Iterator[str]:
    """The locations of the records that `wanted` accepts, if the source knows locations.

    The source is read again, up to the last location that is asked for.
    """
    yield from (str(location) for location, record in source.located() if wanted(record))


def query_uniform(text: str, seed: int) -> float:
    """Return the uniform number in [0, 1) by which a query's split is chosen, as in `Intake`."""
    digest = _digest(clean_text(text), seed.to_bytes(8, "little"))
    return int.from_bytes(digest[:8], "little") / 2.0**64


def _digest(text: str, key: bytes = b"") -> bytes:
    encoded = text.encode()
    return (
        hashlib.blake2b(encoded, digest_size=DIGEST_BYTES, key=key).digest()
        if encoded and not text.isspace()
        else BLANK
    )


def _digest_array(digests: bytearray) -> pa.Array:
    return pa.Array.from_buffers(
        pa.binary(DIGEST_BYTES), len(digests) // DIGEST_BYTES, [None, pa.py_buffer(digests)]
    )
