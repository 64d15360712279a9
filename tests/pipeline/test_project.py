"""Where the artifacts and runs of a recipe are kept."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.in_process import call_in_process
from recipekit.artifacts.store import Store
from recipekit.pipeline.garbage import collect_garbage
from recipekit.pipeline.plan import plan
from recipekit.pipeline.project import Project, find_project, project_of, project_of_file
from recipekit.stages.recipe import load_recipe

RECIPE = """\
recipe: 1
name: planned
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}, split: {dev: 0, test: 0}}
mine: {retrievers: {lexical: {use: bm25, depth: 40}}, candidates_per_query: 30}
judge: {judges: {model: {use: llm, model: openai/gpt-5-nano, api_base: "http://127.0.0.1:9"}}}
"""


@pytest.fixture(autouse=True)
def _no_folders_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECIPEKIT_CACHE", raising=False)
    monkeypatch.delenv("RECIPEKIT_RUNS", raising=False)


@pytest.fixture
def recipe_folder(tmp_path: Path) -> Path:
    """`tmp_path/project/recipes`, with a recipe and its data."""
    folder = tmp_path / "project" / "recipes"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "pairs.jsonl").write_text(
        '{"query": "a river", "positive": "the long river"}\n'
        '{"query": "a lake", "positive": "the deep lake"}\n'
    )
    return folder


@pytest.mark.parametrize("marker", [".recipekit", "pyproject.toml", ".git", ".git file"])
def test_a_project_is_the_nearest_folder_with_a_marker(recipe_folder: Path, marker: str) -> None:
    project = recipe_folder.parent
    if marker in (".recipekit", ".git"):
        (project / marker).mkdir()
    else:
        (project / marker.removesuffix(" file")).write_text("")
    found = project_of_file(recipe_folder / "recipe.yaml")
    assert found == Project(project / ".recipekit", project / "runs")


def test_the_nearest_of_several_markers_counts(recipe_folder: Path) -> None:
    (recipe_folder.parent / ".git").mkdir()
    (recipe_folder / "pyproject.toml").write_text("")
    assert project_of_file(recipe_folder / "recipe.yaml").cache == recipe_folder / ".recipekit"


def test_without_a_marker_the_recipes_folder_is_the_project(recipe_folder: Path) -> None:
    found = project_of_file(recipe_folder / "recipe.yaml")
    assert found == Project(recipe_folder / ".recipekit", recipe_folder / "runs")


def test_a_file_called_recipekit_is_no_marker(recipe_folder: Path) -> None:
    (recipe_folder.parent / ".recipekit").write_text("")
    assert project_of_file(recipe_folder / "recipe.yaml").runs == recipe_folder / "runs"


def test_a_home_under_version_control_is_not_the_project_of_its_folders(
    recipe_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = recipe_folder.parent
    (home / ".git").mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert find_project(recipe_folder).runs == recipe_folder / "runs"
    assert find_project(home).runs == home / "runs"


def test_a_folder_of_everyone_is_not_the_project_of_its_folders(recipe_folder: Path) -> None:
    (recipe_folder.parent / ".git").mkdir()
    recipe_folder.parent.chmod(0o1777)
    assert find_project(recipe_folder).runs == recipe_folder / "runs"


def test_folders_inside_the_current_one_are_relative(
    recipe_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe_folder)
    assert project_of_file("recipe.yaml") == Project(Path(".recipekit"), Path("runs"))
    assert find_project() == Project(Path(".recipekit"), Path("runs"))


def test_a_shipped_recipe_belongs_to_the_project_of_the_current_folder(
    recipe_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recipe_folder.parent / ".git").mkdir()
    monkeypatch.chdir(recipe_folder)
    expected = recipe_folder.parent / ".recipekit"
    assert project_of_file("quickstart").cache == expected
    assert project_of(load_recipe("quickstart")).cache == expected


def test_options_come_before_variables_and_variables_before_the_project(
    recipe_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECIPEKIT_CACHE", "~/kept")
    monkeypatch.setenv("RECIPEKIT_RUNS", "")
    found = find_project(recipe_folder)
    assert found == Project(Path("~/kept").expanduser(), recipe_folder / "runs")
    assert find_project(recipe_folder, cache="own", runs="r") == Project(Path("own"), Path("r"))


@pytest.mark.slow
def test_every_command_finds_the_same_folders_from_anywhere(
    recipe_folder: Path, tmp_path: Path
) -> None:
    (recipe_folder.parent / "pyproject.toml").write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    until = ("--until", "mine")
    call_in_process(recipe_folder, "run", "recipe.yaml", *until)
    path = str(recipe_folder / "recipe.yaml")
    again = call_in_process(elsewhere, "run", path, *until)
    assert "collect: cached" in again.stderr
    assert "mine: cached" in again.stderr
    planned = call_in_process(elsewhere, "plan", path).stdout
    assert planned.count("cached") >= 2
    assert str(recipe_folder.parent / ".recipekit") in planned
    assert sorted(os.listdir(recipe_folder)) == ["pairs.jsonl", "recipe.yaml"]
    assert os.listdir(elsewhere) == []
    assert "needed" in call_in_process(recipe_folder, "cache", "ls").stdout
    assert "mine" in call_in_process(elsewhere, "cache", "ls", "--recipe", path).stdout
    assert "# planned" in call_in_process(recipe_folder, "report", "planned").stdout
    labels = elsewhere / "sample.csv"
    call_in_process(elsewhere, "judge", "sample", path, "--n", "1", "-o", "sample.csv")
    assert labels.is_file()
    assert len(os.listdir(recipe_folder.parent / "runs" / "planned")) == 3  # with `latest`


@pytest.mark.slow
def test_variables_move_the_folders_of_every_command(recipe_folder: Path, tmp_path: Path) -> None:
    folders = {"RECIPEKIT_CACHE": str(tmp_path / "kept"), "RECIPEKIT_RUNS": str(tmp_path / "done")}
    call_in_process(recipe_folder, "run", "recipe.yaml", "--until", "collect", **folders)
    assert "cached" in call_in_process(recipe_folder, "plan", "recipe.yaml", **folders).stdout
    assert "collect" in call_in_process(tmp_path, "cache", "ls", **folders).stdout
    assert "# planned" in call_in_process(tmp_path, "report", "planned", **folders).stdout
    assert sorted(os.listdir(recipe_folder)) == ["pairs.jsonl", "recipe.yaml"]


def files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file and folder below one, with the time of its last change."""
    for path in sorted(folder.rglob("*")):
        yield path, path.lstat().st_mtime_ns


@pytest.mark.slow
def test_a_plan_writes_nothing(recipe_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recipe_folder / "own.py").write_text(
        "from recipekit.retrievers.bm25 import Bm25Spec\n\n\n"
        'class Own(Bm25Spec):\n    """Like bm25."""\n'
    )
    monkeypatch.chdir(recipe_folder)
    before = list(files(recipe_folder))
    call_in_process(recipe_folder, "plan", "recipe.yaml")
    local = ("--set", "mine.retrievers.lexical.use=./own.py:Own", "--allow-local-code")
    call_in_process(recipe_folder, "plan", "recipe.yaml", *local)
    plan(load_recipe("recipe.yaml"))
    assert list(files(recipe_folder)) == before

    call_in_process(recipe_folder, "run", "recipe.yaml", "--until", "mine")
    (recipe_folder / "pairs.jsonl").write_text('{"query": "new", "positive": "text"}\n')
    before = list(files(recipe_folder))
    assert "will run" in call_in_process(recipe_folder, "plan", "recipe.yaml").stdout
    assert list(files(recipe_folder)) == before


def test_garbage_in_a_shared_cache_is_what_no_project_needs(tmp_path: Path) -> None:
    store = Store(tmp_path / "shared")
    for project in ("one", "two"):
        artifact = store.make("collect", project, lambda folder: {"stage": "collect"})
        stages = tmp_path / project / "runs" / "recipe" / "run" / "stages"
        stages.mkdir(parents=True)
        (stages / "collect").symlink_to(artifact.path)
        store.add_runs_folder(tmp_path / project / "runs")
    store.make("collect", "free", lambda folder: {"stage": "collect"})
    removed = [path.name for path, _ in collect_garbage(store, tmp_path / "one" / "runs")]
    assert removed == ["free"]
    assert {artifact.key for artifact in store.all()} == {"one", "two"}
