"""Documented Python functions: the docstring is the query, the code the passage."""

from __future__ import annotations

import ast
import os
import re
import sysconfig
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from recipekit.component import Context, LocalPath, NotIdentity, SourceSpec
from recipekit.data_files.formats import check_folder
from recipekit.data_files.locations import RecordLocation
from recipekit.errors import DataError
from recipekit.records import Label, Passage, Query
from recipekit.sources.locations import LocatedRecords, LocatedSource

__all__ = ["PythonCodeSpec", "without_docstring"]

Function = ast.FunctionDef | ast.AsyncFunctionDef

SKIPPED_FOLDERS = frozenset(
    {"__pycache__", "site-packages", "dist-packages", "node_modules", "build"}
)
"""Folders of third-party code, or of copies."""
STANDARD_LIBRARY_TESTS = frozenset({"test", "tests", "idle_test"})


class PythonCodeSpec(SourceSpec):
    """Python functions with a docstring, parsed and never imported.

    The query is the first paragraph of the docstring, and the positive is the function without its
    docstring. Methods, nested and async functions are included. Hidden folders, virtual
    environments, `node_modules` and `build` are left out.
    """

    folder: Annotated[LocalPath | None, NotIdentity] = None
    """The folder to read; null reads the standard library of the running Python, without its tests.
    """
    include: tuple[str, ...] = ()
    """Read only the files that match one of these patterns, relative to the folder (`src`,
    `*/models/*.py`); all if empty."""
    exclude: tuple[str, ...] = ()
    """Skip files and folders that match one of these patterns (`tests`, `*_pb2.py`). `*` also
    matches `/`."""
    min_query_words: int = Field(default=4, ge=1)
    """The fewest words of a query. Shorter descriptions rarely identify a function."""
    min_passage_characters: int = Field(default=61, ge=1)
    """The fewest characters of a passage. Shorter functions only forward a call."""

    def files(self) -> Mapping[str, Path]:
        """Return the Python files by their paths relative to the folder."""
        root = self._root()
        if not root.is_dir():
            return {"folder": root}
        return {path.relative_to(root).as_posix(): path for path in self._paths(root)}

    def build(self, context: Context) -> LocatedSource:
        """Return the source."""
        counts: dict[str, int] = {}
        return LocatedSource(partial(self._located, context, counts), counts)

    def _root(self) -> Path:
        return self.folder or Path(sysconfig.get_path("stdlib"))

    def _paths(self, root: Path) -> Iterator[Path]:
        skipped = SKIPPED_FOLDERS if self.folder else SKIPPED_FOLDERS | STANDARD_LIBRARY_TESTS
        for path in _python_files(root, skipped):
            relative = path.relative_to(root).as_posix()
            included = not self.include or _matches(relative, self.include)
            if included and not _matches(relative, self.exclude):
                yield path

    def _located(self, context: Context, counts: dict[str, int]) -> LocatedRecords:
        root = self._root()
        check_folder(root)
        counts.update(files=0, files_that_do_not_parse=0, functions=0)
        first_invalid = ""
        for path in self._paths(root):
            counts["files"] += 1
            relative = path.relative_to(root).as_posix()
            try:
                source, module = _parse(path)
            except (SyntaxError, ValueError, RecursionError) as error:
                counts["files_that_do_not_parse"] += 1
                first_invalid = first_invalid or f"{path}:{getattr(error, 'lineno', None) or 1}"
                continue
            except OSError as error:
                raise DataError(f"{path}: {error.strerror or error}", code="RK301") from error
            for location, name, query, passage in self._pairs(path, source, module):
                counts["functions"] += 1
                id = f"{relative}:{name}"
                yield location, Passage(id, passage)
                yield location, Query(id, query)
                yield location, Label(id, id)
        if first_invalid:
            invalid = counts["files_that_do_not_parse"]
            context.progress.warn(
                f"{root}: {invalid} of {counts['files']} files cannot be parsed; the first is "
                f"{first_invalid}"
            )
        self._check_counts(counts)

    def _check_counts(self, counts: Mapping[str, int]) -> None:
        if not counts["files"]:
            raise DataError(f"{self._root()}: no Python files", code="RK306")
        if not counts["functions"]:
            raise DataError(
                f"{self._root()}: no function with a docstring of {self.min_query_words} words or "
                f"more; Python files: {counts['files']}",
                code="RK306",
            )

    def _pairs(
        self, path: Path, source: str, module: ast.Module
    ) -> Iterator[tuple[RecordLocation, str, str, str]]:
        """Yield (location, unique name, query, passage) for each function that is long enough."""
        # Lines as ast counts them: str.splitlines would also break at form feeds.
        lines = [line.encode() for line in source.split("\n")]
        names: set[str] = set()
        for qualified, node in _functions(module):
            query = _first_paragraph(ast.get_docstring(node) or "")
            if len(query.split()) < self.min_query_words:
                continue
            passage = without_docstring(node, lines)
            if len(passage) < self.min_passage_characters:
                continue
            name = qualified if qualified not in names else f"{qualified}@{node.lineno}"
            names.add(name)
            yield RecordLocation(str(path), node.lineno), name, query, passage


def _python_files(root: Path, skipped: frozenset[str]) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in skipped
            and not name.startswith(".")
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        yield from (
            Path(folder, name)
            for name in sorted(names)
            if name.endswith(".py") and not name.startswith(".")
        )


def _matches(relative: str, patterns: Iterable[str]) -> bool:
    """Return whether a pattern matches the path or one of its parent folders.

    `**/` also matches zero folders.
    """
    parts = relative.split("/")
    paths = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for pattern in patterns:
        pattern = pattern.rstrip("/")
        for form in (pattern, pattern.removeprefix("**/")):
            if any(fnmatchcase(path, form) for path in paths):
                return True
    return False


def _parse(path: Path) -> tuple[str, ast.Module]:
    """Return the text, decoded as its coding line declares, and the syntax tree."""
    with tokenize.open(path) as file:
        source = file.read()
    with warnings.catch_warnings():
        # Invalid escapes in the code that is read do not concern the user.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return source, ast.parse(source, filename=str(path))


def _functions(module: ast.Module) -> Iterator[tuple[str, Function]]:
    """Yield each function with its dotted name, in the order of the file."""
    stack: list[tuple[str, ast.AST]] = [("", module)]
    while stack:
        prefix, node = stack.pop()
        if isinstance(node, Function | ast.ClassDef):
            prefix = f"{prefix}.{node.name}" if prefix else node.name
        if isinstance(node, Function):
            yield prefix, node
        stack.extend(
            (prefix, child)
            for child in reversed(list(ast.iter_child_nodes(node)))
            if not isinstance(child, ast.expr)
        )


def _first_paragraph(docstring: str) -> str:
    words = re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0].split()
    return " ".join(words)


def without_docstring(node: Function, lines: list[bytes]) -> str:
    """Return the dedented source of a function, decorators included, without its docstring.

    Comments are kept, including one after the docstring, and so is a statement that follows the
    docstring on its line.

    Args:
        node: A function that has a docstring.
        lines: The UTF-8 lines of its file, without line ends. They are bytes because the columns of
            a syntax tree count bytes.
    """
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    indent = lines[node.lineno - 1][: node.col_offset]
    # The columns of the statement include parentheses around the string.
    doc = node.body[0]
    assert (
        doc.end_lineno is not None
        and doc.end_col_offset is not None
        and node.end_lineno is not None
    )
    before = lines[doc.lineno - 1][: doc.col_offset]
    after = lines[doc.end_lineno - 1][doc.end_col_offset :].strip().removeprefix(b";").strip()
    between = [(before + after).rstrip()] if (before.strip() or after) else []
    kept = [*lines[start : doc.lineno - 1], *between, *lines[doc.end_lineno : node.end_lineno]]
    return b"\n".join(line.removeprefix(indent) for line in kept).decode().rstrip()
