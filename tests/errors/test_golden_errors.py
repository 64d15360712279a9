"""Bad recipes and bad input, each with the exact message that it must give.

A case is `NAME.yaml` with `NAME.txt`, for `recipekit validate NAME.yaml`; or a folder with
`error.txt` and any other file the case needs, in which `recipekit validate recipe.yaml` runs with
the further arguments in `args`, or the whole command in `command`. `error.txt` is the expected
stderr. A new case needs only its input: `--update-golden` writes the expected text. The folders
with `expected.txt` are cases of `test_disks.py`.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recipekit.cli.main import invoke

HERE = Path(__file__).parent
FILES = sorted(file.with_suffix(".txt") for file in HERE.glob("*.yaml"))
FOLDERS = sorted(
    folder
    for folder in HERE.iterdir()
    if folder.is_dir() and folder.name != "__pycache__" and not (folder / "expected.txt").exists()
)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("case", FILES, ids=lambda file: file.stem)
def test_a_bad_recipe_gives_its_golden_error(
    case: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    compare_with_golden: Callable[[str, Path], None],
) -> None:
    monkeypatch.chdir(HERE)
    assert invoke(["validate", f"{case.stem}.yaml"]) == 2
    compare_with_golden(capsys.readouterr().err, case)


@pytest.mark.usefixtures("installed", "in_process")
@pytest.mark.parametrize("case", FOLDERS, ids=lambda folder: folder.name)
def test_a_bad_command_gives_its_golden_error(
    case: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    compare_with_golden: Callable[[str, Path], None],
) -> None:
    folder = tmp_path / case.name
    shutil.copytree(case, folder)
    monkeypatch.chdir(folder)
    command, args = folder / "command", folder / "args"
    words = shlex.split(
        command.read_text()
        if command.exists()
        else "validate recipe.yaml " + (args.read_text() if args.exists() else "")
    )
    assert invoke(words) in (1, 2)
    printed = capsys.readouterr().err.replace(f"{folder}/", "")
    printed = re.sub(r"finished in [\d.]+ s", "finished in TIME", printed)
    printed = re.sub(r"^  .* in [\d.]+ s\n", "", printed, flags=re.MULTILINE)  # of a stage
    compare_with_golden(printed, case / "error.txt")


def test_every_bad_recipe_has_a_golden_error() -> None:
    without = [file.name for file in FILES if not file.exists()]
    without += [folder.name for folder in FOLDERS if not (folder / "error.txt").exists()]
    assert not without, f"run pytest tests/errors --update-golden for {', '.join(without)}"


def test_every_golden_error_has_a_bad_recipe() -> None:
    assert {file.name for file in FILES} >= {file.name for file in HERE.glob("*.txt")}
    assert len(FILES) + len(FOLDERS) >= 25
