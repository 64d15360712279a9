"""The verdicts of a judge on disk, so that a killed run resumes where it stopped.

Every attempt writes an Arrow IPC stream of its own, one record batch per `Verdicts`. Reading takes
the complete batches of all streams in order and skips what a kill cut off. The files are
memory-mapped, so nothing is held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from recipekit.artifacts.store import write_json
from recipekit.component import Verdicts
from recipekit.tables import JUDGMENTS

__all__ = ["VERDICT_LOG", "VerdictLog", "verdicts_of"]

VERDICT_LOG = JUDGMENTS.remove(JUDGMENTS.get_field_index("judge")).append(
    pa.field("ungraded", pa.bool_())
)
"""A judgment without its judge, which the folder names, and whether the pair is ungraded."""


class VerdictLog:
    """The verdicts of one judge in a folder. Open it (`with`) to append."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def complete(self) -> bool:
        """Whether the judge has finished."""
        return (self.folder / "complete").exists()

    def finish(self, counts: Mapping[str, Any]) -> None:
        """Record that the judge has finished, with its `counts` (JSON values)."""
        write_json(self.folder / "complete", dict(counts))

    @property
    def counts(self) -> dict[str, Any]:
        """The counts of a judge that has finished."""
        counts: dict[str, Any] = json.loads((self.folder / "complete").read_text())
        return counts

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every complete record batch of `VERDICT_LOG`, in the order of writing."""
        for part in sorted(self.folder.glob("*.arrows")):
            yield from _complete_batches(part)

    def __enter__(self) -> VerdictLog:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{len(list(self.folder.glob('*.arrows'))):06d}.arrows"
        self._file = pa.OSFile(str(part), "wb")
        self._writer = pa.ipc.new_stream(self._file, VERDICT_LOG)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._file.close()

    def append(self, verdicts: Verdicts) -> None:
        """Write verdicts; once this returns they survive the death of the process."""
        n = len(verdicts.query)
        reason = [None] * n if verdicts.reason is None else verdicts.reason
        ungraded = np.zeros(n, np.bool_) if verdicts.ungraded is None else verdicts.ungraded
        columns = [
            pa.array(verdicts.query, pa.int32()),
            pa.array(verdicts.passage, pa.int32()),
            pa.array(verdicts.verdict, pa.int8()),
            _nullable(verdicts.grade, n),
            _nullable(verdicts.confidence, n),
            pa.array(reason, pa.large_string()),
            pa.array(ungraded, pa.bool_()),
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=VERDICT_LOG))


def _nullable(values: object, n: int) -> pa.Array:
    """Optional float32 values (n,), with null for NaN."""
    if values is None:
        return pa.nulls(n, pa.float32())
    return pa.array(np.asarray(values, dtype=np.float32), from_pandas=True)


def _complete_batches(part: Path) -> Iterator[pa.RecordBatch]:
    if part.stat().st_size == 0:
        return
    with pa.memory_map(str(part)) as source:
        try:
            reader = pa.ipc.open_stream(source)
        except (OSError, pa.ArrowInvalid):
            return  # killed while it wrote the schema
        while True:
            try:
                batch = reader.read_next_batch()
            except (StopIteration, OSError, pa.ArrowInvalid):
                return  # the end, or where a kill cut the file
            yield batch


def verdicts_of(batch: pa.RecordBatch) -> Verdicts:
    """A record batch of a log as verdicts, without the reasons, which stay on disk."""
    return Verdicts(
        query=batch["query"].to_numpy(),
        passage=batch["passage"].to_numpy(),
        verdict=batch["verdict"].to_numpy(),
        grade=batch["grade"].to_numpy(zero_copy_only=False),
        confidence=batch["confidence"].to_numpy(zero_copy_only=False),
        ungraded=batch["ungraded"].to_numpy(zero_copy_only=False),
    )
