"""Estimates of the work of mining and judging."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from recipekit.cli.plan import work
from recipekit.component import JudgeSpec, Sizes, Slot
from recipekit.dataset import Dataset
from recipekit.pipeline.plan import plan
from recipekit.recipe.sections import Recipe
from recipekit.registry import Entry
from recipekit.stages import stage_named
from recipekit.stages.collect.section import ExpectedSize
from recipekit.stages.estimate_inputs import EstimateInputs
from recipekit.stages.recipe import load_recipe


class Paid(JudgeSpec):
    """A judge that needs one call for ten pairs, and a cent per call."""

    measured: ClassVar[bool] = True

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        return {"calls": pairs / 10, "usd": pairs / 1000}


class Free(JudgeSpec):
    """A filter."""


def judging(
    recipe: Recipe,
    data: Dataset | Sizes,
    judges: dict[str, JudgeSpec],
    mined: dict[str, Any] | None = None,
    **policy: Any,
) -> dict[str, Any]:
    """Return the estimate of judging with some judges.

    `data` is a data set, or the sizes that are expected of one; `policy` replaces keys of the judge
    section.
    """
    slots = {name: Slot(use=name) for name in judges}
    for name, slot in slots.items():
        slot.bind(Entry("judge", name, "tests", "1", "tests:Paid"), judges[name])
    section = recipe.judge.model_copy(update={"judges": slots, **policy})
    dataset = data if isinstance(data, Dataset) else None
    sizes = data if isinstance(data, Sizes) else Sizes.of(data)
    summaries = {"mine": mined} if mined else {}
    return dict(
        stage_named("judge").estimate(EstimateInputs(recipe, sizes, dataset, summaries), section)
    )


def pairs_of(estimate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers of pairs of each judge."""
    return [
        {unit: value for unit, value in judge.items() if "pairs" in unit}
        for judge in estimate["judges"].values()
    ]


def without_control_pairs(recipe: Recipe) -> Any:
    return recipe.judge.control_pairs.model_copy(update={"share": 0.0})


def test_before_mining_the_pairs_are_an_upper_bound(planned_recipe: Recipe, tiny_dataset: Dataset):
    # 12 training queries with 30 candidates each. A tenth of their 12 positives become control
    # pairs, plus three standard deviations of 1.04.
    assert judging(planned_recipe, tiny_dataset, {"one": Paid()}) == {
        "pairs at most": 360,
        "judges": {"one": {"pairs at most": 365, "calls": 36.5, "usd": 0.365}},
    }


def test_after_mining_the_pairs_are_exact(planned_recipe: Recipe, tiny_dataset: Dataset):
    policy = without_control_pairs(planned_recipe)
    mined = {"candidates": 212}
    assert judging(planned_recipe, tiny_dataset, {"one": Paid()}, mined, control_pairs=policy) == {
        "pairs": 200,
        "judges": {"one": {"pairs": 200, "calls": 20.0, "usd": 0.2}},
    }
    with_source_labels = judging(
        planned_recipe,
        tiny_dataset,
        {"one": Paid()},
        mined,
        control_pairs=policy,
        rejudge_source_labels=True,
    )
    assert pairs_of(with_source_labels) == [{"pairs": 212}]


def test_conditions_on_verdicts_leave_an_upper_bound(planned_recipe: Recipe, tiny_dataset: Dataset):
    judges: dict[str, JudgeSpec] = {
        "near": Free(),
        "top": Paid(max_rank=5),
        "cascade": Paid(previous_verdicts=("positive",)),
        "sample": Paid(max_pairs=50),
    }
    found = judging(planned_recipe, tiny_dataset, judges, {"candidates": 212})
    assert list(found["judges"]) == ["top", "cascade", "sample"], "a filter costs nothing"
    assert pairs_of(found) == [{"pairs at most": 65}, {"pairs at most": 205}, {"pairs": 50}]
    assert found["usd"] == pytest.approx(0.32)


def test_pairs_with_human_labels_are_counted(planned_recipe: Recipe, tiny_dataset: Dataset):
    file = planned_recipe.origin.folder / "labels.csv"
    policy = planned_recipe.judge.control_pairs.model_copy(update={"human_labels": file})
    found = judging(planned_recipe, tiny_dataset, {"one": Paid()}, control_pairs=policy)
    assert pairs_of(found) == [{"pairs at most": 367}]


def expecting(recipe: Recipe, **sizes: Any) -> Recipe:
    """Return a recipe that states the size of its data."""
    collect = recipe.collect.model_copy(update={"expected_size": ExpectedSize(**sizes)})
    return recipe.model_copy(update={"collect": collect})


def test_before_collecting_a_plan_uses_the_sizes_that_the_recipe_expects(
    planned_recipe: Recipe, tmp_path
):
    without = plan(planned_recipe, cache=tmp_path / "cache")
    assert "collect.expected_size" in without["mine"].estimate["unknown until"]

    recipe = expecting(
        planned_recipe,
        passages=1_000_000,
        queries={"train": 9_000, "test": 1_000},
        passage_characters=300,
        positives_per_query=2,
    )
    planned = plan(recipe, cache=tmp_path / "cache")
    mine = planned["mine"].estimate
    assert mine["queries to mine"] == 9_000
    index_bytes = mine["retrievers"]["lexical"]["bytes of index"]
    assert index_bytes == pytest.approx(1_000_000 * 300 / 15 * 8)
    text_bytes = planned["collect"].estimate["bytes of text"]
    assert text_bytes == pytest.approx(1_000_000 * 300 + 10_000 * 40)

    sizes = stage_named("collect").sizes(recipe.collect, None)
    # 30 candidates for each of 9,000 queries. A tenth of their 18,000 positives become control
    # pairs, plus three standard deviations of 40.2.
    found = judging(recipe, sizes, {"one": Paid()})
    assert pairs_of(found) == [{"pairs at most": 270_000 + 1_800 + 121}]


TRAINING = """\
recipe: 1
name: training
encoders: {student: {use: bi_encoder, model: some/model}}
collect: {sources: {own: {use: pairs, file: pairs.csv}}}
train: {phases: {all: {use: coordinate_ascent, loss: {use: exact_softmax}}}}
"""
SIZES = Sizes.foreseen(
    {"train": 90, "dev": 5},
    100,
    query_characters=40,
    passage_characters=300,
    positives_per_query=1,
)
JUDGED = """\
mine: {retrievers: {bm25: {use: bm25}}, candidates_per_query: 20}
judge: {judges: {margin: {use: margin, encoder: student}}}
"""


def test_the_loss_of_coordinate_ascent_is_the_exact_softmax_by_default(tmp_path: Path):
    losses = []
    for number, written in enumerate(
        (TRAINING, TRAINING.replace(", loss: {use: exact_softmax}", ""))
    ):
        (tmp_path / f"{number}.yaml").write_text(written)
        losses.append(load_recipe(tmp_path / f"{number}.yaml").train.phases["all"].spec.loss.spec)
    assert losses[0] == losses[1]


def test_a_plan_says_when_nothing_is_evaluated_during_training(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(TRAINING)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    section = recipe.train
    key = "no evaluation during training:"

    def estimate(queries: dict[str, int], **policy: Any) -> dict[str, Any]:
        sizes = Sizes.foreseen(
            queries,
            100,
            query_characters=40,
            passage_characters=300,
            positives_per_query=1,
            dimension=16,
        )
        changed = section.model_copy(update=policy)
        inputs = EstimateInputs(recipe, sizes, None, {})
        return dict(stage_named("train").estimate(inputs, changed))

    without = estimate({"train": 90, "test": 10})
    assert "collect.split.dev" in without[key] and f"{key} there are no dev" in work(without)
    assert key not in estimate({"train": 90, "dev": 5, "test": 10})
    assert key not in estimate({"train": 90, "test": 10}, eval_every_epochs=None), "on purpose"


@pytest.mark.parametrize(
    ("more", "keys", "passages"),
    [
        ("", "", 1000),
        ("", "passages: positives", 45),
        (JUDGED, "passages: positives", 45 + 30 * 20),
        (JUDGED, "passages: positives, labels: source", 45),
    ],
)
def test_a_plan_counts_the_passages_of_the_softmax(
    tmp_path: Path, more: str, keys: str, passages: int
):
    written = TRAINING.replace("}}}}", f"}}, passage_epochs: 1, {keys}}}}}}}") + more
    (tmp_path / "recipe.yaml").write_text(written)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    sizes = Sizes.foreseen(
        {"train": 30, "test": 10},
        1000,
        query_characters=40,
        passage_characters=300,
        positives_per_query=1.5,
        dimension=16,
    )
    work = stage_named("train").estimate(EstimateInputs(recipe, sizes, None, {}), recipe.train)
    assert work["bytes of the frozen matrix"] == passages * 16 * 4
    assert work["flop per step in the loss"] == 4 * 30 * passages * 16
    assert work["steps"] == 3 + -(-passages // 64)


@pytest.mark.parametrize(
    ("more", "phase", "loss", "notes"),
    [
        ("", "", "TripletLoss", True),
        ("mine: {retrievers: {bm25: {use: bm25}}}\n", "", "TripletLoss", True),
        ("mine: {retrievers: {bm25: {use: bm25}}}\n", "unjudged: negative", "TripletLoss", False),
        ("", "unjudged: negative", "TripletLoss", True),
        (JUDGED, "", "TripletLoss", False),
        (JUDGED, "labels: source", "TripletLoss", True),
        ("", "", "MultipleNegativesRankingLoss", True),
        ("", "num_hard_negatives: 0", "MultipleNegativesRankingLoss", False),
    ],
)
def test_a_plan_says_where_a_loss_may_have_no_negatives(
    tmp_path: Path, more: str, phase: str, loss: str, notes: bool
):
    written = TRAINING.split("train:")[0] + more
    loss = f"{{use: sentence_transformers, loss: {loss}}}"
    written += f"train: {{phases: {{all: {{use: in_batch, loss: {loss}, {phase}}}}}}}\n"
    (tmp_path / "recipe.yaml").write_text(written)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    key = "phase all may have no hard negative:"
    without = EstimateInputs(recipe, SIZES, None, {})
    assert (key in stage_named("train").estimate(without, recipe.train)) is notes


@pytest.mark.parametrize(
    ("more", "phase", "notes"),
    [
        ("", "", False),
        ("mine: {retrievers: {bm25: {use: bm25}}}\n", "", True),
        ("mine: {retrievers: {bm25: {use: bm25}}}\n", "unjudged: negative", False),
        ("mine: {retrievers: {bm25: {use: bm25}}, splits: [dev]}\n", "", False),
        (JUDGED, "", False),
        (JUDGED, "labels: source", True),
    ],
)
def test_a_plan_says_where_all_candidates_are_left_out(
    tmp_path: Path, more: str, phase: str, notes: bool
):
    written = TRAINING.split("train:")[0] + more
    written += f"train: {{phases: {{all: {{use: in_batch, {phase}}}}}}}\n"
    (tmp_path / "recipe.yaml").write_text(written)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    work = stage_named("train").estimate(EstimateInputs(recipe, SIZES, None, {}), recipe.train)
    assert ("phase all leaves out all mined candidates:" in work) is notes


MINED = "mine: {retrievers: {lexical: {use: bm25, depth: 5}}%s}\n"
JUDGED_BY_MARGIN = "judge: {judges: {margin: {use: margin, encoder: student}}}\n"


@pytest.mark.parametrize(
    ("more", "first", "pairs"),
    [
        ("", "", 16 + 30 * 4 * 2),
        (MINED % "", "", 16 + 30 * 4 * 2),
        # Every candidate can become a positive.
        (MINED % "" + JUDGED_BY_MARGIN, "", 16 + 30 * 4 * 2 + 30 * 5),
        (MINED % ", candidates_per_query: 3" + JUDGED_BY_MARGIN, "", 16 + 30 * 4 * 2 + 30 * 3),
        (MINED % ", splits: [dev]" + JUDGED_BY_MARGIN, "", 16 + 30 * 4 * 2),
        # The second phase, with one hard negative, reads judgments.
        (MINED % "" + JUDGED_BY_MARGIN, "labels: source", 16 + 30 * 4 + 30 * 5),
        ("", "splits: [train, dev]", 21 + 40 * 4 * 2),
        (MINED % "" + JUDGED_BY_MARGIN, "splits: [train, dev]", 21 + 40 * 4 * 2 + 30 * 5),
    ],
)
def test_a_plan_counts_the_pairs_that_a_teacher_scores(
    tmp_path: Path, more: str, first: str, pairs: int
):
    sizes = Sizes({"train": 30, "dev": 10, "test": 10}, 1000, [], [], positives=26)
    work = distilling(tmp_path, more, first, sizes)
    assert work["pairs for cross to score at most"] == pairs
    assert "texts to encode at most" not in work


def test_a_plan_counts_the_queries_of_the_splits_of_each_phase(tmp_path: Path):
    sizes = Sizes({"train": 30, "dev": 10, "test": 10}, 1000, [], [])
    first = "splits: [train, dev], batch_size: 10"
    work = distilling(tmp_path, "", first, sizes)
    assert (work["training queries at most"], work["steps"]) == (40, 4 + 1)


def test_a_plan_counts_the_positives_of_the_data_that_a_teacher_scores(
    tmp_path: Path, make_dataset
):
    queries = [(f"q{i}", "tide", "train" if i < 2 else "test") for i in range(4)]
    passages = [(f"p{i}", "moon") for i in range(50)]
    dataset = make_dataset(queries, passages, {(0, 0): 1.0, (0, 1): 1.0, (1, 2): 1.0})
    work = distilling(tmp_path, "", "", dataset)
    assert work["pairs for cross to score at most"] == 3 + 2 * 4 * 2


def distilling(tmp_path: Path, more: str, first: str, data: Dataset | Sizes) -> dict[str, Any]:
    """Return the estimate of training on a cross-encoder's scores in two phases.

    `more` are further sections of the recipe, and `first` further keys of the first phase.
    """
    loss = "{use: sentence_transformers, loss: MarginMSELoss, teacher: cross}"
    phases = f"first: {{use: in_batch, num_hard_negatives: 2, loss: {loss}, {first}}}"
    phases += f", second: {{use: in_batch, loss: {loss}}}"
    (tmp_path / "recipe.yaml").write_text(
        "recipe: 1\nname: distilled\nencoders:\n"
        "  student: {use: bi_encoder, model: ./student}\n"
        "  cross: {use: cross_encoder, model: ./cross}\n"
        f"collect: {{sources: {{code: {{use: python_code}}}}}}\n{more}"
        f"train: {{phases: {{{phases}}}}}\n"
    )
    recipe = load_recipe(tmp_path / "recipe.yaml")
    dataset = data if isinstance(data, Dataset) else None
    sizes = data if isinstance(data, Sizes) else Sizes.of(data)
    inputs = EstimateInputs(recipe, sizes, dataset, {})
    return dict(stage_named("train").estimate(inputs, recipe.train))


def test_a_plan_counts_the_texts_that_a_guide_embeds(tmp_path: Path):
    for name, width in (("student", 384), ("large", 1024)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"hidden_size": {width}}}')
    phase = "{use: in_batch, loss: {use: sentence_transformers, loss: GISTEmbedLoss, guide: large}}"
    (tmp_path / "recipe.yaml").write_text(
        "recipe: 1\nname: guided\nencoders:\n"
        "  student: {use: bi_encoder, model: ./student}\n"
        "  large: {use: bi_encoder, model: ./large}\n"
        "collect: {sources: {code: {use: python_code}}}\n"
        f"train: {{phases: {{first: {phase}, second: {phase}}}}}\n"
    )
    recipe = load_recipe(tmp_path / "recipe.yaml")
    estimate = stage_named("train").estimate(EstimateInputs(recipe, SIZES, None, {}), recipe.train)
    texts = SIZES.queries["train"] + SIZES.passages
    assert estimate["texts to encode at most"] == texts
    assert estimate["bytes of embeddings at most"] == texts * 1024 * 4


def test_labels_of_the_collected_data_can_be_the_negatives(tmp_path: Path):
    loss = "{use: sentence_transformers, loss: TripletLoss}"
    written = TRAINING.split("train:")[0]
    written += f"train: {{phases: {{all: {{use: in_batch, loss: {loss}}}}}}}\n"
    (tmp_path / "recipe.yaml").write_text(written)
    recipe = load_recipe(tmp_path / "recipe.yaml")

    def notes(*grades: float) -> bool:
        collected = SimpleNamespace(labels=pa.table({"grade": pa.array(grades, pa.float32())}))
        inputs = EstimateInputs(recipe, SIZES, collected, {})
        estimate = stage_named("train").estimate(inputs, recipe.train)
        return "phase all may have no hard negative:" in estimate

    assert notes(1, 2) and not notes(1, 0)


@pytest.mark.parametrize(
    ("estimate", "line"),
    [
        (
            {
                "pairs at most": 50_000_000,
                "calls": 2_000_000,
                "tokens in": 7.62e9,
                "tokens out": 3.0e8,
                "usd": 1323.0,
                "hours": 27.5,
            },
            "at most 50,000,000 pairs, 2,000,000 calls, 7.62 B tokens in, 300.0 M tokens out, "
            "$1,323, 27 h 30 min",
        ),
        (
            {"pairs": 20, "usd": 0.00034, "max_cost_usd": 5.0},
            "20 pairs, $0.00034, limit $5.00",
        ),
        ({"pairs": 20, "calls": 4, "usd": 0.0}, "20 pairs, 4 calls, free"),
        ({"flop per step": 4.2e6}, "4.20 MFLOP per step"),
        ({"flop per step": 4.2e9}, "4.20 GFLOP per step"),
        (
            {"pairs": 20, "usd": "unknown: give price", "tokens": "estimated"},
            "20 pairs, usd unknown: give price, tokens estimated",
        ),
        ({"pairs at most": 3, "judges": {"one": {}}}, "at most 3 pairs"),
    ],
)
def test_estimates_are_printed_with_their_units(estimate: dict[str, Any], line: str):
    assert work(estimate) == line


HYBRID = {
    "use": "hybrid",
    "retrievers": {
        "lexical": {"use": "bm25"},
        "dense": {"use": "exact", "encoder": "other"},
        "own": {"use": "exact", "encoder": "trained"},
    },
}
TRAIN = {"phases": {"p": {"use": "in_batch", "loss": {"use": "infonce"}, "epochs": 1}}}
RERANK = {"test": {"use": "retrieval", "rerank": {"encoder": "cross", "depth": 50}}}


@pytest.mark.parametrize(
    ("sections", "matrices"),
    [
        ({"evaluate": {}}, 1),
        ({"evaluate": {"untrained": False}}, 0),
        ({"evaluate": {"baselines": {"dense": {"use": "exact", "encoder": "other"}}}}, 2),
        ({"evaluate": {}, "train": TRAIN}, 2),
        ({"evaluate": {"baselines": {"hybrid": HYBRID}}, "train": TRAIN}, 3),
    ],
)
def test_every_matrix_that_is_searched_and_every_pair_that_is_scored_counts(
    sections: dict[str, Any], matrices: int, tiny_model: Path
):
    bi_encoder = {"use": "bi_encoder", "model": str(tiny_model)}
    cross_encoder = {"use": "cross_encoder", "model": "owner/any"}
    sections["evaluate"].setdefault("evaluators", RERANK)
    recipe = load_recipe(
        {
            "recipe": 1,
            "name": "tiny",
            "encoders": {"student": bi_encoder, "other": bi_encoder, "cross": cross_encoder},
            "collect": {"sources": {"own": {"use": "python_code"}}},
            **sections,
        }
    )
    sizes = Sizes.foreseen(
        {"test": 20}, 100, query_characters=40, passage_characters=300, positives_per_query=1
    )
    work = stage_named("evaluate").estimate(
        EstimateInputs(recipe, sizes, None, {}), recipe.evaluate
    )
    assert work.get("texts to encode at most", 0) == matrices * 120
    assert work.get("bytes of embeddings at most", 0) == matrices * 120 * 32 * 4
    assert work["evaluators"] == {"test": {"pairs for cross to score at most": 20 * 50}}


def test_texts_whose_vectors_exist_are_not_encoded(tiny_model: Path, tmp_path: Path):
    np.save(tmp_path / "passages.npy", np.ones((100, 8), np.float32))
    vectors = {"use": "vectors_file", "path": str(tmp_path / "passages.npy")}
    recipe = load_recipe(
        {
            "recipe": 1,
            "name": "tiny",
            "encoders": {
                "student": {
                    "use": "bi_encoder",
                    "model": str(tiny_model),
                    "passage_vectors": vectors,
                },
                "old": {
                    "use": "precomputed",
                    "query_vectors": {"use": "vectors_file", "path": "queries.npy"},
                    "passage_vectors": {"use": "encoders.student.passage_vectors"},
                },
            },
            "collect": {"sources": {"own": {"use": "python_code"}}},
            "evaluate": {
                "evaluators": {"test": {"use": "retrieval"}},
                "baselines": {"old": {"use": "exact", "encoder": "old"}},
            },
        }
    )
    sizes = Sizes.foreseen(
        {"test": 20}, 100, query_characters=40, passage_characters=300, positives_per_query=1
    )
    work = stage_named("evaluate").estimate(
        EstimateInputs(recipe, sizes, None, {}), recipe.evaluate
    )
    assert work["texts to encode at most"] == 20, "the student's queries"
    assert work["bytes of embeddings at most"] == 2 * 120 * 8 * 4
