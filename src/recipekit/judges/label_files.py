"""Reading qrels and judgments files: ids of queries and passages, with a grade or a verdict,
whatever the file's form.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from recipekit.arrays import Bools, Floats
from recipekit.errors import DataError
from recipekit.judges.sample_rows import bare, weight_of
from recipekit.records import Verdict
from recipekit.tables import read_table

__all__ = ["LabelFile", "read_labels"]

COLUMNS = {
    "query_id": ("query_id", "query-id"),
    "passage_id": ("passage_id", "corpus-id", "corpus_id"),
    "verdict": ("verdict",),
    "grade": ("grade", "score"),
    "draw": ("draw",),
}
"""What we call a column, and what files call it."""


@dataclass(frozen=True)
class LabelFile:
    """What a file says, one entry a labelled pair.

    query_id, passage_id: string arrays (n,). grade: float32 (n,), NaN where there is none. verdict:
    int8 (n,), codes of `Verdict`, UNJUDGED where the grade decides. weight: float32 (n,), how many
    pairs it stands for, 1 but where it was drawn by `recipekit judge sample`.
    """

    query_id: pa.Array
    passage_id: pa.Array
    grade: Floats
    verdict: npt.NDArray[np.int8]
    weight: Floats

    def __len__(self) -> int:
        return len(self.grade)


def read_labels(file: Path) -> LabelFile:
    """Read a qrels or judgments file, any text form also as .gz.

    `.parquet` and `.arrow`, `.jsonl` and `.csv` hold named columns: `query_id`, `passage_id`, and a
    `verdict` (positive, negative, ignore), a `grade`, or both (the verdict counts); one that
    `recipekit judge sample` wrote also has `draw`. Anything else is qrels: BEIR's (tabs, a header
    with `query-id`, `corpus-id`, `score`) or TREC's (no header; query, iteration, passage, grade
    between blanks). A line whose verdict and grade are both empty is not labelled yet, and is left
    out.

    Raises:
        DataError: The file is missing or is not of its form, a column is missing, a value is no
            grade or verdict, or a `draw` is not that of its ids.
    """
    form = (file.with_suffix("") if file.suffix == ".gz" else file).suffix
    try:
        if form in (".parquet", ".arrow"):
            return _from_table(
                file, pyarrow.parquet.read_table(file) if form == ".parquet" else read_table(file)
            )
        with _open(file) as lines:
            return _from_rows(file, _rows(file, form, lines))
    except FileNotFoundError:
        raise DataError(f"{file}: no such file", code="RK331") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: is not UTF-8 text: {error.reason} at byte {error.start}", code="RK332"
        ) from error
    except (OSError, EOFError, csv.Error, pa.ArrowInvalid) as error:
        raise DataError(
            f"{file}: cannot be read: {str(error).splitlines()[0]}", code="RK332"
        ) from error


def _open(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def _rows(file: Path, form: str, lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line numbers, from 1, with the values of each line by our names of the columns."""
    if form == ".jsonl":
        yield from _json_rows(file, lines)
    elif form == ".csv":
        yield from _bare_rows(_named_rows(file, csv.reader(lines)))
    else:
        yield from _qrels_rows(file, iter(lines))


def _json_rows(file: Path, lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{file}:{number}: is no JSON: {error}", code="RK332") from error
        if not isinstance(row, dict):
            raise DataError(f"{file}:{number}: is no JSON object", code="RK332")
        yield (
            number,
            {ours: row.get(theirs) for ours, theirs in _names(f"{file}:{number}", row).items()},
        )


def _named_rows(file: Path, reader: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header: list[str] = next(reader, [])
    places = {ours: header.index(theirs) for ours, theirs in _names(f"{file}:1", header).items()}
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(
                f"{file}:{reader.line_num}: {len(row)} columns, the header has {len(header)}",
                code="RK332",
            )
        yield reader.line_num, {name: row[place] for name, place in places.items()}


def _bare_rows(
    rows: Iterable[tuple[int, Mapping[str, Any]]],
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """In a sample that we wrote, the ids as they were before they were made safe for a spreadsheet."""
    for number, row in rows:
        ours = (
            {name: bare(row[name]) for name in ("query_id", "passage_id")} if "draw" in row else {}
        )
        yield number, {**row, **ours}


def _qrels_rows(file: Path, lines: Iterator[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    first = next(lines, "")
    if "query-id" in first or "query_id" in first:
        yield from _named_rows(
            file, csv.reader(_chain(first, lines), delimiter="\t", quoting=csv.QUOTE_NONE)
        )
        return
    for number, line in enumerate(_chain(first, lines), start=1):
        if not line.strip():
            continue
        row = line.split()
        if len(row) != 4:
            expected = "TREC's four (query, iteration, passage, grade), or a header line with query-id, corpus-id and score"
            raise DataError(
                f"{file}:{number}: {len(row)} columns; expected {expected}", code="RK332"
            )
        yield number, {"query_id": row[0], "passage_id": row[2], "grade": row[3]}


def _chain(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _names(where: str, columns: Iterable[str]) -> dict[str, str]:
    """The file's name of each of our columns that it has."""
    there = list(columns)
    found = {ours: name for ours, names in COLUMNS.items() for name in names if name in there}
    missing = [name for name in ("query_id", "passage_id") if name not in found]
    if "verdict" not in found and "grade" not in found:
        missing.append("verdict or grade")
    if missing:
        raise DataError(
            f"{where}: no column {', '.join(missing)}; there are: {', '.join(map(str, there)) or 'none'}",
            code="RK333",
        )
    return found


def _from_rows(file: Path, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> LabelFile:
    query_ids, passage_ids = [], []
    grades, verdicts, weights = [], [], []
    for number, row in rows:
        verdict, grade = row.get("verdict"), row.get("grade")
        if verdict in (None, "") and grade in (None, ""):
            continue
        query_ids.append(str(row["query_id"]))
        passage_ids.append(str(row["passage_id"]))
        grades.append(_grade(grade, file, number))
        verdicts.append(_verdict(verdict, file, number))
        weights.append(_weight(row.get("draw"), query_ids[-1], passage_ids[-1], file, number))
    return LabelFile(
        pa.array(query_ids, pa.large_string()),
        pa.array(passage_ids, pa.large_string()),
        np.array(grades, dtype=np.float32),
        np.array(verdicts, dtype=np.int8),
        np.array(weights, dtype=np.float32),
    )


def _grade(value: Any, file: Path, number: int) -> float:
    if value in (None, ""):
        return math.nan
    try:
        grade = float(value)
    except (TypeError, ValueError):
        grade = math.nan
    if not math.isfinite(grade):
        raise DataError(f"{file}:{number}: the grade {value!r} is no number", code="RK334")
    return grade


def _verdict(value: Any, file: Path, number: int) -> int:
    if value in (None, ""):
        return Verdict.UNJUDGED
    word = str(value).strip().upper()
    if word not in ("POSITIVE", "NEGATIVE", "IGNORE"):
        raise DataError(
            f"{file}:{number}: the verdict {value!r} is none of positive, negative, ignore",
            code="RK334",
        )
    return Verdict[word]


def _weight(value: Any, query_id: str, passage_id: str, file: Path, number: int) -> float:
    if value in (None, ""):
        return 1.0
    try:
        return weight_of(str(value).strip(), query_id, passage_id)
    except ValueError as error:
        advice = "take both over as `recipekit judge sample` wrote them"
        raise DataError(
            f"{file}:{number}: the cell `draw` was changed ({value!r}), or its ids were: {advice}",
            code="RK334",
        ) from error


def _from_table(file: Path, table: pa.Table) -> LabelFile:
    """A judgments table with ids, as the `dataset` exporter writes it."""
    names = _names(str(file), table.column_names)
    text = {
        ours: table[names[ours]].cast(pa.large_string()).combine_chunks()
        for ours in names
        if ours != "grade"
    }
    grade = np.full(len(table), np.nan, dtype=np.float32)
    if "grade" in names:
        grade = table[names["grade"]].cast(pa.float32()).to_numpy()
    verdict = np.full(len(table), Verdict.UNJUDGED, dtype=np.int8)
    if "verdict" in text:
        words = text["verdict"].dictionary_encode()
        codes = np.array(
            [_verdict(word, file, 0) for word in words.dictionary.to_pylist()] + [Verdict.UNJUDGED],
            dtype=np.int8,
        )
        verdict = codes[words.indices.fill_null(len(words.dictionary)).to_numpy()]
    labelled = (verdict != Verdict.UNJUDGED) | ~np.isnan(grade)
    weight = _weights(file, text, labelled)
    kept = pa.array(labelled)
    return LabelFile(
        text["query_id"].filter(kept),
        text["passage_id"].filter(kept),
        grade[labelled],
        verdict[labelled],
        weight[labelled],
    )


def _weights(file: Path, text: Mapping[str, pa.Array], labelled: Bools) -> Floats:
    """What each row of a table stands for, (n,); a row's number stands for its line."""
    weight = np.ones(len(labelled), dtype=np.float32)
    if "draw" in text:
        for row in np.flatnonzero(
            labelled & text["draw"].is_valid().to_numpy(zero_copy_only=False)
        ).tolist():
            draw, query_id, passage_id = (
                text[name][row].as_py() for name in ("draw", "query_id", "passage_id")
            )
            weight[row] = _weight(draw, query_id, passage_id, file, row + 1)
    return weight
