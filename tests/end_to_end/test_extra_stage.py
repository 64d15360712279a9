"""Adding a stage takes a declaration and one entry in `PIPELINE`."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from helpers.small_run import Cli, call_cli
from recipekit.tables import read_table

pytestmark = pytest.mark.slow

EXTRA = Path(__file__).parents[1] / "extra_stage"
RECIPE = """\
recipe: 1
name: extra
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl}
generate: {words: 3}
mine:
  retrievers:
    lexical: {use: bm25, depth: 5}
export:
  exporters:
    data: {use: dataset}
"""


@pytest.fixture
def extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line, in processes whose pipeline has the extra stage."""
    (folder / "extra.yaml").write_text(RECIPE)
    path = os.pathsep.join(filter(None, (str(EXTRA), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    return partial(call_cli, folder)


def test_an_added_stage_is_validated_planned_run_and_reported(folder: Path, extra):
    assert "valid" in extra("validate", "extra.yaml").stdout
    wrong = extra("validate", "extra.yaml", "--set", "generate.wrds=2", status=2)
    assert "generate.wrds: unknown key. Did you mean 'words'?" in wrong.stderr
    assert "How many words of its passage" in extra("keys", "generate").stdout

    names = [stage["stage"] for stage in json.loads(extra("plan", "extra.yaml", "--json").stdout)]
    assert names == ["collect", "generate", "mine", "export"]

    first = extra("run", "extra.yaml", "--until", "generate")
    assert "generate: finished" in first.stderr and "mine" not in first.stderr
    second = extra("run", "extra.yaml")
    assert "generate: cached" in second.stderr and "mine: finished" in second.stderr

    run = folder / "runs/extra/latest"
    assert "Generated 80 queries." in (run / "report.md").read_text()
    # Mining sees the queries of both stages, without knowing of the second one.
    candidates = read_table(run / "stages/mine/candidates.arrow")
    collected = read_table(run / "stages/collect/queries.arrow").num_rows
    assert candidates["query"].to_pylist()[-1] == collected + 80 - 1

    changed = extra("plan", "extra.yaml", "--json", "--set", "generate.words=2").stdout
    planned = {stage["stage"]: stage for stage in json.loads(changed)}
    assert planned["collect"]["state"] == "hit"
    assert planned["generate"]["reasons"] == ["words: 3 → 2"]
    assert planned["mine"]["reasons"] == ["generate changed"]


def test_without_the_stage_its_section_is_unknown(folder: Path, cli):
    (folder / "extra.yaml").write_text(RECIPE)
    assert "generate: unknown key" in cli("validate", "extra.yaml", status=2).stderr
