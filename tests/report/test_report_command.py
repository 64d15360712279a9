"""`recipekit report`."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from recipekit.cli.report import report
from recipekit.errors import StoreError
from recipekit.pipeline.find_run import find_run


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(report)
    return app


def test_a_run_is_named_by_its_folder_or_its_recipe(
    write_run: Callable[..., Path], app: typer.Typer
):
    run = write_run()
    runs = run.parent.parent
    by_folder = CliRunner().invoke(app, [str(run)])
    assert by_folder.exit_code == 0
    assert by_folder.output.startswith("# tiny\n")
    assert (run / "report.md").read_text() == by_folder.output
    (run / "report.md").write_text("as it was written\n")
    assert CliRunner().invoke(app, ["tiny", "--runs", str(runs)]).output == "as it was written\n"


def test_open_shows_the_page_in_a_browser_and_writes_it_if_it_is_missing(
    write_run: Callable[..., Path], app: typer.Typer, monkeypatch: pytest.MonkeyPatch
):
    run = write_run()
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url)) or len(opened) < 2)
    found = CliRunner().invoke(app, [str(run), "--open"])
    assert found.output == f"report: {run / 'report.html'}\n"
    assert opened == [(run / "report.html").as_uri()]
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    no_browser = CliRunner().invoke(app, [str(run), "--open"])
    assert no_browser.exit_code == 0
    assert "No web browser was found; open the file in one." in no_browser.output
    both = CliRunner().invoke(app, [str(run), "--open", "--json"])
    assert both.exit_code == 2
    assert "excludes --json" in both.output


def test_an_unknown_run_lists_the_known_ones_or_suggests_one(
    write_run: Callable[..., Path], tmp_path: Path
):
    runs = write_run().parent.parent
    with pytest.raises(StoreError, match=r"no run 'tinny'.*Did you mean 'tiny'\?"):
        find_run("tinny", runs)
    with pytest.raises(StoreError, match="No recipe has been run yet"):
        find_run("tiny", tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="no run"):
        find_run("x" * 300, runs)


def test_a_recipe_file_names_its_latest_run(write_run: Callable[..., Path], tmp_path: Path):
    run = write_run()
    (tmp_path / "recipe.yaml").write_text(f"recipe: 1\nname: {run.parent.name}\n")
    found = find_run(str(tmp_path / "recipe.yaml"), run.parent.parent)
    assert found == run.parent / "latest"


def test_another_file_is_not_a_run(write_run: Callable[..., Path], tmp_path: Path):
    runs = write_run().parent.parent
    (tmp_path / "notes.txt").write_text("recipe: 1")
    with pytest.raises(
        StoreError,
        match=r"it is a file; give the name of the recipe, or the folder of a run\. There are runs",
    ):
        find_run(str(tmp_path / "notes.txt"), runs)


def test_a_removed_latest_run_names_the_newest_remaining_one(write_run: Callable[..., Path]):
    run = write_run()
    (run.parent / "latest").unlink()
    (run.parent / "latest").symlink_to("gone")
    with pytest.raises(
        StoreError,
        match=rf"latest points to a run that no longer exists\. The newest run is {run}\.",
    ):
        find_run("tiny", run.parent.parent)


@pytest.mark.parametrize(
    ("file", "option"),
    [
        ("run.json", "with the same recipe"),
        ("recipe.resolved.yaml", "with the same recipe"),
        ("stages/collect/manifest.json", "with `--from collect`"),
        ("stages/collect/passages.arrow", "with `--from collect`"),
        ("stages/collect/labels.arrow", "with `--from collect`"),
        ("stages/mine/candidates.arrow", "with `--from mine`"),
        ("stages/judge/judgments.arrow", "with `--from judge`"),
        ("stages/judge/reliability.json", "with `--from judge`"),
        ("stages/train/training.json", "with `--from train`"),
        ("stages/evaluate/metrics.json", "with `--from evaluate`"),
    ],
)
@pytest.mark.parametrize("content", [b'{"name": "ti', b"\xff\xfe", b"3"])
def test_a_damaged_file_is_one_clear_line(
    write_run: Callable[..., Path], file: str, option: str, content: bytes
):
    run = write_run()
    (run / file).write_bytes(content)
    with pytest.raises(
        StoreError, match=rf"{file}: damaged; `recipekit run` {option} makes it again"
    ):
        report(str(run))


def test_damaged_lines_of_the_log_are_skipped(write_run: Callable[..., Path], app: typer.Typer):
    run = write_run()
    with (run / "log.jsonl").open("ab") as log:
        log.write(b'{"event": "kept_untrained", \xff\n')
    assert CliRunner().invoke(app, [str(run)]).exit_code == 0


def test_a_report_that_cannot_be_written_is_printed(
    write_run: Callable[..., Path], app: typer.Typer
):
    run = write_run()
    (run / ".report.md.tmp").mkdir()
    found = CliRunner().invoke(app, [str(run)])
    assert found.exit_code == 0
    assert found.output.startswith("# tiny\n")
