"""The example plugin works when it is installed as a wheel into a separate folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.installed import is_installed

pytestmark = pytest.mark.slow
PLUGIN = Path(__file__).parents[2] / "plugins" / "recipekit-example"

PROGRAM = """
import json, sys
from pathlib import Path
from recipekit.component import PairBatch, QueryBatch
from recipekit.dataset import Dataset
from recipekit.registry import find, load, resolve
from recipekit.testing import check_judge, check_retriever, context
import numpy as np

work = Path(sys.argv[1])
names = {
    kind: [(entry.name, entry.distribution) for entry in find(kind)]
    for kind in ("retriever", "judge")
}
unloaded = "recipekit_example" not in sys.modules
retriever = load(resolve("retriever", "char_ngrams"))()
judge = load(resolve("judge", "recipekit-example/overlap"))()
context = context(work / "scratch", dataset=Dataset(work / "dataset", "test-dataset"))

hits = retriever.build(context).search(QueryBatch(np.array([0]), ["montain vallley"]), 3)
passage = hits.rows[0].astype(np.int32)
flags = np.zeros(3, bool)
batch = PairBatch(np.zeros(3, np.int32), passage, flags, np.full(3, -1, np.int8), ~flags)
[verdicts] = judge.build(context).judge([batch])
check_retriever(retriever, context)
check_judge(judge, context)
found = context.dataset.passages.texts(hits.rows[0])
result = {"names": names, "unloaded": unloaded, "found": found}
print(json.dumps({**result, "verdicts": verdicts.verdict.tolist()}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    if not (is_installed("pip") and is_installed("hatchling")):
        pytest.skip(
            "pip and hatchling, which build the plugin, are not installed "
            "(the dev extra brings hatchling)"
        )
    target = tmp_path_factory.mktemp("site")
    options = [
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--no-cache-dir",
    ]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(PLUGIN)],
        check=True,
    )
    return target


def run(installed: Path, program: str, *arguments: str) -> str:
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_plugin_is_found_retrieves_and_judges(installed, tiny_dataset, tmp_path):
    result = json.loads(run(installed, PROGRAM, str(tmp_path)))
    assert ["char_ngrams", "recipekit-example"] in result["names"]["retriever"]
    assert ["bm25", "recipekit"] in result["names"]["retriever"]
    assert ["overlap", "recipekit-example"] in result["names"]["judge"]
    assert result["unloaded"], "finding a plugin does not import it"
    assert all("mountain" in text or "valley" in text for text in result["found"]), (
        "in spite of two typing errors"
    )
    query = set(tiny_dataset.queries.texts([0])[0].split())
    assert result["verdicts"] == [
        2 if query & set(text.split()) else 0 for text in result["found"]
    ], "half of q0's two words are enough"


def test_recipekit_does_not_contain_the_example_plugin():
    from recipekit.registry import find

    assert "char_ngrams" not in {entry.name for entry in find("retriever")}
