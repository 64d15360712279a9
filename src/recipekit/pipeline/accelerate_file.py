"""The file of Accelerate's configuration, and its values by type."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from recipekit.errors import RunError

__all__ = ["AccelerateFile", "read_accelerate_file"]


@dataclass(frozen=True)
class AccelerateFile:
    """The keys of a configuration, or of a map in it."""

    source: str = "Accelerate configuration"
    """Where they were read, for messages."""
    keys: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    """The file; None if nothing was read."""

    def whole(self, key: str) -> int | None:
        """Return a whole number; None if the key is null or missing."""
        value = self.keys.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        raise self._unexpected(key, "a whole number")

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return true or false; the default if the key is null or missing."""
        value = self.keys.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise self._unexpected(key, "true or false")

    def below(self, key: str) -> AccelerateFile:
        """Return the map under a key, which is empty if the key is null or missing."""
        value = self.keys.get(key)
        if not isinstance(value, dict | None):
            raise self._unexpected(key, "a map of keys")
        return AccelerateFile(self.source, value or {}, self.path)

    def refusal(self, message: str) -> RunError:
        """Return the error that the configuration is malformed."""
        return RunError(f"{self.source}: {message}", code="RK602")

    def unsupported(self, message: str) -> RunError:
        """Return the error that recipekit cannot follow the configuration."""
        return RunError(f"{self.source}: {message}", code="RK603")

    def _unexpected(self, key: str, expected: str) -> RunError:
        return self.refusal(f"{key}: expected {expected}, found {self.keys[key]!r}")


def read_accelerate_file(path: Path | None) -> AccelerateFile:
    """Read a configuration; by default the saved one, if there is one.

    Raises:
        RunError: The file is missing or malformed.
    """
    if path is not None and not path.is_file():
        raise RunError(
            f"--accelerate-config {path}: no such file; `accelerate config --config_file "
            f"{path}` writes one",
            code="RK602",
        )
    path = path or _saved()
    if path is None:
        return AccelerateFile()
    file = AccelerateFile(str(path), path=path)
    try:
        # Accelerate's own file, so read it as Accelerate does.
        keys = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise file.refusal(f"not an Accelerate configuration ({reason})") from error
    if not isinstance(keys, dict):
        raise file.refusal("not an Accelerate configuration: no keys")
    return AccelerateFile(str(path), keys, path)


def _saved() -> Path | None:
    """Return Accelerate's saved configuration, where `accelerate config` writes it."""
    home = Path(
        os.environ.get(
            "HF_HOME",
            Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "huggingface",
        )
    )
    # os.path.isfile is False for a folder that cannot be read, such as the home of a container's
    # user.
    found = [
        path
        for name in ("default_config.yaml", "default_config.json")
        if os.path.isfile(path := home / "accelerate" / name)
    ]
    return found[0] if found else None
