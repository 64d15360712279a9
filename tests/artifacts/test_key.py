"""Keys: what counts, what does not, and that files count by content."""

import os
from pathlib import Path
from typing import Annotated

import pytest

from recipekit.artifacts.key import (
    FileHashes,
    canonical,
    component_identity,
    fields_identity,
    key_of,
)
from recipekit.component import LocalPath, NotIdentity, SourceSpec
from recipekit.errors import DataError


class Shelf(SourceSpec):
    """A source for these tests."""

    folder: LocalPath
    """Where the texts are."""
    language: str = "english"
    """Of the texts."""
    url: Annotated[str, NotIdentity] = "http://localhost"
    """Where it answers."""

    def files(self) -> dict[str, Path]:
        return {"texts": self.folder}


def identity(spec: Shelf) -> dict[str, object]:
    return component_identity(spec, "shop", "shelf", FileHashes())


def test_equal_values_have_one_canonical_text() -> None:
    assert canonical({"b": 1, "a": [True, None, 0.5]}) == '{"a":[true,null,0.5],"b":1}'


def test_a_value_that_json_cannot_represent_is_refused() -> None:
    with pytest.raises(ValueError):
        canonical(float("nan"))


def test_fields_that_are_not_identity_are_left_out(tmp_path: Path) -> None:
    assert fields_identity(Shelf(folder=tmp_path, url="http://elsewhere")) == {
        "language": "english"
    }


def test_a_folder_is_identified_by_content_not_by_path(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("one")
    here, there = (key_of(identity(Shelf(folder=tmp_path / name))) for name in ("here", "there"))
    assert here == there
    (tmp_path / "there" / "a.txt").write_text("two")
    assert key_of(identity(Shelf(folder=tmp_path / "there"))) != here


def test_renaming_a_file_changes_the_hash_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    before = FileHashes().of(tmp_path)
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert FileHashes().of(tmp_path) != before


def test_a_missing_file_is_a_data_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        FileHashes().of(tmp_path / "nowhere")


def test_a_file_where_a_folder_is_expected_is_named(tmp_path: Path) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("one")
    with pytest.raises(DataError, match=r"/corpus\.txt: is a file, not a folder$"):
        FileHashes().of(file / "qrels" / "train.tsv")


def test_hashes_are_reused_while_size_time_and_inode_stay_equal(tmp_path: Path) -> None:
    file, hash_file = tmp_path / "data.txt", tmp_path / "hash_file" / "hashes.json"
    file.write_text("one")
    hashes = FileHashes(hash_file)
    digest = hashes.of(file)
    hashes.save()
    # The file has other bytes with the same size and time. The old hash shows that it was reused.
    stamp = file.stat()
    with file.open("r+") as opened:
        opened.write("two")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert FileHashes(hash_file).of(file) == digest
    os.utime(file)
    assert FileHashes(hash_file).of(file) != digest


def test_a_damaged_hash_file_is_replaced(tmp_path: Path) -> None:
    hash_file = tmp_path / "hashes.json"
    hash_file.write_text("{half")
    file = tmp_path / "data.txt"
    file.write_text("one")
    assert FileHashes(hash_file).of(file) == FileHashes().of(file)


def test_a_named_pipe_is_refused_at_once_also_in_a_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", tmp_path):
        with pytest.raises(DataError, match=r"pipe\.csv: is a named pipe; expected a regular file"):
            FileHashes().of(path)
