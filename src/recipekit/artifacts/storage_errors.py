"""Turns failures to write into `StoreError`s that name the disk, the file, and what to do."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from recipekit.errors import NO_SPACE, StoreError, causes

__all__ = [
    "check_folder",
    "disk_without_space",
    "explained",
    "full_disk",
    "newest_file",
    "storage_error",
]

_FULL_TEXT = re.compile(
    r"No space left on device|\(os error (?:27|28|122)\)|disk is full|Disk quota exceeded"
    r"|^\d+ requested and \d+ written$"  # NumPy's `tofile`, whose OSError has no errno
    r"|inline_container\.cc|PytorchStreamWriter failed writing|file write failed",  # PyTorch
    re.IGNORECASE,
)
"""What libraries say that do not raise an OSError with an errno."""
_NEARLY_FULL: Final = 2**20
_FREE: Final = "free some (`recipekit cache gc` removes what no run needs)"
_OTHER_FOLDER: Final = "choose another folder with --cache or --runs"


def full_disk(
    error: BaseException, folders: Sequence[Path], file: Path | None = None
) -> StoreError | None:
    """Return the error for a full disk; None if `error` has another cause.

    Args:
        error: The exception, perhaps of a library that hides the cause.
        folders: Where files are written, such as the cache and the folder of the run.
        file: The file that was written, if the exception does not name it.
    """
    chain = list(causes(error))
    numbers = [cause.errno for cause in chain if isinstance(cause, OSError)]
    texts = any(_FULL_TEXT.search(str(cause)) for cause in chain)
    too_large = errno.EFBIG in numbers
    if not texts and not too_large and not set(NO_SPACE).intersection(numbers):
        return None
    named = (cause.filename for cause in chain if isinstance(cause, OSError))
    names = (os.fsdecode(name) for name in named if isinstance(name, str | bytes))
    file = next((Path(name) for name in names), None) or file
    folder = next((folder for folder in folders if file and file.is_relative_to(folder)), None)
    if folder is None:
        folder = file.parent if file else disk_without_space(folders)
    if file is not None and file.is_relative_to(folder):
        file = file.relative_to(folder)
    writing = f" while writing {file}" if file else ""
    if too_large or (not set(NO_SPACE).intersection(numbers) and _free_bytes(folder) > 2**30):
        return StoreError(
            f"{folder}: a file could not be written completely{writing}: the disk is full, or a "
            f"limit on the size of files is reached (`ulimit -f`, a quota); {_FREE}",
            code="RK501",
        )
    return StoreError(f"no space left on the disk of {folder}{writing}: {_FREE}", code="RK501")


def storage_error(error: OSError, path: Path, file: Path | None = None) -> StoreError | None:
    """Return the error for a folder or file that cannot be made or written at a path.

    None if the error is about something else, such as a closed pipe. `file` is the file that was
    written, if the exception does not name it.
    """
    if full := full_disk(error, [path], file):
        return full.with_message(f"{full.message}, then run again")  # type: ignore[return-value]
    # `rename` has two names; the second one is what was to be made.
    name = error.filename if error.filename2 is None else error.filename2
    where = path if name is None else Path(os.fsdecode(name))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = f"cannot be written ({error.strerror})"
        return StoreError(f"{where}: {reason}; {_OTHER_FOLDER}", code="RK502")
    related = where.absolute().is_relative_to(path.absolute()) or path.absolute().is_relative_to(
        where.absolute()
    )
    if not related:
        return None
    if found := _obstacle(where if where.is_relative_to(path) else path):
        return found
    return StoreError(
        f"{where}: cannot be written ({error.strerror}); {_OTHER_FOLDER}", code="RK502"
    )


@contextmanager
def explained(path: Path, file: Path | None = None) -> Iterator[None]:
    """Turn errors about files below a path into errors that say what to do.

    Args:
        path: The folder that is written, or one that is made.
        file: The file that is written, for errors that do not name it.
    """
    try:
        yield
    except OSError as error:
        if found := storage_error(error, path, file):
            raise found from error
        raise


def check_folder(path: Path) -> None:
    """Check that a path is a folder, or that nothing but permissions prevents one there.

    Raises:
        StoreError: It is a file, or below one, or cannot be the name of a folder.
    """
    if found := _obstacle(path):
        raise found


def _obstacle(path: Path) -> StoreError | None:
    """Return the error for a path, or one above it, that exists and is not a folder."""
    for here in [*reversed(path.parents), path]:
        try:
            if here.is_dir():
                continue
            if here.is_symlink() and not here.exists():
                reason = f"is a symbolic link to {os.readlink(here)}, which does not exist"
            elif here.exists() and not here.is_dir():  # another process may have created it by now
                reason = "is a file, not a folder"
            else:
                continue
        except OSError as error:  # a loop of links, a name that is too long
            if error.errno in (errno.EACCES, errno.EPERM):
                return None
            reason = f"cannot be a folder ({error.strerror})"
        except RuntimeError:  # pathlib's error for a loop of links
            reason = "is a loop of symbolic links"
        return StoreError(f"{here}: {reason}; {_OTHER_FOLDER}", code="RK502")
    return None


def disk_without_space(folders: Sequence[Path]) -> Path:
    """Return the folder whose disk is full: one of some, or that of temporary files."""
    known = [*folders, Path(tempfile.gettempdir())]
    return next((path for path in known if _free_bytes(path) < _NEARLY_FULL), known[0])


def newest_file(folder: Path) -> Path | None:
    """Return the file below a folder that was written last."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return max(files, key=lambda file: file.stat().st_mtime_ns, default=None)


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return _NEARLY_FULL
