"""Computes in bf16 where the processor has no such instructions: slowly, but with its rounding.

A process that has this folder in `PYTHONPATH` runs it at its start, and so do its children.
"""

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType

MODULE = "recipekit.encoding.precision"


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module._cpu_has_bf16 = lambda: True  # type: ignore[attr-defined]


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin)
        return spec


sys.meta_path.insert(0, _Finder())
