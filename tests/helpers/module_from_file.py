"""Importing a Python file that is in no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

__all__ = ["module_from_file"]


def module_from_file(file: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> ModuleType:
    """Import a file under its own name.

    Args:
        file: The file.
        monkeypatch: Forgets the module at the end of a test; without it, the module stays.
    """
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if monkeypatch is None:
        sys.modules[file.stem] = module
    else:
        monkeypatch.setitem(sys.modules, file.stem, module)
    spec.loader.exec_module(module)
    return module
