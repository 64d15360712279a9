"""The cross_encoder judge, with a tiny model trained to recognize passages on food."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from helpers.tiny_cross_encoder import FOOD, OTHER
from recipekit.artifacts.key import FileHashes, component_identity
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import JudgeSpec, PairBatch, Slot
from recipekit.dataset import Dataset
from recipekit.errors import DataError, ModelError
from recipekit.judges.calibration import (
    CalibrationPairs,
    min_negatives,
    sample_labelled_pairs,
    thresholds,
)
from recipekit.judges.cross_encoder import CalibrationSpec, CrossEncoderSpec
from recipekit.judges.labels import LabelsSpec
from recipekit.records import Verdict
from recipekit.registry import resolve
from recipekit.stages.inputs import StageInputs
from recipekit.stages.judge.judge import judge
from recipekit.stages.judge.section import JudgeSection
from recipekit.tables import CANDIDATES, read_table, write_table
from recipekit.testing import RecordingProgress, check_judge, context

POSITIVE, NEGATIVE, IGNORE = Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE
PASSAGES = [
    (f"p{i}", " ".join((FOOD if i % 2 else OTHER)[(i // 2 + j) % 6] for j in range(3 + i % 3)))
    for i in range(24)
]
QUERIES = [(f"q{i}", FOOD[i % 6], "train" if i < 4 else "dev") for i in range(8)]
RELEVANT = [i for i in range(24) if i % 2]


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    """Food passages are positives of every dev query; a train query has one of them."""
    positives = {(q, p): 1.0 for q in range(4, 8) for p in RELEVANT} | {
        (q, 1 + 2 * q): 1.0 for q in range(4)
    }
    return make_dataset(QUERIES, PASSAGES, positives)


def everything(rows=range(4)) -> PairBatch:
    query, passage = (
        axis.ravel().astype(np.int32) for axis in np.meshgrid(list(rows), range(24), indexing="ij")
    )
    return PairBatch(
        query,
        passage,
        np.zeros(len(query), bool),
        np.full(len(query), -1, np.int8),
        np.ones(len(query), bool),
    )


def verdicts_of(built, batches) -> dict[tuple[int, int], tuple[int, float]]:
    rows = [
        row
        for v in built.judge(batches)
        for row in zip(v.query, v.passage, v.verdict, v.confidence, strict=True)
    ]
    return {
        (int(q), int(p)): (int(verdict), float(confidence)) for q, p, verdict, confidence in rows
    }


def test_thresholds_turn_scores_into_verdicts(tiny_cross_encoder, dataset, tmp_path):
    from sentence_transformers import CrossEncoder

    spec = CrossEncoderSpec(
        model=str(tiny_cross_encoder),
        positive_threshold=0.7,
        negative_threshold=0.3,
        precision="fp32",
    )
    assert spec.measured
    found = verdicts_of(spec.build(context(tmp_path, dataset=dataset)), [everything()])
    assert {pair: verdict for pair, (verdict, _) in found.items()} == {
        (q, p): POSITIVE if p in RELEVANT else NEGATIVE for q in range(4) for p in range(24)
    }
    score = float(
        CrossEncoder(str(tiny_cross_encoder), device="cpu").predict(
            [(QUERIES[0][1], PASSAGES[5][1])]
        )[0]
    )
    assert found[0, 5] == (POSITIVE, pytest.approx(score - 0.7, abs=1e-5))


def test_scores_between_the_thresholds_are_ignored_and_only_wanted_pairs_judged(
    tiny_cross_encoder, dataset, tmp_path
):
    batch = everything()
    batch.wanted[24:] = False
    spec = CrossEncoderSpec(
        model=str(tiny_cross_encoder), positive_threshold=2.0, negative_threshold=-1.0
    )
    found = verdicts_of(spec.build(context(tmp_path, dataset=dataset)), [batch])
    assert len(found) == 24 and {verdict for verdict, _ in found.values()} == {IGNORE}


def test_batch_sizes_change_nothing_and_truncated_pairs_are_counted(
    tiny_cross_encoder, dataset, tmp_path
):
    found = []
    for tokens in (1, 64, 8192):
        spec = CrossEncoderSpec(
            model=str(tiny_cross_encoder),
            positive_threshold=0.7,
            negative_threshold=0.3,
            precision="fp32",
            max_length=8,
            max_tokens_per_batch=tokens,
        )
        built = spec.build(context(tmp_path, dataset=dataset))
        found.append(verdicts_of(built, [everything()]))
        assert built.counts == {
            "positive_threshold": 0.7,
            "negative_threshold": 0.3,
            "scored": 96,
            # [CLS], query, [SEP] and [SEP] leave 4 of 8 tokens: passages of 5 words are truncated.
            "truncated": 32,
            "truncated_share": 0.333333,
        }
        assert built.figures == {"truncated": "33.3%"}
    for other in found[1:]:
        assert {pair: verdict for pair, (verdict, _) in other.items()} == {
            pair: verdict for pair, (verdict, _) in found[0].items()
        }
        np.testing.assert_allclose(
            [c for _, c in other.values()], [c for _, c in found[0].values()], atol=1e-5
        )


def test_thresholds_are_calibrated_on_dev_and_read_back_by_the_next_attempt(
    tiny_cross_encoder, dataset, tmp_path
):
    spec = CrossEncoderSpec(
        model=str(tiny_cross_encoder),
        calibration=CalibrationSpec(positive_share=0.5),
        precision="fp32",
    )
    spec.check(dataset)
    first = spec.build(context(tmp_path, dataset=dataset))
    assert {
        name: first.counts["calibration"][name]
        for name in ("positives", "negatives", "random_negatives")
    } == {"positives": 48, "negatives": 48, "random_negatives": True}, (
        "dev has no other unlabelled pairs"
    )
    assert first.counts["scored"] == 0, "pairs scored for the calibration are not counted"
    verdicts = {pair: verdict for pair, (verdict, _) in verdicts_of(first, [everything()]).items()}
    assert all(verdict == NEGATIVE for (_, p), verdict in verdicts.items() if p not in RELEVANT)
    assert sum(verdict == POSITIVE for verdict in verdicts.values()) >= 20
    stored = json.loads((tmp_path / "calibration.json").read_text())
    (tmp_path / "calibration.json").write_text(json.dumps({**stored, "positive_threshold": 0.123}))
    assert spec.build(context(tmp_path, dataset=dataset)).counts["positive_threshold"] == 0.123


def test_too_few_negatives_cause_a_warning_with_the_needed_number(
    tiny_cross_encoder, dataset, tmp_path
):
    progress = RecordingProgress()
    spec = CrossEncoderSpec(
        model=str(tiny_cross_encoder), calibration=CalibrationSpec(precision=0.9)
    )
    built = spec.build(context(tmp_path, dataset=dataset, progress=progress))
    assert {verdict for verdict, _ in verdicts_of(built, [everything()]).values()} == {
        NEGATIVE,
        IGNORE,
    }
    assert progress.warnings == [
        "cross_encoder: no candidate can be positive: 48 random negatives cannot prove a precision "
        "of 0.9 at positive_share 0.1; 217 can, if all of them score below the positives"
    ]


def test_it_can_be_the_first_stage_of_a_cascade(tiny_cross_encoder, dataset, tmp_path):
    """The cross-encoder judges everything; a label file decides what it calls relevant."""
    mine = tmp_path / "mine"
    mine.mkdir()
    rows = [(q, p, p == 1 + 2 * q, 1.0 / (1 + p)) for q in range(4) for p in range(24)]
    write_table(
        mine / "candidates.arrow",
        CANDIDATES,
        [pa.table(list(zip(*rows, strict=True)), schema=CANDIDATES)],
    )
    labels = tmp_path / "labels.tsv"
    labels.write_text(
        "query-id\tcorpus-id\tscore\n"
        + "".join(f"q{q}\tp{p}\t{int(p == 11)}\n" for q in range(4) for p in (9, 11, 12))
    )
    first = CrossEncoderSpec(
        model=str(tiny_cross_encoder), positive_threshold=0.7, negative_threshold=0.3
    )
    section = judges(
        {
            "cheap": ("cross_encoder", first),
            "people": ("labels", LabelsSpec(file=labels, previous_verdicts=("positive", "ignore"))),
        }
    )
    inputs = StageInputs(
        "test", 13,
        {
            "collect": Artifact("collect", "test-dataset", dataset.path),
            "mine": Artifact("mine", "m", mine),
        },
        {}, None,
        Store(tmp_path / "store"), FileHashes(), RecordingProgress(),
    )  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    summary = judge(inputs, section, out)
    table = read_table(out / "judgments.arrow").to_pylist()
    of_first = {
        row["passage"]: (row["judge"], row["verdict"]) for row in table if row["query"] == 0
    }
    assert of_first[1] == ("source", POSITIVE)
    assert of_first[9] == ("people", NEGATIVE) and of_first[11] == ("people", POSITIVE), (
        "the later judge decides"
    )
    assert of_first[12] == ("cheap", NEGATIVE) and of_first[13] == ("cheap", POSITIVE)
    assert summary["judges"]["people"]["judged"] == 2 * 4


def judges(specs: dict[str, tuple[str, JudgeSpec]]) -> JudgeSection:
    section = JudgeSection(
        judges={name: Slot(use=use) for name, (use, _) in specs.items()}, control_pairs={"share": 0}
    )
    for name, slot in section.judges.items():
        slot.bind(resolve("judge", specs[name][0]), specs[name][1])
    return section


def test_the_judge_passes_its_check_and_its_identity_includes_the_model(
    tiny_cross_encoder, dataset, tmp_path
):
    check_judge(
        CrossEncoderSpec(
            model=str(tiny_cross_encoder), positive_threshold=0.7, negative_threshold=0.3
        ),
        context(tmp_path, dataset=dataset),
    )
    files = FileHashes()
    one, other = (
        component_identity(
            CrossEncoderSpec(
                model=str(tiny_cross_encoder), positive_threshold=0.7, negative_threshold=b
            ),
            "recipekit",
            "x",
            files,
        )
        for b in (0.3, 0.2)
    )
    assert one["files"] == other["files"] and "model" not in one["fields"] and one != other


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "set both positive_threshold and negative_threshold, or only calibration"),
        ({"positive_threshold": 1}, "set both positive_threshold and negative_threshold"),
        (
            {"positive_threshold": 1, "negative_threshold": 0, "calibration": {}},
            "or only calibration",
        ),
        (
            {"positive_threshold": 0, "negative_threshold": 1},
            "positive_threshold 0.0 is below negative_threshold 1.0: "
            "a score between them would be both",
        ),
        (
            {"model": "./mine", "revision": "main", "calibration": {}},
            "only a model on the Hub has revisions",
        ),
    ],
)
def test_contradicting_keys_are_an_error(fields, message):
    with pytest.raises(ValidationError, match=message):
        CrossEncoderSpec(**{"model": "owner/name", **fields})


def test_a_model_that_gives_no_score_is_an_error(tiny_model, tiny_cross_encoder, dataset, tmp_path):
    fields = {"positive_threshold": 0.5, "negative_threshold": 0.5}
    with pytest.raises(ModelError, match=r"is not a cross-encoder \(SentenceTransformer\)"):
        CrossEncoderSpec(model=str(tiny_model), **fields).build(context(tmp_path, dataset=dataset))
    with pytest.raises(ModelError, match="has 64 positions, fewer than max_length 65"):
        CrossEncoderSpec(model=str(tiny_cross_encoder), max_length=65, **fields).build(
            context(tmp_path, dataset=dataset)
        )
    with pytest.raises(ModelError, match="sha256"):
        CrossEncoderSpec(model=str(tiny_cross_encoder), sha256="0" * 64, **fields).build(
            context(tmp_path, dataset=dataset)
        )


# Calibration
# -------------------------------------------------------------------------------------------------


def scored(positives, negatives, **settings):
    scores = np.array([*positives, *negatives], dtype=np.float32)
    pairs = CalibrationPairs(
        np.zeros(len(scores), np.int32),
        np.zeros(len(scores), np.int32),
        np.arange(len(scores)) < len(positives),
        False,
    )
    return thresholds(scores, pairs, CalibrationSpec(**settings))


def test_the_lowest_precise_score_and_the_recall_quantile():
    positives, negatives = (
        np.arange(1, 101),
        np.arange(-60, 40),
    )  # 39 negatives are among the positives
    positive_threshold, negative_threshold = scored(
        positives, negatives, precision=0.9, recall=0.95, positive_share=0.5
    )
    assert negative_threshold == 5, "95 of 100 positives score more"
    # From 37: 64 of 100 positives, and 3 of 100 negatives, which may be 7.2 % (Wilson); 64 / 71.2 <
    # 0.9. From 38: 63, and 2, which may be 5.9 %; 63 / 68.9 > 0.9.
    assert positive_threshold == 38
    assert scored(positives, negatives, precision=0.9, positive_share=0.05)[0] == np.inf, (
        "rarer positives need more labelled negatives"
    )
    assert (
        scored(positives, np.repeat(negatives, 100), precision=0.9, positive_share=0.05)[0] == 40
    ), "a purer range"


def test_separated_classes_have_equal_thresholds():
    assert scored(range(500, 1000), range(500), recall=0.95) == (524, 524)


@pytest.mark.parametrize(
    "settings",
    [{}, {"precision": 0.95}, {"positive_share": 0.5}, {"precision": 0.3, "positive_share": 0.7}],
)
def test_min_negatives_is_the_fewest_that_prove_a_precision(settings):
    fewest = min_negatives(CalibrationSpec(**settings))
    assert scored(range(100, 200), range(-fewest, 0), **settings)[0] < np.inf
    assert fewest == 1 or scored(range(100, 200), range(-fewest + 1, 0), **settings)[0] == np.inf


@pytest.mark.parametrize(
    ("negatives", "distance"), [(20, 2), (250, 4), (1000, 2), (1000, 3), (5000, 2)]
)
def test_thresholds_keep_the_precision_that_they_promise(negatives, distance):
    """With normal scores, whose true rates are known, at most about 5 % of the draws fall short."""
    draws = np.random.default_rng(11)
    less = 0
    for _ in range(200):
        positive_threshold, _ = scored(
            draws.normal(distance, 1, 1000),
            draws.normal(0, 1, negatives),
            precision=0.9,
            positive_share=0.1,
        )
        true, false = (
            (1 - math.erf((positive_threshold - mean) / math.sqrt(2))) / 2 for mean in (distance, 0)
        )
        less += positive_threshold < np.inf and 0.1 * true / (0.1 * true + 0.9 * false) < 0.9
    assert less <= 20


def test_without_a_precise_score_there_is_no_threshold():
    assert scored(range(20), range(100, 200))[0] == np.inf


def test_random_negatives_are_unlabelled_and_raise_the_positive_threshold(dataset):
    pairs = sample_labelled_pairs(dataset, CalibrationSpec(), seed=1)
    assert pairs.random_negatives
    negatives = set(
        zip(
            pairs.query[~pairs.positive].tolist(),
            pairs.passage[~pairs.positive].tolist(),
            strict=True,
        )
    )
    assert negatives and all(q >= 4 and p not in RELEVANT for q, p in negatives)
    assert len(negatives) == (~pairs.positive).sum(), "none is drawn twice"
    scores = pairs.positive * np.arange(1, len(pairs.query) + 1, dtype=np.float32)
    found = thresholds(scores, pairs, CalibrationSpec(positive_share=0.5))
    assert found == (25, 3), "48 positives with the scores 1 to 48"


def test_judged_negatives_come_before_random_ones(make_dataset):
    labels = {(q, p): float(p % 2) for q in range(4, 8) for p in range(24)}
    calibration = CalibrationSpec(max_pairs_per_label=20)
    pairs = sample_labelled_pairs(make_dataset(QUERIES, PASSAGES, labels), calibration, seed=1)
    assert (
        not pairs.random_negatives and pairs.positive.sum() == 20 and (~pairs.positive).sum() == 20
    )
    assert all(p % 2 == 0 for p in pairs.passage[~pairs.positive])


def test_too_few_labelled_positives_are_an_error_before_mining(tiny_dataset):
    spec = CrossEncoderSpec(model="owner/name", calibration=CalibrationSpec())
    with pytest.raises(
        DataError, match="dev queries have 6 labelled positives, and at least 20 are needed"
    ) as raised:
        spec.check(tiny_dataset)
    assert raised.value.code == "RK337"
    CrossEncoderSpec(model="owner/name", positive_threshold=1.0, negative_threshold=0.0).check(
        tiny_dataset
    )
