"""Reading qrels and judgments files, and the sampling weights next to a sample."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Floats, Rows
from recipekit.data_files.clean_text import clean_text
from recipekit.data_files.compression import without_compression
from recipekit.data_files.delimited import Quoting, delimited_rows
from recipekit.data_files.formats import number_or_nan
from recipekit.data_files.json_lines import json_rows
from recipekit.data_files.locations import RecordLocation, Row
from recipekit.data_files.tables import TableFormat, table_batches, table_columns
from recipekit.data_files.text_lines import text_lines
from recipekit.errors import DataError
from recipekit.human_labels import weights_file
from recipekit.records import Verdict

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
_BLANKS: Final = re.compile("[ \t]+")
ROWS_PER_BATCH: Final = 1 << 16


@dataclass(frozen=True)
class LabelFile:
    """The labelled pairs of a file."""

    file: Path
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
    """Read a qrels or judgments file, which may be compressed.

    `.parquet`, `.arrow`, `.jsonl`, `.json` and `.csv` have named columns: `query_id`, `passage_id`,
    and `verdict` (positive, negative, ignore), `grade`, or both (the verdict counts). Any other
    file is qrels: BEIR's (tabs, a header with `query-id`, `corpus-id`, `score`) or TREC's (no
    header; query, iteration, passage, grade). A line with neither verdict nor grade is not labelled
    yet and is skipped. Where `weights_file` is there, the file is a sample, and every pair has a
    weight.

    Raises:
        DataError: The file is missing or malformed, a column is missing, a value is not a grade or
            a verdict, or a pair is not in the weights file.
    """
    weights = weights_file(file)
    is_sample = weights.is_file()
    form = without_compression(file).suffix.lower()
    if form in (".parquet", ".arrow"):
        labels, lines = _from_table(file, "arrow" if form == ".arrow" else "parquet")
    else:
        unescape = is_sample and form == ".csv"
        labels, lines = _from_lines(file, _text_rows(file, form), unescape=unescape)
    if is_sample:
        labels.weight[:] = _weights(labels, lines, _read_weights(weights))
    return labels


# Text files
# --------------------------------------------------------------------------------------------------


def _text_rows(file: Path, form: str) -> Iterator[Row]:
    if form in (".jsonl", ".ndjson", ".json"):
        return _json_rows(file)
    if form == ".csv":
        return _delimited(file, _csv_delimiter(file), "minimal")
    first = _first_line(file)
    if "query-id" in first or "query_id" in first:
        return _delimited(file, "\t", "none")
    return _trec_rows(file)


def _json_rows(file: Path) -> Iterator[Row]:
    for location, row in json_rows(file):
        names = _column_names(str(location), row)
        yield location, {ours: row.get(theirs) for ours, theirs in names.items()}


def _delimited(file: Path, delimiter: str, quoting: Quoting) -> Iterator[Row]:
    header = _cells(_first_line(file), delimiter, quoting)
    names = _column_names(f"{file}:1", header)
    for location, row in delimited_rows(file, delimiter, quoting=quoting):
        yield location, {ours: row[theirs] for ours, theirs in names.items()}


def _cells(line: str, delimiter: str, quoting: Quoting) -> list[str]:
    if quoting == "none":
        return [cell.strip() for cell in line.split(delimiter)]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _csv_delimiter(file: Path) -> str:
    """Return the delimiter that shows the columns of ids; spreadsheets write semicolons, too."""
    header = _first_line(file)
    for delimiter in (",", ";", "\t"):
        if set(COLUMNS["query_id"]) & set(_cells(header, delimiter, "minimal")):
            return delimiter
    return ","


def _first_line(file: Path) -> str:
    """Return the first line that is not blank, without Excel's `sep=;`."""
    for _, line in text_lines(file):
        if line.strip() and not line.lower().lstrip('"').startswith("sep="):
            return line.rstrip("\r\n")
    return ""


def _trec_rows(file: Path) -> Iterator[Row]:
    for number, line in text_lines(file):
        if not line.strip():
            continue
        # `split()` also splits at no-break spaces, which an id may contain.
        row = _BLANKS.split(line.strip(" \t\r\n"))
        location = RecordLocation(str(file), number)
        if len(row) != 4:
            raise DataError(
                f"{location}: {len(row)} columns; expected TREC's four (query, iteration, "
                "passage, grade), or a header line with query-id, corpus-id and score",
                code="RK332",
            )
        yield location, {"query_id": row[0], "passage_id": row[2], "grade": row[3]}


def _column_names(where: str, columns: Iterable[str]) -> dict[str, str]:
    """The file's name of each of our columns that it has."""
    present = list(columns)
    found = {}
    for ours, names in COLUMNS.items():
        matching = [name for name in names if name in present]
        if len(matching) > 1:
            raise DataError(
                f"{where}: the columns '{matching[0]}' and '{matching[1]}' mean the same; remove "
                "one of them",
                code="RK333",
            )
        if matching:
            found[ours] = matching[0]
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


def _from_lines(file: Path, rows: Iterable[Row], *, unescape: bool) -> tuple[LabelFile, Rows]:
    """The labelled lines, and their numbers, (n,)."""
    query_ids, passage_ids, grades, verdicts, numbers = [], [], [], [], []
    restore = _unescape_cell if unescape else str
    for location, row in rows:
        verdict, grade = row.get("verdict"), row.get("grade")
        if verdict in (None, "") and grade in (None, ""):
            continue
        query_ids.append(restore(_parse_id(row["query_id"], "query id", str(location))))
        passage_ids.append(restore(_parse_id(row["passage_id"], "passage id", str(location))))
        grades.append(_parse_grade(grade, str(location)))
        verdicts.append(_parse_verdict(verdict, str(location)))
        numbers.append(location.line)
    labels = LabelFile(
        file,
        pa.array(query_ids, pa.large_string()),
        pa.array(passage_ids, pa.large_string()),
        np.array(grades, dtype=np.float32),
        np.array(verdicts, dtype=np.int8),
        np.ones(len(numbers), dtype=np.float32),
    )
    return labels, np.array(numbers, dtype=np.int64)


def _parse_id(value: Any, name: str, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{where}: the {name} is {value!r:.60}, which is not an id", code="RK334")
    return clean_text(str(value))  # as collect cleans the ids of the data


def _parse_grade(value: Any, where: str) -> float:
    if value in (None, ""):
        return math.nan
    grade = number_or_nan(value)
    if math.isnan(grade):
        raise DataError(f"{where}: the grade {value!r:.60} is not a number", code="RK334")
    return grade


def _parse_verdict(value: Any, where: str) -> int:
    if value in (None, ""):
        return Verdict.UNJUDGED
    name = str(value).strip().upper()
    if name not in ("POSITIVE", "NEGATIVE", "IGNORE"):
        raise DataError(
            f"{where}: the verdict {value!r:.60} is not positive, negative or ignore", code="RK334"
        )
    return Verdict[name]


# Tables
# --------------------------------------------------------------------------------------------------


def _from_table(file: Path, format: TableFormat) -> tuple[LabelFile, Rows]:
    """The labelled rows of a table, as the `dataset` exporter writes it, and their numbers.

    Rows are numbered from 1, as lines are.
    """
    with TemporaryDirectory() as scratch:
        names = _column_names(str(file), table_columns(file, format, Path(scratch)))
        columns = list(names.values())
        batches = list(table_batches(file, format, Path(scratch), columns, ROWS_PER_BATCH))
    if not batches:
        return _from_lines(file, [], unescape=False)
    table = pa.Table.from_batches(batches)
    grade = np.full(len(table), np.nan, dtype=np.float32)
    if "grade" in names:
        grade = _column(file, table, names["grade"], pa.float32()).to_numpy(zero_copy_only=False)
    verdict = np.full(len(table), Verdict.UNJUDGED, dtype=np.int8)
    if "verdict" in names:
        encoded = _column(file, table, names["verdict"], pa.large_string()).dictionary_encode()
        codes = [_parse_verdict(name, str(file)) for name in encoded.dictionary.to_pylist()]
        indices = encoded.indices.fill_null(len(codes)).to_numpy()
        verdict = np.array([*codes, Verdict.UNJUDGED], dtype=np.int8)[indices]
    rows = np.flatnonzero((verdict != Verdict.UNJUDGED) | ~np.isnan(grade))
    infinite = rows[np.isinf(grade[rows])]
    if len(infinite):
        _parse_grade(float(grade[infinite[0]]), f"{file}: row {infinite[0] + 1}")
    ids = {
        name: _id_column(file, table, names[name]).take(pa.array(rows))
        for name in ("query_id", "passage_id")
    }
    for name, column in ids.items():
        missing = pc.or_kleene(column.is_null(), pc.fill_null(pc.equal(column, ""), False))
        if (first := missing.index(True).as_py()) >= 0:
            where = f"{file}: row {rows[first] + 1}"
            _parse_id(column[first].as_py(), name.replace("_", " "), where)
        ids[name] = pc.replace_substring(column, "\0", "\ufffd")  # as `clean_text`
    labels = LabelFile(
        file,
        ids["query_id"],
        ids["passage_id"],
        grade[rows],
        verdict[rows],
        np.ones(len(rows), dtype=np.float32),
    )
    return labels, rows + 1


def _id_column(file: Path, table: pa.Table, name: str) -> pa.Array:
    """A column of ids, which are texts or whole numbers."""
    kind = table[name].type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_id = (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_null(kind)
    )
    if not is_id:
        raise DataError(
            f"{file}: the column '{name}' has the type {kind}; expected ids, which are texts or "
            "whole numbers",
            code="RK334",
        )
    return _column(file, table, name, pa.large_string())


def _column(file: Path, table: pa.Table, name: str, type: pa.DataType) -> pa.Array:
    """A column of a table as one array of another type."""
    column = table[name]
    if pa.types.is_nested(column.type) or pa.types.is_boolean(column.type):
        raise DataError(
            f"{file}: the column '{name}' has the type {column.type}; expected one text or number "
            "per row",
            code="RK334",
        )
    try:
        return column.cast(type).combine_chunks()
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file}: the column '{name}': {reason}", code="RK334") from error


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
    labels: LabelFile, lines: Rows, weights: Mapping[tuple[str, str], float]
) -> list[float]:
    """The weight of each labelled pair, (n,)."""
    pairs = list(zip(labels.query_id.to_pylist(), labels.passage_id.to_pylist(), strict=True))
    for line, pair in zip(lines.tolist(), pairs, strict=True):
        if pair not in weights:
            raise DataError(
                f"{labels.file}:{line}: query '{pair[0]}', passage '{pair[1]}' is not in "
                f"{weights_file(labels.file).name}: restore its ids as `recipekit judge sample` "
                "wrote them, or remove that file to count all pairs equally",
                code="RK334",
            )
    return [weights[pair] for pair in pairs]
