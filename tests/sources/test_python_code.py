import ast
import textwrap
from pathlib import Path

import pytest

from recipekit.errors import DataError
from recipekit.records import Passage, Query
from recipekit.sources.python_code import PythonCodeSpec, without_docstring
from recipekit.testing import check_source, context


def read(tmp_path: Path, **keys):
    """Return queries and passages by id, the counts and the warnings."""
    built_in = context(tmp_path / "scratch")
    source = PythonCodeSpec(**keys).build(built_in)
    records = list(source.load())
    queries = {record.id: record.text for record in records if isinstance(record, Query)}
    passages = {record.id: record.text for record in records if isinstance(record, Passage)}
    return queries, passages, source.counts, built_in.progress.warnings


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(textwrap.dedent(text).encode(encoding))


def documented(name: str) -> str:
    return (
        f"def {name}(values):\n"
        '    """Add up all the values."""\n'
        f"    total = sum(values)  # {'x' * 60}\n"
        "    return total\n"
    )


def test_a_function_becomes_a_query_and_a_passage(tmp_path: Path):
    write(
        tmp_path / "repo/pkg/stack.py",
        '''
        class Stack:
            @cached  # kept
            def pop(
                self,
            ):
                """Remove and return
                the newest item.

                Raises IndexError if there is none.
                """
                # So is this comment.
                return self.items.pop(), """a text
            of two lines"""
        ''',
    )
    queries, passages, counts, _ = read(tmp_path, folder=tmp_path / "repo")
    assert queries == {"pkg/stack.py:Stack.pop": "Remove and return the newest item."}
    assert passages["pkg/stack.py:Stack.pop"] == textwrap.dedent(
        '''\
        @cached  # kept
        def pop(
            self,
        ):
            # So is this comment.
            return self.items.pop(), """a text
        of two lines"""'''
    )
    assert counts == {"files": 1, "files_that_do_not_parse": 0, "functions": 1}


@pytest.mark.parametrize(
    ("source", "passage"),
    [
        ('def f(): "doc of four words"; return 1', "def f(): return 1"),
        ('def f(): "doc of four words"', "def f():"),
        ('def f():\n    "doc of four words"; x = 1; return x', "def f():\n    x = 1; return x"),
        (
            'def f():\n    "doc of four words" ; # why\n    return 1',
            "def f():\n    # why\n    return 1",
        ),
        (
            'def f():\n    "doc of"  "four words"  # why\n    return 1',
            "def f():\n    # why\n    return 1",
        ),
        (
            'def f():\n    (\n        "doc of four words"\n    )\n    return 1',
            "def f():\n    return 1",
        ),
        (
            'async def f():\n    """döc öf föur wörds"""; return "ö"',
            'async def f():\n    return "ö"',
        ),
        (
            'class A:\n\tdef f(self):\n\t\t"""doc of four words"""\n\t\treturn 1',
            "def f(self):\n\treturn 1",
        ),
    ],
)
def test_the_docstring_is_removed_from_the_code(source: str, passage: str):
    function = next(
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert without_docstring(function, [line.encode() for line in source.split("\n")]) == passage


def test_methods_and_nested_functions_are_read_and_repeated_names_stay_apart(tmp_path: Path):
    nested = "class A:\n" + textwrap.indent(
        "@property\n"
        + documented("size")
        + "@size.setter\n"
        + documented("size")
        + "async "
        + documented("wait"),
        "    ",
    )
    nested += "def outer():\n    if True:\n" + textwrap.indent(documented("inner"), " " * 8)
    write(tmp_path / "repo/a.py", nested)
    queries, _, _, _ = read(tmp_path, folder=tmp_path / "repo")
    assert list(queries) == ["a.py:A.size", "a.py:A.size@8", "a.py:A.wait", "a.py:outer.inner"]


def test_short_docstrings_and_short_functions_are_left_out(tmp_path: Path):
    write(
        tmp_path / "repo/a.py",
        'def f():\n    """Three short words."""\n    return 1\n' + documented("g"),
    )
    write(tmp_path / "repo/b.py", 'def f():\n    """Give the number one."""\n    return 1\n')
    assert list(read(tmp_path, folder=tmp_path / "repo")[0]) == ["a.py:g"]
    assert list(
        read(tmp_path, folder=tmp_path / "repo", min_query_words=1, min_passage_characters=1)[0]
    ) == [
        "a.py:f",
        "a.py:g",
        "b.py:f",
    ]


def test_third_party_code_is_left_out(tmp_path: Path):
    included = ["a.py", "pkg/b.py", "tests/test_a.py"]
    skipped = [
        ".hidden/c.py",
        "venv/lib/d.py",
        "node_modules/e.py",
        "build/lib/f.py",
        "x/site-packages/g.py",
        "x/__pycache__/h.py",
    ]
    for name in included + skipped:
        write(tmp_path / "repo" / name, documented("f"))
    (tmp_path / "repo/venv/pyvenv.cfg").touch()
    assert [id.partition(":")[0] for id in read(tmp_path, folder=tmp_path / "repo")[0]] == included
    assert list(PythonCodeSpec(folder=tmp_path / "repo").files()) == included
    assert (
        list(PythonCodeSpec(folder=tmp_path / "repo", include=["pkg", "tests/*.py"]).files())
        == included[1:]
    )
    assert (
        list(PythonCodeSpec(folder=tmp_path / "repo", exclude=["**/test_*.py", "b.py"]).files())
        == included[:2]
    )
    assert (
        list(PythonCodeSpec(folder=tmp_path / "repo", exclude=["*/test_*.py", "pkg"]).files())
        == included[:1]
    )


def test_files_are_decoded_with_the_encoding_that_they_declare(tmp_path: Path):
    write(
        tmp_path / "repo/latin.py",
        "# coding: latin-1\n" + documented("f").replace("values.", "größten Werte."),
        "latin-1",
    )
    write(tmp_path / "repo/bom.py", "\ufeff" + documented("f").replace("\n", "\r\n"))
    queries, passages, _, _ = read(tmp_path, folder=tmp_path / "repo")
    assert queries["latin.py:f"] == "Add up all the größten Werte."
    assert (
        passages["bom.py:f"].splitlines()[-1] == "    return total"
        and "\r" not in passages["bom.py:f"]
    )


def test_files_that_cannot_be_parsed_are_counted_in_one_warning(tmp_path: Path):
    write(tmp_path / "repo/a.py", documented("f") + 'x = "\\d"\n')
    write(tmp_path / "repo/b.py", "x = 1\nprint 'Python 2'\n")
    (tmp_path / "repo/c.py").write_bytes(b"x = '\xff'\n")
    queries, _, counts, warnings = read(tmp_path, folder=tmp_path / "repo")
    assert len(queries) == 1
    assert counts == {"files": 3, "files_that_do_not_parse": 2, "functions": 1}
    assert warnings == [
        f"{tmp_path}/repo: 2 of 3 files cannot be parsed; the first is {tmp_path}/repo/b.py:2"
    ]


def test_the_standard_library_is_the_default_and_only_docstrings_are_removed(tmp_path: Path):
    """Each passage, parsed, equals the function in the file without its docstring."""
    spec = PythonCodeSpec(include=["json", "heapq.py", "dataclasses.py", "email"])
    names = list(spec.files())
    assert "heapq.py" in names and not [
        name for name in PythonCodeSpec().files() if "/test/" in name or "site-packages" in name
    ]
    _, passages, counts, _ = read(tmp_path, include=spec.include)
    assert counts["functions"] == len(passages) > 100
    compared = 0
    for name, file in spec.files().items():
        for node in ast.walk(ast.parse(file.read_bytes())):
            passage = passages.get(f"{name}:{getattr(node, 'name', '')}")
            if isinstance(node, ast.FunctionDef) and passage and node.col_offset == 0:
                del node.body[0]
                assert ast.dump(ast.parse(passage).body[0]) == ast.dump(node), name
                compared += 1
    assert compared > 20


def test_the_source_conforms_to_the_protocol(tmp_path: Path):
    write(tmp_path / "repo/a.py", documented("f"))
    check_source(PythonCodeSpec(folder=tmp_path / "repo"), context(tmp_path / "scratch"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "{folder}: no such folder"),
        (
            lambda folder: folder.write_text("x = 1"),
            "{folder}: is a file; expected a folder",
        ),
        (lambda folder: folder.mkdir(), "{folder}: no Python files"),
        (
            lambda folder: write(folder / "a.py", "def f(): pass"),
            "{folder}: no function with a docstring of 4 words or more; Python files: 1",
        ),
    ],
)
def test_nothing_to_read_is_an_error(tmp_path: Path, make, message: str):
    folder = tmp_path / "repo"
    make(folder)
    with pytest.raises(DataError) as caught:
        read(tmp_path, folder=folder)
    assert str(caught.value) == message.format(folder=folder)
