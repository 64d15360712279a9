from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from helpers.judging import (
    IGNORE,
    NEGATIVE,
    POSITIVE,
    UNJUDGED,
    ScriptedFilter,
    judge_inputs,
    run,
    section,
)
from helpers.ranks import FakeRanks
from recipekit.artifacts.store import Artifact
from recipekit.component import Context, JudgeSpec, Verdicts
from recipekit.errors import ComponentError, RunError
from recipekit.judges.labels import LabelsSpec
from recipekit.stages.inputs import StageInputs
from recipekit.stages.judge.judge import judge
from recipekit.tables import CANDIDATES, write_table


@pytest.fixture
def inputs(tmp_path, tiny_dataset) -> StageInputs:
    return judge_inputs(tmp_path, tiny_dataset)


def test_source_labels_stay_and_candidates_get_the_judges_verdict(inputs, tmp_path):
    rows, summary = run(
        inputs,
        tmp_path,
        section(
            even=ScriptedFilter(
                verdict=lambda q, p: POSITIVE if p % 2 == 0 else NEGATIVE, reason="since"
            )
        ),
    )
    assert len(rows) == 12 * 5
    assert rows[3, 3] == {
        "query": 3,
        "passage": 3,
        "verdict": POSITIVE,
        "grade": 1.0,
        "confidence": None,
        "reason": None,
        "judge": "source",
    }
    assert rows[3, 5] == {
        "query": 3,
        "passage": 5,
        "verdict": NEGATIVE,
        "grade": 5.0,
        "confidence": None,
        "reason": "since 3-5",
        "judge": "even",
    }
    assert rows[3, 4] == {
        "query": 3,
        "passage": 4,
        "verdict": POSITIVE,
        "grade": 4.0,
        "confidence": None,
        "reason": None,
        "judge": "even",
    }
    assert summary["candidates"] == 60
    assert summary["queries"] == 12
    assert summary["source_labels"] == {"positive": 12, "negative": 0}
    assert summary["judges"]["even"]["pairs"] == summary["judges"]["even"]["judged"] == 48
    assert summary["judges"]["even"]["by_rank"] == {
        "1-10": {"negative": 24, "positive": 24, "ignore": 0}
    }
    assert summary["verdicts"] == {"negative": 24, "positive": 36, "ignore": 0}
    assert summary["false_negatives"]["positive"] == 24
    assert summary["false_negatives"]["positive_per_query"] == 2.0
    assert summary["unjudged"] == 0


def test_a_judge_gets_whole_queries_best_first_with_their_positives(inputs, tmp_path):
    spec = ScriptedFilter(verdict=lambda q, p: NEGATIVE)
    run(inputs, tmp_path, section(one=spec))
    [batch] = spec.batches
    of_three = batch.query == 3
    assert batch.passage[of_three].tolist() == [5, 4, 6, 7, 3]
    assert batch.source_positive[of_three].tolist() == [False] * 4 + [True]
    assert batch.wanted[of_three].tolist() == [True] * 4 + [False]
    assert batch.previous_verdict[of_three].tolist() == [UNJUDGED] * 4 + [POSITIVE]


def test_judges_run_in_order_and_previous_verdicts_selects_pairs(inputs, tmp_path):
    cheap = ScriptedFilter(
        verdict=lambda q, p: [POSITIVE, IGNORE, NEGATIVE][(p - q) % 3],
        reason="cheap",
        previous_verdicts=("unjudged",),
    )
    strong = ScriptedFilter(verdict=lambda q, p: NEGATIVE, previous_verdicts=("positive", "ignore"))
    rows, summary = run(inputs, tmp_path, section(cheap=cheap, strong=strong))
    assert {(row["passage"] - query) % 36: row["judge"] for (query, _), row in rows.items()} == {
        0: "source", 1: "strong", 2: "cheap", 3: "strong", 4: "strong",
    }  # fmt: skip
    assert summary["judges"]["strong"]["pairs"] == 36
    assert summary["verdicts"]["positive"] == 12
    [batch] = strong.batches
    assert set(batch.previous_verdict[batch.wanted]) == {POSITIVE, IGNORE}
    assert all(row["reason"] is None for row in rows.values() if row["judge"] == "strong"), (
        "the reason goes with its verdict"
    )


def test_a_pair_that_no_judge_judges_has_no_row(inputs, tmp_path):
    (tmp_path / "labels.tsv").write_text("q0 0 p1 1\nq0 0 p2 0\n")
    rows, summary = run(inputs, tmp_path, section(people=LabelsSpec(file=tmp_path / "labels.tsv")))
    assert len(rows) == 14
    assert (rows[0, 1]["verdict"], rows[0, 2]["verdict"]) == (POSITIVE, NEGATIVE)
    assert summary["judges"]["people"]["pairs"] == 48
    assert summary["judges"]["people"]["judged"] == 2
    assert summary["unjudged"] == 46


def test_source_positives_are_overruled_only_with_rejudge_source_labels(inputs, tmp_path):
    spec = ScriptedFilter(verdict=lambda q, p: NEGATIVE)
    rows, _ = run(inputs, tmp_path, section(one=spec))
    assert rows[3, 3]["verdict"] == POSITIVE
    rows, summary = run(
        inputs, tmp_path, section({"rejudge_source_labels": True}, one=spec), "rejudged"
    )
    assert (rows[3, 3]["verdict"], rows[3, 3]["judge"]) == (NEGATIVE, "one")
    assert summary["false_negatives"]["positive"] == 0


def test_labels_of_mined_queries_are_kept_even_where_they_are_no_candidates(
    make_dataset, inputs, tmp_path
):
    queries = [(f"q{i}", f"text {i}", "train" if i < 12 else "dev") for i in range(14)]
    labels = {**{(i, i): 1.0 for i in range(14)}, (2, 30): 0.0, (2, 3): 0.0}
    dataset = make_dataset(queries, [(f"p{i}", f"passage {i}") for i in range(36)], labels)
    inputs.artifacts = {**inputs.artifacts, "collect": Artifact("collect", "other", dataset.path)}
    rows, summary = run(inputs, tmp_path, section(one=ScriptedFilter(verdict=lambda q, p: IGNORE)))
    assert (rows[2, 30]["verdict"], rows[2, 30]["judge"], rows[2, 30]["grade"]) == (
        NEGATIVE,
        "source",
        0.0,
    )
    assert rows[2, 3]["judge"] == "one", (
        "a judged negative of the source is judged like any candidate"
    )
    assert (12, 12) not in rows, "dev was not mined"
    assert summary["source_labels"] == {"positive": 12, "negative": 2}


@pytest.mark.parametrize("deaths", [(0,), (1,), (5, 9, 0), (15,)])
def test_a_killed_run_resumes_without_judging_a_pair_twice(inputs, tmp_path, deaths):
    def verdict(query: int, passage: int) -> int:
        return (query * 7 + passage) % 3

    whole, counted = run(
        inputs, tmp_path, section(one=ScriptedFilter(verdict=verdict, reason="r")), "whole"
    )
    judged = 0
    for death in deaths:
        with pytest.raises(MemoryError):
            run(
                inputs,
                tmp_path,
                section(one=ScriptedFilter(verdict=verdict, reason="r", dies_after=death)),
            )
        judged += 3 * death
    last = ScriptedFilter(verdict=verdict, reason="r")
    rows, summary = run(inputs, tmp_path, section(one=last))
    assert rows == whole
    assert summary == counted
    assert sum(int(batch.wanted.sum()) for batch in last.batches) == 48 - judged


@pytest.mark.parametrize("cut", [0, 1, 100, 600, -1, -100, -200])
def test_a_truncated_log_loses_only_its_last_batch(inputs, tmp_path, cut):
    judges = section(one=ScriptedFilter(verdict=lambda q, p: (q + p) % 3, reason="r"))
    whole, _ = run(inputs, tmp_path, judges)
    folder = tmp_path / "out" / "scratch" / "verdicts" / "one"
    (folder / "complete").unlink()
    [part] = folder.glob("*.arrows")
    part.write_bytes(part.read_bytes()[:cut])
    rows, _ = run(inputs, tmp_path, judges)
    assert rows == whole


def test_a_finished_judge_does_not_run_again_when_the_next_one_dies(inputs, tmp_path):
    first = ScriptedFilter(verdict=lambda q, p: IGNORE)
    with pytest.raises(MemoryError):
        run(
            inputs,
            tmp_path,
            section(
                first=first, second=ScriptedFilter(verdict=lambda q, p: NEGATIVE, dies_after=2)
            ),
        )
    assert len(first.batches) == 1
    rows, _ = run(
        inputs, tmp_path, section(first=first, second=ScriptedFilter(verdict=lambda q, p: NEGATIVE))
    )
    assert len(first.batches) == 1
    assert {row["judge"] for row in rows.values()} == {"source", "second"}


def test_large_candidate_lists_come_in_several_batches_of_whole_queries(
    make_dataset, inputs, tmp_path
):
    n = 3000
    passages = [(f"p{i}", f"passage {i}") for i in range(n)]
    dataset = make_dataset(
        [(f"q{i}", f"text {i}", "train") for i in range(6)], passages, {(0, 0): 1.0}
    )
    inputs.artifacts = {**inputs.artifacts, "collect": Artifact("collect", "large", dataset.path)}
    query = np.repeat(np.arange(6, dtype=np.int32), n)
    columns = [
        query,
        np.tile(np.arange(n, dtype=np.int32), 6),
        np.arange(6 * n) == 0,
        np.ones(6 * n, np.float32),
    ]
    write_table(
        inputs.artifacts["mine"].path / "candidates.arrow",
        CANDIDATES,
        [pa.table(columns, schema=CANDIDATES)],
    )
    spec = ScriptedFilter(verdict=lambda q, p: p % 3, pairs_per_yield=1000)
    rows, summary = run(inputs, tmp_path, section(one=spec))
    assert [np.unique(batch.query).tolist() for batch in spec.batches] == [[0, 1], [2, 3], [4, 5]]
    assert len(rows) == 6 * n
    assert summary["judges"]["one"]["by_rank"]["1-10"] == {
        "negative": 23,
        "positive": 18,
        "ignore": 18,
    }
    assert (
        sum(sum(band.values()) for band in summary["judges"]["one"]["by_rank"].values())
        == 6 * n - 1
    )


class Wrong(JudgeSpec):
    """A judge that breaks its contract."""

    query: int
    passages: tuple[int, ...]
    code: int = 0

    counts: ClassVar[dict[str, int]] = {}
    figures: ClassVar[dict[str, float]] = {}

    def build(self, context: Context):
        return self

    def judge(self, batches):
        for _ in batches:
            passages = np.array(self.passages, np.int32)
            yield Verdicts(
                np.full(len(passages), self.query, np.int32),
                passages,
                np.full(len(passages), self.code, np.int8),
            )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            Wrong(query=3, passages=(20,)),
            "judge 'bad' gave a verdict on a pair that it did not get",
        ),
        (
            Wrong(query=3, passages=(3,)),
            "judge 'bad' gave a verdict on a pair that it did not get",
        ),
        (Wrong(query=3, passages=(4, 4)), "or two on one pair"),
        (Wrong(query=3, passages=(4,), code=-1), "is not 0"),
    ],
)
def test_a_judge_that_breaks_its_contract_is_named(inputs, tmp_path, wrong, message):
    with pytest.raises(ComponentError, match=message):
        run(inputs, tmp_path, section(bad=wrong))


def test_without_candidates_there_is_nothing_to_judge(inputs, tmp_path):
    inputs.artifacts = {"collect": inputs.artifacts["collect"]}
    with pytest.raises(RunError, match="has no mine section"):
        run(inputs, tmp_path, section(one=ScriptedFilter(verdict=lambda q, p: 0)))


def test_other_ranks_build_the_judges_and_write_nothing(inputs, tmp_path):
    barriers: list[str] = []
    inputs.ranks = FakeRanks(rank=1, count=2, wait=lambda: barriers.append("end"))
    assert (
        judge(inputs, section(one=ScriptedFilter(verdict=lambda q, p: 0)), tmp_path / "out") == {}
    )
    assert barriers == ["end"]
    assert not (tmp_path / "out" / "judgments.arrow").exists()
