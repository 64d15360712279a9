"""Drawing pairs over strata, what each then stands for, and the file that people get."""

import csv
from pathlib import Path

import numpy as np
import pytest

from recipekit.judges.label_files import read_labels
from recipekit.judges.sample_rows import hidden
from recipekit.pipeline.label_sample import COLUMNS, spread, write_sample
from recipekit.records import Verdict


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_strata_are_drawn_evenly_and_stand_for_all_of_them() -> None:
    stratum = draws().permutation(np.repeat([0, 2, 7], [1000, 5, 100]))
    drawn, weight = spread(stratum, 65, draws())
    assert len(set(drawn.tolist())) == 65
    assert np.bincount(stratum[drawn]).tolist() == [30, 0, 5, 0, 0, 0, 0, 30]
    assert set(weight[stratum[drawn] == 0]) == {np.float32(1000 / 30)}
    assert set(weight[stratum[drawn] == 2]) == {1.0}
    assert np.bincount(stratum[drawn], weights=weight)[[0, 2, 7]] == pytest.approx([1000, 5, 100])
    again, _ = spread(stratum, 65, draws())
    assert drawn.tolist() == again.tolist(), "the seed decides"


@pytest.mark.parametrize("sizes", [[], [1], [3, 0, 4]])
def test_where_no_more_are_there_each_stands_for_itself(sizes: list[int]) -> None:
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    drawn, weight = spread(stratum, 10, draws())
    assert sorted(drawn.tolist()) == list(range(sum(sizes)))
    assert (weight == 1).all()


def test_fewer_than_there_are_strata_are_drawn_from_all_alike() -> None:
    stratum = np.repeat(np.arange(8), [93, 1, 1, 1, 1, 1, 1, 1])
    for n in (1, 3, 7):
        drawn, weight = spread(stratum, n, draws())
        assert len(drawn) == n
        assert weight == pytest.approx(100 / n)
    found = np.concatenate([stratum[spread(stratum, 3, draws(seed))[0]] for seed in range(200)])
    assert np.mean(found == 0) == pytest.approx(0.93, abs=0.04), (
        "by size, not by the stratum's number"
    )


def test_weights_give_the_rate_back_that_an_even_draw_distorts() -> None:
    """20,000 candidates: 1,000 called positive, 60 % rightly, and 2 % of the others missed: 380 of
    980 positives, 39 %.
    """
    called, band, truth = (
        np.arange(20_000) < 1000,
        np.arange(20_000) % 4,
        np.zeros(20_000, dtype=bool),
    )
    truth[:600], truth[1000:1380] = True, True
    plain, weighted = np.zeros(2), np.zeros(2)  # missed positives, all positives
    for seed in range(50):
        drawn, weight = spread(band * 2 + called, 400, draws(seed))
        positive, missed = truth[drawn], truth[drawn] & ~called[drawn]
        plain += missed.sum(), positive.sum()
        weighted += weight[missed].sum(), weight[positive].sum()
    assert weighted[0] / weighted[1] == pytest.approx(380 / 980, abs=0.05)
    assert plain[0] / plain[1] < 0.05, "what is counted without them is far off"
    assert weighted[1] / 50 == pytest.approx(980, rel=0.1)


IDS = [
    "=1+1",
    "@SUM(1)",
    "-p",
    "'=q",
    "+",
    "'",
    "''-",
    "'tis",
    "\tt",
    "\rr",
    'a,"b"',
    "0012",
    "q",
    "l\nl",
]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_ids_that_look_like_formulas_come_back(tmp_path: Path, form: str) -> None:
    pairs = list(zip(IDS, reversed(IDS), strict=True))
    rows = [
        dict(zip(COLUMNS, (q, p, "=q", "-p", "negative", hidden(2.5, q, p)), strict=True))
        for q, p in pairs
    ]
    file = tmp_path / f"sample.{form}"
    write_sample(rows, file)
    labels = read_labels(file)
    assert (
        list(zip(labels.query_id.to_pylist(), labels.passage_id.to_pylist(), strict=True)) == pairs
    )
    assert (labels.verdict == Verdict.NEGATIVE).all()
    assert (labels.weight == 2.5).all() and labels.weight.dtype == np.float32
    if form == "csv":
        with file.open(encoding="utf-8-sig", newline="") as lines:
            cells = [cell for row in csv.reader(lines) for cell in row]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
