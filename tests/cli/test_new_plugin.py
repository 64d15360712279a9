"""A new plugin can be installed and passes its own test as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.installed import is_installed
from recipekit.cli.main import invoke
from recipekit.component import KINDS
from recipekit.starter.plugin import EXAMPLES, name_error, plugin_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*arguments: str, path: Path | None = None) -> str:
    paths = [str(path)] if path else []
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_new_plugins_of_every_kind_install_and_pass_their_tests(folder: Path):
    if not (is_installed("pip") and is_installed("hatchling")):
        pytest.skip("pip and hatchling, which build the plugin, are not installed")
    plugins = [f"my-{kind}".replace("_", "-") for kind in KINDS]
    for kind, plugin in zip(KINDS, plugins, strict=True):
        assert invoke(["new-plugin", plugin, "--kind", kind]) == 0
    site = folder / "site"
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir"]
    python("-m", "pip", "install", *options, "--target", str(site), *(f"./{p}" for p in plugins))
    described = python("-m", "recipekit", "components", path=site)
    for plugin in plugins:
        assert f"{plugin} 0.1.0" in described
        # The test finds the installed package, not the folder that it was written to.
        (folder / plugin / "src").rename(folder / plugin / "elsewhere")
    passed = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, path=site)
    assert f"{len(plugins)} passed" in passed


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_skeleton_without_the_names_of_the_example(kind: str):
    files = plugin_files("my-own", kind)
    assert list(files) == [
        "pyproject.toml",
        "README.md",
        "src/my_own/__init__.py",
        f"src/my_own/{kind}.py",
        "tests/test_my_own.py",
    ]
    for text in files.values():
        assert EXAMPLES[kind].class_name not in text.replace("SimCSE: ", "")
        assert "{{" not in text
        assert text.endswith("\n")
    assert "class MyOwnSpec(" in files[f"src/my_own/{kind}.py"]


def test_the_default_is_a_retriever(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert invoke(["new-plugin", "my_words"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "wrote my_words: the retriever is in my_words/src/my_words/retriever.py",
        "next: pip install --editable ./my_words, then pytest my_words",
    ]
    assert (folder / "my_words" / "src" / "my_words" / "retriever.py").is_file()


@pytest.mark.parametrize(
    "name",
    ["", "My-Plugin", "9lives", "a b", "../up", "a/b", "a.b", "-a", "a-", "a--b", "é", "x" * 65],
)
def test_a_name_that_is_no_package_name_is_refused_in_one_line(folder: Path, name: str, capsys):
    assert name_error(name).startswith("a name starts with a small letter")
    assert invoke(["new-plugin", "--", name]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"a plugin cannot be called '{name}': a name starts with a small letter")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["torch", "recipekit", "json", "sentence-transformers", "class"])
def test_the_name_of_another_module_is_refused(folder: Path, name: str, capsys):
    assert invoke(["new-plugin", name]) == 2
    assert "already" in name_error(name) or "word of Python" in name_error(name)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_an_existing_folder_or_file_is_left_alone(folder: Path, make, capsys):
    make(folder / "mine")
    assert invoke(["new-plugin", "mine"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == "mine: already exists; choose another name [RK503]"
    assert [path.name for path in folder.rglob("*")] == ["mine"]


def test_an_unknown_kind_is_refused(capsys):
    assert invoke(["new-plugin", "mine", "--kind", "retreiver"]) == 2
    assert "unknown kind 'retreiver'. Did you mean 'retriever'?" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(folder: Path, capsys, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", "mine")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert invoke(["new-plugin", "mine"]) == 1
    assert capsys.readouterr().err == "mine: cannot be written (Permission denied) [RK502]\n"
