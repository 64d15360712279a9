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
from pathlib import Path
from typing import Annotated

from pydantic import Field

from recipekit.component import Context, LocalPath, NotIdentity, SourceSpec
from recipekit.errors import DataError
from recipekit.records import Label, Passage, Query
from recipekit.sources.locations import LocatedSource, Record, RecordLocation

__all__ = ["PythonCodeSpec", "without_docstring"]

Function = ast.FunctionDef | ast.AsyncFunctionDef

NEVER_OURS = frozenset({"__pycache__", "site-packages", "dist-packages", "node_modules", "build"})
"""Folders that hold other people's code, or copies."""
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
    `*/models/*.py`); all if empty.
    """
    exclude: tuple[str, ...] = ()
    """Skip files and folders that match one of these patterns (`tests`, `*_pb2.py`). `*` also matches
    `/`."""
    min_query_words: int = Field(default=4, ge=1)
    """The fewest words of a query. Shorter descriptions rarely identify a function."""
    min_passage_characters: int = Field(default=61, ge=1)
    """The fewest characters of a passage. Shorter functions only forward a call."""

    def files(self) -> Mapping[str, Path]:
        """The Python files, by their paths relative to the folder."""
        root = self._root()
        return (
            {path.relative_to(root).as_posix(): path for path in self._paths(root)}
            if root.is_dir()
            else {"folder": root}
        )

    def build(self, context: Context) -> LocatedSource:
        """Make the source."""
        counts: dict[str, int] = {}

        def located() -> Iterator[tuple[RecordLocation, Record]]:
            counts.clear()
            counts.update(files=0, files_that_do_not_parse=0, functions=0)
            yield from self._read(context, counts)

        return LocatedSource(located, counts)

    def _root(self) -> Path:
        return self.folder or Path(sysconfig.get_path("stdlib"))

    def _paths(self, root: Path) -> Iterator[Path]:
        skipped = NEVER_OURS if self.folder else NEVER_OURS | STANDARD_LIBRARY_TESTS
        for path in _python_files(root, skipped):
            relative = path.relative_to(root).as_posix()
            if (not self.include or _matches(relative, self.include)) and not _matches(
                relative, self.exclude
            ):
                yield path

    def _read(
        self, context: Context, counts: dict[str, int]
    ) -> Iterator[tuple[RecordLocation, Record]]:
        root = self._root()
        if not root.is_dir():
            what = "is a file, not a folder of Python code" if root.exists() else "no such folder"
            raise DataError(f"{root}: {what}", code="RK302" if root.exists() else "RK301")
        first_broken = ""
        for path in self._paths(root):
            counts["files"] += 1
            relative = path.relative_to(root).as_posix()
            try:
                source, module = _parse(path)
            except (SyntaxError, ValueError, RecursionError) as error:
                counts["files_that_do_not_parse"] += 1
                first_broken = first_broken or f"{path}:{getattr(error, 'lineno', None) or 1}"
                continue
            except OSError as error:
                raise DataError(f"{path}: {error.strerror or error}", code="RK301") from error
            for place, name, query, passage in self._pairs(path, source, module):
                counts["functions"] += 1
                id = f"{relative}:{name}"
                yield place, Passage(id, passage)
                yield place, Query(id, query)
                yield place, Label(id, id)
        if first_broken:
            broken = counts["files_that_do_not_parse"]
            context.progress.warn(
                f"{root}: {broken} of {counts['files']} files are no Python that parses; first: {first_broken}"
            )
        if not counts["functions"]:
            found = f"{counts['files']} Python files and in them no function whose docstring has {self.min_query_words} words or more"
            raise DataError(
                f"{root}: {found if counts['files'] else 'no Python files'}", code="RK306"
            )

    def _pairs(
        self, path: Path, source: str, module: ast.Module
    ) -> Iterator[tuple[RecordLocation, str, str, str]]:
        """(place, unique name, query, passage) of every function that is documented well enough."""
        # As ast counts lines: str.splitlines would also break at form feeds.
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
    """Whether a pattern matches the path or a folder above it.

    `**/` also matches no folder at all.
    """
    parts = relative.split("/")
    paths = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    wanted = [
        form
        for pattern in patterns
        for form in (pattern.rstrip("/"), pattern.rstrip("/").removeprefix("**/"))
    ]
    return any(fnmatchcase(path, pattern) for path in paths for pattern in wanted)


def _parse(path: Path) -> tuple[str, ast.Module]:
    """Text, decoded as its own coding line says and with uniform line ends, and syntax tree."""
    with tokenize.open(path) as file:
        source = file.read()
    with warnings.catch_warnings():
        # Invalid escapes in foreign code are none of our reader's business.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return source, ast.parse(source, filename=str(path))


def _functions(module: ast.Module) -> Iterator[tuple[str, Function]]:
    """Every function with its dotted name, in the order of the file."""
    ahead: list[tuple[str, ast.AST]] = [("", module)]
    while ahead:
        prefix, node = ahead.pop()
        if isinstance(node, Function | ast.ClassDef):
            prefix = f"{prefix}.{node.name}" if prefix else node.name
        if isinstance(node, Function):
            yield prefix, node
        ahead.extend(
            (prefix, child)
            for child in reversed(list(ast.iter_child_nodes(node)))
            if not isinstance(child, ast.expr)
        )


def _first_paragraph(docstring: str) -> str:
    words = re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0].split()
    return " ".join(words)


def without_docstring(node: Function, lines: list[bytes]) -> str:
    """The source of a function, dedented, from its first decorator to its end, with the docstring
    cut out.

    Comments stay, also one behind the docstring; so does a statement that follows it on its line.

    Args:
        node: A function that has a docstring.
        lines: The UTF-8 lines of its file, without line ends (the columns of a syntax tree count
            bytes).
    """
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    indent = lines[node.lineno - 1][: node.col_offset]
    # The statement, not the string in it: only the statement's columns include parentheses around
    # the string.
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
