"""The artifact store builds artifacts atomically, one process at a time, and keeps what is used."""

import multiprocessing
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.store import Store
from recipekit.errors import StoreError


def build(text: str, **inputs: str):
    def write(folder: Path) -> dict[str, object]:
        (folder / "data.txt").write_text(text)
        return manifest(stage="collect", key="k", identity={}, inputs=inputs, summary={"texts": 1})

    return write


def test_an_artifact_is_built_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.make("collect", "k", build("one"))
    again = store.make("collect", "k", build("two"))
    assert first.path == again.path
    assert (again.path / "data.txt").read_text() == "one"
    assert again.manifest["summary"] == {"texts": 1}


def test_force_replaces_an_artifact_once_the_new_one_is_complete(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make("collect", "k", build("one"))

    def fails(folder: Path) -> dict[str, object]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.make("collect", "k", fails, force=True)
    assert (store.cache / "collect" / "k" / "data.txt").read_text() == "one"
    store.make("collect", "k", build("two"), force=True)
    assert (store.cache / "collect" / "k" / "data.txt").read_text() == "two"
    assert not list(store.cache.glob("*/*.partial"))


def test_a_failed_attempt_keeps_its_work_for_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def half(folder: Path) -> dict[str, object]:
        (folder / "half.txt").write_text("paid for")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.make("judge", "k", half)
    assert store.find("judge", "k") is None

    def rest(folder: Path) -> dict[str, object]:
        assert (folder / "half.txt").read_text() == "paid for"
        return manifest(stage="judge", key="k", identity={}, inputs={}, summary={})

    store.make("judge", "k", rest)
    assert store.find("judge", "k") is not None


def test_a_killed_build_leaves_no_artifact(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from recipekit.artifacts.store import Store
        def build(folder):
            (folder / "data.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        Store(Path(sys.argv[1])).make("collect", "k", build)
        """
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert store.find("collect", "k") is None
    assert list(store.all()) == []
    store.make("collect", "k", build("whole"))
    assert (store.cache / "collect" / "k" / "data.txt").read_text() == "whole"


COMMIT = """
import os, shutil, signal, sys
from pathlib import Path
from recipekit.artifacts import store
from recipekit.artifacts.store import Store
owner, name, call = sys.argv[2:]
owner = {"store": store, "shutil": shutil, "Path": Path}[owner]
function, calls = getattr(owner, name), 0
def killed(*arguments, **options):
    global calls
    calls += 1
    if calls == int(call):
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*arguments, **options)
def build(folder):
    (folder / "scratch").mkdir(exist_ok=True)
    (folder / "scratch" / "checkpoint").touch()
    (folder / "data.txt").write_text("whole")
    setattr(owner, name, killed)
    return {"stage": "train"}
Store(Path(sys.argv[1])).make("train", "k", build)
"""
"""Builds an artifact and is killed at one call of a function during its commit."""


@pytest.mark.parametrize(
    ("killed_at", "is_built_again"),
    [
        pytest.param(["store", "flush", "1"], True, id="before-the-data-is-flushed"),
        pytest.param(["store", "write_json", "1"], True, id="before-the-manifest"),
        pytest.param(["store", "flush", "2"], False, id="before-the-manifest-is-flushed"),
        pytest.param(["shutil", "rmtree", "1"], False, id="before-scratch-is-removed"),
        pytest.param(["Path", "rename", "1"], False, id="before-the-rename"),
        pytest.param(["store", "flush", "4"], False, id="after-the-rename"),
    ],
)
@pytest.mark.parametrize("replaces", [False, True], ids=["", "replaces"])
def test_a_commit_that_is_killed_loses_no_work(
    killed_at: list[str], is_built_again: bool, replaces: bool, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    if replaces:  # what is left of an artifact whose manifest was damaged
        (store.cache / "train" / "k").mkdir(parents=True)
    killed = subprocess.run([sys.executable, "-c", COMMIT, str(tmp_path), *killed_at], check=False)
    assert killed.returncode == -signal.SIGKILL

    def again(folder: Path) -> dict[str, object]:
        assert (folder / "scratch" / "checkpoint").exists(), "the work is still there"
        built.append(folder)
        return {"stage": "train"}

    built: list[Path] = []
    artifact = store.make("train", "k", again)
    assert (artifact.path / "data.txt").read_text() == "whole"
    assert bool(built) == is_built_again
    assert sorted(path.name for path in artifact.path.parent.iterdir()) == ["k", "k.lock"]
    assert sorted(path.name for path in artifact.path.iterdir()) == ["data.txt", "manifest.json"]


def _make_slowly(root: str, started, name: str, queue) -> None:
    def write(folder: Path) -> dict[str, object]:
        started.set()
        queue.put(name)
        (folder / "data.txt").write_text(name)
        return manifest(stage="collect", key="k", identity={}, inputs={}, summary={})

    Store(Path(root)).make("collect", "k", write)


def test_two_builders_take_turns_and_the_second_reuses_the_artifact(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    queue, started = context.Queue(), context.Event()
    makers = [
        context.Process(target=_make_slowly, args=(str(tmp_path), started, name, queue))
        for name in "ab"
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(timeout=60)
        assert maker.exitcode == 0
    built = queue.get(timeout=10)
    assert queue.empty()
    assert (tmp_path / "cache" / "collect" / "k" / "data.txt").read_text() == built


def test_artifacts_of_a_run_are_found_through_inputs_and_by_products(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make("collect", "c", build("texts"))
    store.make(
        "mine",
        "m",
        lambda folder: manifest(
            stage="mine",
            key="m",
            identity={},
            inputs={"collect": "c"},
            summary={},
            by_products=[("bm25", "b")],
        ),
    )
    store.make(
        "bm25",
        "b",
        lambda folder: manifest(
            stage="bm25", key="b", identity={}, inputs={"collect": "c"}, summary={}
        ),
    )
    store.make("mine", "other", build("free"))
    assert store.reachable({("mine", "m")}) == {("mine", "m"), ("collect", "c"), ("bm25", "b")}


@pytest.mark.parametrize("left", ["", '{"format": 1, "st', "[]"])
def test_an_artifact_with_a_damaged_manifest_is_built_again(tmp_path: Path, left: str) -> None:
    store = Store(tmp_path)
    made = store.make("collect", "k", build("one"))
    (made.path / "manifest.json").write_text(left)
    assert store.find("collect", "k") is None
    assert list(store.all()) == []
    assert (store.make("collect", "k", build("two")).path / "data.txt").read_text() == "two"


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_place_of_a_folder_is_reported(tmp_path: Path, below: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        StoreError,
        match=r"notes.txt: is a file, not a folder; "
        r"choose another folder with --cache or --runs",
    ):
        Store(tmp_path / "notes.txt" / below).make("collect", "k", build("one"))


def test_a_file_that_is_missing_during_a_build_is_not_an_error_of_the_cache(
    tmp_path: Path,
) -> None:
    with pytest.raises(FileNotFoundError):
        Store(tmp_path).make(
            "collect", "k", lambda folder: {"text": (tmp_path / "gone.txt").read_text()}
        )
