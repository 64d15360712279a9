"""Drawing pairs evenly over strata, their weights, and the files that are written."""

import csv
from pathlib import Path

import numpy as np
import pytest

from recipekit.human_labels.label_file import escape_cell, read_labels
from recipekit.judging.labelling_sample import SampledPair, sample_strata, write_sample
from recipekit.records import Verdict


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_strata_are_drawn_evenly_and_weights_add_up_to_their_sizes() -> None:
    stratum = generator().permutation(np.repeat([0, 2, 7], [1000, 5, 100]))
    drawn, weight = sample_strata(stratum, 65, generator())
    assert len(set(drawn.tolist())) == 65
    assert np.bincount(stratum[drawn]).tolist() == [30, 0, 5, 0, 0, 0, 0, 30]
    assert set(weight[stratum[drawn] == 0]) == {np.float32(1000 / 30)}
    assert set(weight[stratum[drawn] == 2]) == {1.0}
    assert np.bincount(stratum[drawn], weights=weight)[[0, 2, 7]] == pytest.approx([1000, 5, 100])
    again, _ = sample_strata(stratum, 65, generator())
    assert drawn.tolist() == again.tolist(), "the seed decides"


@pytest.mark.parametrize("sizes", [[], [1], [3, 0, 4]])
def test_if_all_rows_are_drawn_each_has_weight_one(sizes: list[int]) -> None:
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    drawn, weight = sample_strata(stratum, 10, generator())
    assert sorted(drawn.tolist()) == list(range(sum(sizes)))
    assert (weight == 1).all()


def test_with_fewer_rows_than_strata_all_rows_are_equally_likely() -> None:
    stratum = np.repeat(np.arange(8), [93, 1, 1, 1, 1, 1, 1, 1])
    for n in (1, 3, 7):
        drawn, weight = sample_strata(stratum, n, generator())
        assert len(drawn) == n
        assert weight == pytest.approx(100 / n)
    found = np.concatenate(
        [stratum[sample_strata(stratum, 3, generator(seed))[0]] for seed in range(200)]
    )
    assert np.mean(found == 0) == pytest.approx(0.93, abs=0.04), (
        "by size, not by the stratum's number"
    )


def test_weights_restore_the_rate_that_an_even_draw_distorts() -> None:
    """Of 20,000 candidates 1,000 are called positive, 600 rightly, and 380 positives are missed."""
    called, band, truth = (
        np.arange(20_000) < 1000,
        np.arange(20_000) % 4,
        np.zeros(20_000, dtype=bool),
    )
    truth[:600], truth[1000:1380] = True, True
    plain, weighted = np.zeros(2), np.zeros(2)  # missed positives, all positives
    for seed in range(50):
        drawn, weight = sample_strata(band * 2 + called, 400, generator(seed))
        positive, missed = truth[drawn], truth[drawn] & ~called[drawn]
        plain += missed.sum(), positive.sum()
        weighted += weight[missed].sum(), weight[positive].sum()
    assert weighted[0] / weighted[1] == pytest.approx(380 / 980, abs=0.05)
    assert plain[0] / plain[1] < 0.05, "without weights the rate is far off"
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
def test_ids_that_look_like_formulas_are_escaped_and_read_back(tmp_path: Path, form: str) -> None:
    ids = list(zip(IDS, reversed(IDS), strict=True))
    pairs = [SampledPair(q, p, "=q", "-p", "1-10, positive", 2.5) for q, p in ids]
    file = tmp_path / f"sample.{form}"
    write_sample(pairs, file)
    text = file.read_bytes().decode("utf-8-sig")
    if form == "csv":
        cells = [cell for row in csv.reader(text.splitlines(keepends=True)) for cell in row]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
        text = text.replace(",\r\n", ",negative\r\n")
    else:
        text = text.replace('"verdict": ""', '"verdict": "negative"')
    file.write_bytes(text.encode())
    labels = read_labels(file)
    assert list(zip(labels.query_id.to_pylist(), labels.passage_id.to_pylist(), strict=True)) == ids
    assert (labels.verdict == Verdict.NEGATIVE).all()
    assert (labels.weight == 2.5).all() and labels.weight.dtype == np.float32


@pytest.mark.parametrize("text", ["=1+1", "@SUM(1)", "-p", "+1", "'=q", "'", "\tp", "\rp", "q", ""])
def test_an_escaped_cell_is_not_a_formula(text: str) -> None:
    assert not escape_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))
