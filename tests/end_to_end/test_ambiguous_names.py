"""Names that YAML 1.1 reads as truth values are names in every file of a run."""

import json
from pathlib import Path

import pytest

from recipekit.cli.main import invoke

RECIPE = """\
recipe: 1
name: off
collect:
  sources:
    no: {use: pairs, file: pairs.jsonl}
    "null": {use: pairs, file: more.jsonl}
  split: {dev: 0.0, test: 0.3}
mine:
  retrievers:
    on: {use: bm25, depth: 3, stop_words: none}
    y: {use: bm25, depth: 3, stop_words: none}
  fusion: rrf
  fusion_weights: {on: 1, y: 2}
judge:
  judges:
    yes: {use: labels, file: labels.csv, max_unknown_ids: 1}
    "false": {use: labels, file: labels.csv, max_unknown_ids: 1, previous_verdicts: [negative]}
export:
  exporters:
    "true": {use: dataset}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_sources_retrievers_judges_and_exporters_can_be_named_no_on_and_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    for name, words in (("pairs", ("salt", "snow", "fire")), ("more", ("rain", "wind", "sand"))):
        rows = [{"query": f"what is {word}", "positive": f"about {word}"} for word in words]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("labels.csv").write_text("query_id,passage_id,verdict\nx,y,negative\n")

    assert invoke(["run", "recipe.yaml"]) == 0
    run = Path("runs/off/latest")
    report = (run / "report.md").read_text()
    for name in ("no", "null", "on", "y", "yes", "false"):
        assert f"`{name}`" in report
    assert (run / "stages/export/true/README.md").is_file()
    capsys.readouterr()
    assert invoke(["report", str(run)]) == 0
    assert "off" in capsys.readouterr().out
    assert invoke(["validate", str(run / "recipe.resolved.yaml")]) == 0
