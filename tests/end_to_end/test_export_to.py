"""`run --export-to DIR`: plain files in a folder of the user's choice."""

import json
import os
import stat
from pathlib import Path

import pytest

from helpers.in_process import call_in_process
from recipekit.artifacts.store import Store
from recipekit.errors import StoreError
from recipekit.pipeline.export_folder import ExportFolder

DATA_ONLY = """\
recipe: 1
name: data
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}, split: {dev: 0, test: 0}}
mine: {retrievers: {lexical: {use: bm25, depth: 4}}, candidates_per_query: 3}
export: {exporters: {data: {use: dataset}}}
"""


@pytest.fixture
def data_recipe(tmp_path: Path) -> Path:
    """A folder with a recipe that exports its data and trains nothing."""
    lines = [json.dumps({"query": f"q {i}", "positive": f"passage {i}"}) for i in range(6)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    (tmp_path / "recipe.yaml").write_text(DATA_ONLY)
    return tmp_path


def listing(folder: Path) -> list[str]:
    """Every file below a folder, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_exports_are_plain_files_that_others_load(finished_copy: Path) -> None:
    from sentence_transformers import SentenceTransformer

    ended = call_in_process(finished_copy, "run", "recipe.yaml", "--export-to", "out/here")
    assert "model: out/here/model" in ended.stdout.splitlines()
    assert "stages/export" not in ended.stdout
    report = (finished_copy / "runs/tiny/latest/report.md").read_text()
    assert f"and copied the exports to `{finished_copy / 'out' / 'here'}`" in report
    out = finished_copy / "out" / "here"
    assert "exported data, model to out/here" in ended.stderr
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert not (out / "manifest.json").exists()
    exported = finished_copy / "runs/tiny/latest/stages/export"
    expected = {".recipekit-export", *listing(exported)} - {"manifest.json"}
    assert set(listing(out)) == expected
    (finished_copy / ".recipekit").rename(finished_copy / "gone")
    model = SentenceTransformer(str(out / "model"), device="cpu")
    assert model.encode(["river"]).shape == (1, 32)


@pytest.mark.slow
def test_a_second_export_replaces_the_first_and_keeps_other_files(data_recipe: Path) -> None:
    out = data_recipe / "out"
    call_in_process(data_recipe, "run", "recipe.yaml", "--export-to", "out")
    (out / "notes.txt").write_text("mine")
    (out / "data" / "own.txt").write_text("mine")
    call_in_process(data_recipe, "run", "recipe.yaml", "--export-to", "out", "--set",
             "export.exporters={other: {use: dataset}}")  # fmt: skip
    assert (out / "other" / "corpus.jsonl").is_file()
    assert listing(out / "data") == ["own.txt"]
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_folder_with_other_files_is_refused_before_anything_runs(data_recipe: Path) -> None:
    (data_recipe / "out").mkdir()
    (data_recipe / "out" / "thesis.txt").write_text("mine")
    ended = call_in_process(data_recipe, "run", "recipe.yaml", "--export-to", "out", status=2)
    assert ended.stderr == (
        "--export-to out: the folder has files that recipekit did not export; choose a new or an "
        "empty folder [RK506]\n"
    )
    assert not (data_recipe / "runs").exists()
    ended = call_in_process(
        data_recipe, "run", "recipe.yaml", "--export-to", "recipe.yaml", status=2
    )
    assert ended.stderr == "--export-to recipe.yaml: is not a folder; choose a folder [RK507]\n"
    options = ("--export-to", "new", "--until", "mine")
    ended = call_in_process(data_recipe, "run", "recipe.yaml", *options, status=2)
    assert ended.stderr.startswith("--export-to: this run exports nothing")


def test_a_file_in_the_way_of_an_export_is_never_replaced(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / ".recipekit"), ExportFolder(tmp_path / "out")

    def build(partial: Path) -> dict[str, str]:
        (partial / "data").mkdir()
        (partial / "data" / "new.txt").write_text("exported")
        return {}

    folder.write(store.make("export", "empty", lambda partial: {}))
    (tmp_path / "out" / "data").mkdir()
    (tmp_path / "out" / "data" / "new.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"data/new.txt exists and recipekit did not export it"):
        folder.write(store.make("export", "full", build))
    assert (tmp_path / "out" / "data" / "new.txt").read_text() == "mine"


def test_a_record_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    record = tmp_path / "out" / ".recipekit-export"
    record.write_text(json.dumps({"files": ["../precious.txt"]}))
    with pytest.raises(StoreError, match="damaged"):
        ExportFolder(tmp_path / "out").check()


@pytest.mark.slow
def test_all_files_of_a_run_follow_the_umask(folder: Path) -> None:
    umask = 0o027
    before = os.umask(umask)
    try:
        call_in_process(folder, "run", "recipe.yaml", "--export-to", "out")
    finally:
        os.umask(before)
    for root in (".recipekit", "runs", "out"):
        for path in (folder / root).rglob("*"):
            if not path.is_symlink():
                new = 0o777 if path.is_dir() else 0o666
                assert stat.S_IMODE(path.stat().st_mode) == new & ~umask, path
