"""A cache or runs path that cannot be used is one line that names it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recipekit.artifacts.storage_errors import check_folder, explained, full_disk, storage_error
from recipekit.artifacts.store import Store
from recipekit.cli.main import invoke
from recipekit.errors import StoreError

RECIPE = """\
recipe: 1
name: tiny
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl}
"""


def file(path: str) -> Callable[[], None]:
    def make() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("x")

    return make


def link(target: str) -> Callable[[], None]:
    return lambda: os.symlink(target, "folder")


PATHS = {
    "a file": (file("folder"), "folder", "folder: is a file, not a folder"),
    "below a file": (file("folder"), "folder/below", "folder: is a file, not a folder"),
    "a link to nothing": (
        link("nowhere"),
        "folder",
        "folder: is a symbolic link to nowhere, which does not exist",
    ),
    "a link to itself": (
        link("folder"),
        "folder/below",
        "folder: is a symbolic link to folder, which does not exist",
    ),
    "a device": (lambda: None, "/dev/null", "/dev/null: is a file, not a folder"),
    "a long name": (lambda: None, "x" * 300, "File name too long"),
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    Path("pairs.jsonl").write_text('{"query": "what is salt", "positive": "a mineral"}\n')


@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize("case", PATHS)
@pytest.mark.parametrize(
    "command",
    [
        "run recipe.yaml --cache {} --runs elsewhere",
        "run recipe.yaml --cache elsewhere --runs {}",
        "plan recipe.yaml --cache {}",
        "cache ls --cache {}",
        "cache gc --cache {}",
    ],
)
def test_a_path_that_cannot_be_a_folder_is_one_line(
    case: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, path, message = PATHS[case]
    make()
    assert invoke(command.format(path).split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert "choose another folder with --cache or --runs" in line


@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (file("c/cache/collect"), "c/cache/collect: is a file, not a folder"),
        (file("r/tiny"), "r/tiny: is a file, not a folder"),
        (lambda: Path("r/tiny/latest/x").mkdir(parents=True), "r/tiny/latest: cannot be written"),
    ],
)
def test_a_file_inside_the_cache_or_the_runs_is_named(
    make: Callable[[], None], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    assert invoke(["run", "recipe.yaml", "--cache", "c", "--runs", "r"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(named)


def test_a_folder_where_the_owner_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    with pytest.raises(StoreError, match="owner: cannot be written"):
        assert Store(tmp_path).owner


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, "RK502"),
        (errno.EPERM, "RK502"),
        (errno.EROFS, "RK502"),
        (errno.ENOSPC, "RK501"),
        (errno.EDQUOT, "RK501"),
        (errno.EFBIG, "RK501"),
        (errno.EIO, "RK502"),
    ],
)
def test_an_error_of_the_system_names_the_file(tmp_path: Path, number: int, code: str) -> None:
    path = tmp_path / "cache" / "file"
    with pytest.raises(StoreError) as caught, explained(tmp_path):
        raise OSError(number, os.strerror(number), str(path))
    assert caught.value.code == code
    assert "cache/file" in caught.value.message


def test_errors_about_something_else_stay_as_they_are(tmp_path: Path) -> None:
    assert storage_error(BrokenPipeError(errno.EPIPE, "Broken pipe", "/else"), tmp_path) is None
    assert full_disk(ValueError("12 requested"), [tmp_path]) is None
    with pytest.raises(FileNotFoundError), explained(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "No such file", "/data/pairs.jsonl")


def test_a_folder_that_does_not_exist_yet_is_fine(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")


def test_a_folder_that_another_process_creates_at_the_same_moment_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, is_dir = tmp_path / "cache", Path.is_dir

    def created_afterwards(path: Path) -> bool:
        found = is_dir(path)
        if path == folder:
            os.makedirs(folder, exist_ok=True)
        return found

    monkeypatch.setattr(Path, "is_dir", created_afterwards)
    check_folder(folder)
