"""`recipekit judge try` and `recipekit judge sample` on a small recipe that is mined once."""

import csv
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.in_process import call_in_process
from recipekit.cli.main import invoke
from recipekit.component import PairBatch
from recipekit.dataset import Dataset
from recipekit.human_labels import weights_file
from recipekit.human_labels.label_file import read_labels
from recipekit.judges.labels import LabelsSpec
from recipekit.records import Verdict
from recipekit.testing import context

RUN = ("run", "recipe.yaml", "--until", "judge", "--cpu")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]
RECIPE = """\
recipe: 1
name: tiny
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl}
  split: {dev: 0.1, test: 0.1}
mine:
  retrievers:
    lexical: {use: bm25, depth: 12}
  candidates_per_query: 10
judge:
  control_pairs: {share: 0.9}
  judges:
    overlap: {use: "./overlap.py:Overlap"}
    strict: {use: "./overlap.py:Overlap", words: 3, previous_verdicts: [positive]}
"""

JUDGE = '''
import numpy as np
from typing import ClassVar
from recipekit.component import JudgeSpec, Verdicts


class Overlap(JudgeSpec):
    """A passage that shares words with the query is relevant; each verdict costs a cent."""

    measured: ClassVar[bool] = True
    words: int = 2
    """How many."""

    def build(self, context):
        return Counting(self, context.dataset)


class Counting:
    figures: ClassVar[dict] = {}

    def __init__(self, spec, dataset):
        self.spec, self.dataset, self.counts = spec, dataset, {"calls": 0, "usd": 0.0}

    def judge(self, batches):
        for batch in batches:
            query, passage = batch.query[batch.wanted], batch.passage[batch.wanted]
            queries = self.dataset.queries.texts(query)
            passages = self.dataset.passages.texts(passage)
            words = [(set(q.split()), set(p.split())) for q, p in zip(queries, passages)]
            shared = np.array([len(left & right) for left, right in words])
            self.counts["calls"] += len(query)
            self.counts["usd"] += 0.01 * len(query)
            yield Verdicts(
                query,
                passage,
                (shared >= self.spec.words).astype(np.int8),
                grade=shared.astype(np.float32),
                reason=[f"{n} words are \\x1b[31mshared" for n in shared],
            )
'''


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipe, its data, and the candidates in the cache."""
    folder = tmp_path_factory.mktemp("recipe")
    draw = random.Random(5)
    vocabulary = [f"word{number}" for number in range(30)]
    with (folder / "pairs.jsonl").open("w") as file:
        for number in range(60):
            chosen = draw.sample(vocabulary, 6)
            text = ("=" if number % 7 == 0 else "") + " ".join(chosen)
            file.write(json.dumps({"query": " ".join(chosen[:3]), "positive": text}) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "overlap.py").write_text(JUDGE)
    call_in_process(folder, "run", "recipe.yaml", "--until", "mine", "--cpu", "--allow-local-code")
    return folder


@pytest.fixture(scope="module")
def judged_once(mined: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged") / "recipe"
    shutil.copytree(mined, folder, symlinks=True)
    call_in_process(folder, *RUN, "--allow-local-code")
    return folder


@pytest.fixture
def judged(judged_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder with judgments in the cache."""
    own = tmp_path / "recipe"
    shutil.copytree(judged_once, own, symlinks=True)
    monkeypatch.chdir(own)
    return own


@pytest.fixture
def folder(mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own = tmp_path / "recipe"
    shutil.copytree(mined, own, symlinks=True)
    monkeypatch.chdir(own)
    return own


def output_of(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert invoke([*words, "--allow-local-code"]) == status
    captured = capsys.readouterr()
    return captured.err if status else captured.out


def test_try_shows_pairs_with_verdict_reason_and_cost(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = output_of(capsys, "judge", "try", "recipe.yaml", "--n", "7")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if line[:1].isdigit() and ". " in line] == [
        f"{number}." for number in range(1, 8)
    ]
    assert sum("words are  [31mshared" in line for line in lines) == 7, (
        "no control character reaches the terminal"
    )
    assert "\x1b" not in out
    first = lines[lines.index("") - 2]
    assert any(word in first for word in ("POSITIVE (grade", "NEGATIVE (grade")) and first.endswith(
        ("by overlap", "by strict")
    )
    assert any(line.startswith("7 of ") and line.endswith("of 3 of the queries") for line in lines)
    assert any(line.startswith("  overlap: judged ") for line in lines)
    assert any(" calls for $" in line and "the replies are kept" in line for line in lines)
    assert any(
        line.startswith("at this rate, all ") and "candidates would cost about $" in line
        for line in lines
    )
    assert output_of(capsys, "judge", "try", "recipe.yaml", "--n", "7") == out, (
        "the seed decides which queries are tried"
    )


def test_try_of_one_judge_ignores_its_conditions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = output_of(capsys, "judge", "try", "recipe.yaml", "--n", "12", "--judge", "strict")
    assert " by overlap" not in out
    assert out.count(" by strict") == 12
    assert "  overlap:" not in out
    assert (
        "the replies are kept, but a run groups the pairs of strict differently and pays for those "
        "calls" in out
    )
    first = output_of(capsys, "judge", "try", "recipe.yaml", "--n", "12", "--judge", "overlap")
    assert "the replies are kept\n" in first, "the first judge gets the same groups in a run"


def test_a_short_trial_shows_several_queries_and_a_likely_positive(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = output_of(capsys, "judge", "try", "recipe.yaml", "--n", "3")
    queries = [
        line.partition(". ")[2] for line in out.splitlines() if line[:2] in ("1.", "2.", "3.")
    ]
    assert len(set(queries)) == 3
    assert "(a source positive, unmarked for the judge)" in out


def test_try_marks_source_positives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = output_of(capsys, "judge", "try", "recipe.yaml", "--n", "400")
    assert out.count("(a source positive, unmarked for the judge)") > 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["judge", "try", "recipe.yaml", "--set", "judge=null"],
            "this recipe has no judge section: there is nothing to try",
        ),
        (
            ["judge", "try", "recipe.yaml", "--judge", "strickt"],
            "--judge strickt: there is no such judge. Did you mean 'strict'?",
        ),
        (
            ["judge", "sample", "recipe.yaml", "--output", "sample.xlsx"],
            "--output sample.xlsx: a sample is written as .csv or .jsonl",
        ),
        (
            ["judge", "sample", "recipe.yaml", "--output", "no/sample.csv"],
            "no/sample.csv: cannot be written: there is no folder no",
        ),
        (
            ["judge", "sample", "recipe.yaml", "--output", "pairs.jsonl"],
            "pairs.jsonl: exists, and may contain labels; --force replaces it",
        ),
    ],
)
def test_mistakes_are_reported_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    before = (folder / "pairs.jsonl").read_text()
    status = 1 if "no/sample.csv" in words else 2  # a folder that is missing may appear later
    assert output_of(capsys, *words, status=status).strip().startswith(f"{message} [RK")
    assert (folder / "pairs.jsonl").read_text() == before


def test_a_trial_of_no_pairs_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Invalid value for '--n'" in output_of(
        capsys, "judge", "try", "recipe.yaml", "--n", "0", status=2
    )


@pytest.mark.parametrize("name", ["sample.csv", "sample.jsonl"])
def test_a_sample_is_filled_in_and_read_by_a_labels_judge(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = output_of(capsys, "judge", "sample", "recipe.yaml", "--n", "40", "--output", name)
    assert out == f"wrote 40 pairs to {name}; fill in the verdict: positive, negative or ignore\n"
    file = folder / name
    assert len(read_labels(file)) == 0, "no verdict is filled in yet"
    if file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert any(row["passage"].startswith("'=") for row in rows), "a formula is escaped"
    else:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert list(rows[0]) == ["query_id", "passage_id", "query", "passage", "verdict"]
    for row, verdict in zip(rows, ["positive", "negative", "Ignore"], strict=False):
        row["verdict"] = verdict
    if file.suffix == ".csv":
        with file.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.DictWriter(lines, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = read_labels(file)
    assert len(labels) == 3
    assert (labels.weight > 1).all(), "each represents more than one candidate"
    judge = LabelsSpec(file=file).build(context(folder / "scratch", dataset=dataset_of(folder)))
    [verdicts] = judge.judge([whole_batch(dataset_of(folder))])
    assert sorted(verdicts.verdict.tolist()) == [Verdict.NEGATIVE, Verdict.POSITIVE, Verdict.IGNORE]


def dataset_of(folder: Path) -> Dataset:
    [collected] = (folder / ".recipekit/cache/collect").glob("*/manifest.json")
    return Dataset(collected.parent, collected.parent.name)


def whole_batch(dataset: Dataset) -> PairBatch:
    """Every query with every passage."""
    query, passage = (
        grid.ravel().astype(np.int32)
        for grid in np.indices((len(dataset.queries), len(dataset.passages)))
    )
    no = np.zeros(len(query), dtype=np.bool_)
    return PairBatch(query, passage, no, np.full(len(query), Verdict.UNJUDGED, dtype=np.int8), ~no)


def test_a_sample_of_judged_pairs_has_every_verdict_and_hides_it(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output_of(capsys, "judge", "sample", "recipe.yaml", "--n", "30", "--output", "sample.jsonl")
    rows = [json.loads(line) for line in (judged / "sample.jsonl").read_text().splitlines()]
    shared = [
        len(set(row["query"].split()) & set(row["passage"].strip("=").split())) for row in rows
    ]
    relevant = sum(count >= 3 for count in shared)
    assert 0 < relevant and sum(count < 2 for count in shared) >= 10
    assert all(row["verdict"] == "" for row in rows)
    output_of(
        capsys, "judge", "sample", "recipe.yaml", "--n", "30", "--output", "sample.jsonl", "--force"
    )
    assert [json.loads(line) for line in (judged / "sample.jsonl").read_text().splitlines()] == rows
    out = output_of(capsys, "judge", "sample", "recipe.yaml", "--n", "5000", "--output", "all.csv")
    assert "(all unlabelled candidates that a judge can get)" in out
    limits = ("judge.judges.overlap.max_rank=2", "judge.judges.strict.max_rank=1")
    options = ["--n", "5000", "--output", "top.csv", "--set", limits[0], "--set", limits[1]]
    tried = output_of(capsys, "judge", "sample", "recipe.yaml", *options)
    assert count_of(tried) < count_of(out), "only candidates that a judge can get"


def count_of(out: str) -> int:
    """How many pairs were written."""
    return int(out.split()[1].replace(",", ""))


def weights(file: Path) -> list[float]:
    return [pair["weight"] for pair in json.loads(weights_file(file).read_text())["pairs"]]


def test_the_weights_of_a_sample_add_up_to_all_candidates(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = count_of(
        output_of(capsys, "judge", "sample", "recipe.yaml", "--n", "5000", "--output", "all.jsonl")
    )
    assert weights(judged / "all.jsonl") == [1.0] * everything
    output_of(capsys, "judge", "sample", "recipe.yaml", "--n", "40", "--output", "sample.jsonl")
    found = weights(judged / "sample.jsonl")
    assert sum(found) == pytest.approx(everything)
    assert 1 < len(set(found)) < 10, "one weight per stratum"
    pairs = json.loads(weights_file(judged / "sample.jsonl").read_text())["pairs"]
    rows = [json.loads(line) for line in (judged / "sample.jsonl").read_text().splitlines()]
    ids = ["query_id", "passage_id"]
    assert [[p[i] for i in ids] for p in pairs] == [[row[i] for i in ids] for row in rows]
    assert {pair["stratum"] for pair in pairs} >= {"1-10, negative", "1-10, positive"}


def test_only_candidates_that_a_measured_judge_can_get_are_drawn(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def drawn(name: str, *changes: str) -> set[tuple[str, str]]:
        words = [word for change in changes for word in ("--set", change)]
        output_of(capsys, "judge", "sample", "recipe.yaml", "--n", "5000", "--output", name, *words)
        return {
            (row["query_id"], row["passage_id"])
            for row in map(json.loads, (judged / name).read_text().splitlines())
        }

    every = drawn("every.jsonl")
    near = drawn(
        "near.jsonl",
        "judge.judges.overlap.ranks_below_positive=0",
        "judge.judges.strict.ranks_below_positive=0",
    )
    top = drawn("top.jsonl", "judge.judges.overlap.max_rank=2", "judge.judges.strict.max_rank=2")
    either = drawn(
        "either.jsonl",
        "judge.judges.overlap.ranks_below_positive=0",
        "judge.judges.strict.max_rank=2",
    )
    assert near < every and top < every
    assert near and top - near, "a positive is first nearly everywhere"
    assert either == near | top


def test_floors_apply_to_judgments_made_under_other_floors(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = output_of(capsys, *RUN, "--set", "judge.require.agreement=0.999", status=1)
    assert "judge: cached" in err
    assert "the judges stay below judge.require on " in err
    err = output_of(capsys, *RUN, "--set", "judge.require.kappa=0.1", status=1)
    assert (
        "judge.require asks for figures that cannot be measured: "
        "kappa (no labelled negative was judged)" in err
    )
    assert output_of(capsys, *RUN, "--set", "judge.require.agreement=0.01")


def test_a_missed_floor_leaves_figures_in_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = output_of(capsys, *RUN, "--set", "judge.require.agreement=0.999", status=1)
    assert "the judges stay below judge.require on " in err
    latest = folder / "runs/tiny/latest"
    assert (
        json.loads((latest / "reliability.json").read_text())["source_labels"]["final"]["pairs"]
        > 10
    )
    assert "### Reliability of the judges" in (latest / "report.md").read_text()
