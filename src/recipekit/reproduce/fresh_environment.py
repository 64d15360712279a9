"""A virtual environment with the versions of a lock, and `recipekit reproduce` inside it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from recipekit.errors import RunError
from recipekit.reproduce.lock import Lock

__all__ = ["make_environment", "recipekit_in", "requirements"]


def requirements(lock: Lock) -> list[str]:
    """Return what pip installs for a lock: `numpy==2.4.6`, one for each distribution.

    A distribution that was installed here from a folder, an archive or a repository, in the locked
    version, is installed from there again. The part of a version that names a build (`2.9+cu130`)
    is left out, since it belongs to a device.
    """
    return sorted(_requirement(name, version) for name, version in lock.versions.items())


def _requirement(name: str, version: str) -> str:
    address = _direct_url(name, version)
    return f"{name} @ {address}" if address else f"{name}=={version.partition('+')[0]}"


def _direct_url(name: str, version: str) -> str | None:
    """Return where an installed distribution comes from, if not from an index (PEP 610)."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return None
    text = installed.read_text("direct_url.json")
    if installed.version != version or not text:
        return None
    origin = json.loads(text)
    url = str(origin["url"])
    if repository := origin.get("vcs_info"):
        return f"{repository['vcs']}+{url}@{repository['commit_id']}"
    return url


def make_environment(folder: Path, lock: Lock, show_line: Callable[[str], None]) -> Path:
    """Make a virtual environment with the versions of a lock, and return its Python.

    An environment that an earlier call completed is used again.

    Args:
        folder: Where it is made.
        lock: The lock.
        show_line: Receives lines for the user.

    Raises:
        RunError: It cannot be made, or a version cannot be installed.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done, wanted = folder / "requirements.txt", "\n".join([*requirements(lock), ""])
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return python
    show_line(f"installing {len(lock.versions)} locked versions into {folder}")
    has_pip = _is_installed("pip")
    options = ["--clear", *(["--without-pip"] if has_pip else [])]
    _call([_interpreter(lock.python), "-m", "venv", *options, str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    if not has_pip:
        pip = [str(python), "-m", "pip"]
    file = folder / "wanted.txt"
    file.write_text(wanted, encoding="utf-8")
    _call([*pip, "--disable-pip-version-check", "install", "--quiet", "-r", str(file)])
    file.replace(done)
    return python


def _is_installed(name: str) -> bool:
    """Return whether a distribution is installed, without looking for its module.

    If the module `pip` is looked for, setuptools stops replacing distutils in this process.
    """
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _interpreter(version: str) -> str:
    """Return a Python of the locked minor version if there is one, and otherwise this one."""
    minor = ".".join(version.split(".")[:2])
    if platform.python_version().startswith(f"{minor}."):
        return sys.executable
    return shutil.which(f"python{minor}") or sys.executable


def _call(command: Sequence[str]) -> None:
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=dict(_environment())
    )
    if ended.returncode:
        lines = [*ended.stdout.splitlines(), *ended.stderr.splitlines()]
        errors = [line for line in lines if line.startswith("ERROR: ")] or lines or ["no output"]
        raise RunError(
            f"the fresh environment cannot be made: {errors[-1].removeprefix('ERROR: ')}",
            code="RK618",
        )


def _environment() -> Iterator[tuple[str, str]]:
    """Yield the variables for the other Python, without those of this one."""
    for name, value in os.environ.items():
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"):
            yield name, value


def recipekit_in(python: Path, arguments: Sequence[str]) -> int:
    """Run the command line of an environment, and return its exit status."""
    command = [str(python), "-m", "recipekit", *arguments]
    return subprocess.run(command, check=False, env=dict(_environment())).returncode
