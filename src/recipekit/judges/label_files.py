"""Reading qrels and judgments files, and the sampling weights next to a sample."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from recipekit.arrays import Floats, Rows
from recipekit.errors import DataError
from recipekit.judges.labels import weights_file
from recipekit.records import Verdict
from recipekit.tables import read_table

__all__ = ["LabelFile", "escape_cell", "read_labels"]

COLUMNS: Final = {
    "query_id": ("query_id", "query-id"),
    "passage_id": ("passage_id", "corpus-id", "corpus_id"),
    "verdict": ("verdict",),
    "grade": ("grade", "score"),
}
"""Our name of each column, and the names that files have for it."""
FORMULA_START: Final = ("=", "+", "-", "@", "\t", "\r", "'")
"""The first characters of a formula in a spreadsheet, and our escape character."""
Line = tuple[int, Mapping[str, Any]]
"""A line number, from 1, and the line's values by our names of the columns."""


@dataclass(frozen=True)
class LabelFile:
    """The labelled pairs of a file."""

    query_id: pa.Array
    """Strings, (n,)."""
    passage_id: pa.Array
    """Strings, (n,)."""
    grade: Floats
    """NaN where there is none, (n,)."""
    verdict: npt.NDArray[np.int8]
    """`Verdict` codes, UNJUDGED where the grade decides, (n,)."""
    weight: Floats
    """How many pairs each pair represents, (n,): 1 unless the file is a sample."""

    def __len__(self) -> int:
        return len(self.grade)


def escape_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: ids and passages can come from anybody."""
    return f"'{text}" if text.startswith(FORMULA_START) else text


def _unescape_cell(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA_START) else text


def read_labels(file: Path) -> LabelFile:
    """Read a qrels or judgments file; text files can be `.gz`.

    `.parquet`, `.arrow`, `.jsonl` and `.csv` have named columns: `query_id`, `passage_id`, and
    `verdict` (positive, negative, ignore), `grade`, or both (the verdict counts). Any other file is
    qrels: BEIR's (tabs, a header with `query-id`, `corpus-id`, `score`) or TREC's (no header;
    query, iteration, passage, grade). A line with neither verdict nor grade is not labelled yet and
    is skipped. Where `weights_file` is there, the file is a sample, and every pair has a weight.

    Raises:
        DataError: The file is missing or malformed, a column is missing, a value is not a grade or
            a verdict, or a pair is not in the weights file.
    """
    form = (file.with_suffix("") if file.suffix == ".gz" else file).suffix
    weights = weights_file(file)
    is_sample = weights.is_file()
    try:
        if form == ".parquet":
            labels, lines = _from_table(file, pyarrow.parquet.read_table(file))
        elif form == ".arrow":
            labels, lines = _from_table(file, read_table(file))
        else:
            with _open(file) as text:
                rows = _text_lines(file, form, text)
                labels, lines = _from_lines(file, rows, unescape=is_sample and form == ".csv")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file", code="RK331") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: is not UTF-8 text: {error.reason} at byte {error.start}", code="RK332"
        ) from error
    except (OSError, EOFError, csv.Error, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file}: cannot be read: {reason}", code="RK332") from error
    if is_sample:
        labels.weight[:] = _weights(file, labels, lines, _read_weights(weights))
    return labels


# Text files
# --------------------------------------------------------------------------------------------------


def _open(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def _text_lines(file: Path, form: str, text: Iterable[str]) -> Iterator[Line]:
    if form == ".jsonl":
        return _json_lines(file, text)
    if form == ".csv":
        return _named_lines(file, csv.reader(text))
    return _qrels_lines(file, iter(text))


def _json_lines(file: Path, text: Iterable[str]) -> Iterator[Line]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{file}:{number}: is not JSON: {error}", code="RK332") from error
        if not isinstance(row, dict):
            raise DataError(f"{file}:{number}: is not a JSON object", code="RK332")
        names = _column_names(f"{file}:{number}", row)
        yield number, {ours: row.get(theirs) for ours, theirs in names.items()}


def _named_lines(file: Path, reader: Any) -> Iterator[Line]:
    header: list[str] = next(reader, [])
    names = _column_names(f"{file}:1", header)
    columns = {ours: header.index(theirs) for ours, theirs in names.items()}
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(
                f"{file}:{reader.line_num}: {len(row)} columns, the header has {len(header)}",
                code="RK332",
            )
        yield reader.line_num, {name: row[column] for name, column in columns.items()}


def _qrels_lines(file: Path, text: Iterator[str]) -> Iterator[Line]:
    first = next(text, "")
    text = chain([first], text)
    if "query-id" in first or "query_id" in first:
        yield from _named_lines(file, csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
        return
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        row = line.split()
        if len(row) != 4:
            raise DataError(
                f"{file}:{number}: {len(row)} columns; expected TREC's four (query, iteration, "
                "passage, grade), or a header line with query-id, corpus-id and score",
                code="RK332",
            )
        yield number, {"query_id": row[0], "passage_id": row[2], "grade": row[3]}


def _column_names(where: str, columns: Iterable[str]) -> dict[str, str]:
    """The file's name of each of our columns that it has."""
    present = list(columns)
    found = {ours: name for ours, names in COLUMNS.items() for name in names if name in present}
    missing = [name for name in ("query_id", "passage_id") if name not in found]
    if "verdict" not in found and "grade" not in found:
        missing.append("verdict or grade")
    if missing:
        raise DataError(
            f"{where}: no column {', '.join(missing)}; there are: "
            f"{', '.join(map(str, present)) or 'none'}",
            code="RK333",
        )
    return found


def _from_lines(file: Path, lines: Iterable[Line], *, unescape: bool) -> tuple[LabelFile, Rows]:
    """The labelled lines, and their numbers, (n,)."""
    query_ids, passage_ids, grades, verdicts, numbers = [], [], [], [], []
    restore = _unescape_cell if unescape else str
    for number, row in lines:
        verdict, grade = row.get("verdict"), row.get("grade")
        if verdict in (None, "") and grade in (None, ""):
            continue
        query_ids.append(restore(str(row["query_id"])))
        passage_ids.append(restore(str(row["passage_id"])))
        grades.append(_parse_grade(grade, f"{file}:{number}"))
        verdicts.append(_parse_verdict(verdict, f"{file}:{number}"))
        numbers.append(number)
    labels = LabelFile(
        pa.array(query_ids, pa.large_string()),
        pa.array(passage_ids, pa.large_string()),
        np.array(grades, dtype=np.float32),
        np.array(verdicts, dtype=np.int8),
        np.ones(len(numbers), dtype=np.float32),
    )
    return labels, np.array(numbers, dtype=np.int64)


def _parse_grade(value: Any, where: str) -> float:
    if value in (None, ""):
        return math.nan
    try:
        grade = float(value)
    except (TypeError, ValueError):
        grade = math.nan
    if not math.isfinite(grade):
        raise DataError(f"{where}: the grade {value!r} is not a number", code="RK334")
    return grade


def _parse_verdict(value: Any, where: str) -> int:
    if value in (None, ""):
        return Verdict.UNJUDGED
    name = str(value).strip().upper()
    if name not in ("POSITIVE", "NEGATIVE", "IGNORE"):
        raise DataError(
            f"{where}: the verdict {value!r} is not positive, negative or ignore", code="RK334"
        )
    return Verdict[name]


# Tables
# --------------------------------------------------------------------------------------------------


def _from_table(file: Path, table: pa.Table) -> tuple[LabelFile, Rows]:
    """The labelled rows of a table, as the `dataset` exporter writes it, and their numbers.

    Rows are numbered from 1, as lines are.
    """
    names = _column_names(str(file), table.column_names)
    ids = {
        name: table[names[name]].cast(pa.large_string()).combine_chunks()
        for name in ("query_id", "passage_id")
    }
    grade = np.full(len(table), np.nan, dtype=np.float32)
    if "grade" in names:
        grade = table[names["grade"]].cast(pa.float32()).to_numpy()
    verdict = np.full(len(table), Verdict.UNJUDGED, dtype=np.int8)
    if "verdict" in names:
        column = table[names["verdict"]].cast(pa.large_string()).combine_chunks()
        encoded = column.dictionary_encode()
        codes = [_parse_verdict(name, str(file)) for name in encoded.dictionary.to_pylist()]
        indices = encoded.indices.fill_null(len(codes)).to_numpy()
        verdict = np.array([*codes, Verdict.UNJUDGED], dtype=np.int8)[indices]
    rows = np.flatnonzero((verdict != Verdict.UNJUDGED) | ~np.isnan(grade))
    labels = LabelFile(
        ids["query_id"].take(pa.array(rows)),
        ids["passage_id"].take(pa.array(rows)),
        grade[rows],
        verdict[rows],
        np.ones(len(rows), dtype=np.float32),
    )
    return labels, rows + 1


# Weights
# --------------------------------------------------------------------------------------------------


def _read_weights(file: Path) -> dict[tuple[str, str], float]:
    """The weight of each (query id, passage id) of a sample."""
    try:
        pairs = json.loads(file.read_text(encoding="utf-8"))["pairs"]
        weights = {(pair["query_id"], pair["passage_id"]): float(pair["weight"]) for pair in pairs}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: is not as `recipekit judge sample` wrote it ({type(error).__name__}: "
            f"{error}); restore it, or remove it to count all pairs equally",
            code="RK332",
        ) from error
    if not all(math.isfinite(weight) and weight > 0 for weight in weights.values()):
        raise DataError(f"{file}: every weight must be a number above 0", code="RK334")
    return weights


def _weights(
    file: Path, labels: LabelFile, lines: Rows, weights: Mapping[tuple[str, str], float]
) -> list[float]:
    """The weight of each labelled pair, (n,)."""
    pairs = list(zip(labels.query_id.to_pylist(), labels.passage_id.to_pylist(), strict=True))
    for line, pair in zip(lines.tolist(), pairs, strict=True):
        if pair not in weights:
            raise DataError(
                f"{file}:{line}: query '{pair[0]}', passage '{pair[1]}' is not in "
                f"{weights_file(file).name}: restore its ids as `recipekit judge sample` wrote "
                "them, or remove that file to count all pairs equally",
                code="RK334",
            )
    return [weights[pair] for pair in pairs]
