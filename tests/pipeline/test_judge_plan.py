"""What a plan says of judging: pairs, and what the judges' components expect of so many."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from recipekit.artifacts.key import FileHashes
from recipekit.cli.plan import work
from recipekit.component import JudgeSpec, Sizes, Slot
from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.pipeline.estimate import estimate
from recipekit.pipeline.identity import stage_identity
from recipekit.recipe.load import load_recipe
from recipekit.recipe.sections import ExpectedSize, MineSection, Recipe
from recipekit.registry import Entry
from recipekit.stages.pipeline import PIPELINE


class Paid(JudgeSpec):
    """A judge that takes a call for ten pairs, and a cent for a call."""

    measured: ClassVar[bool] = True

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        return {"calls": pairs / 10, "usd": pairs / 1000}


class Free(JudgeSpec):
    """A filter."""


RECIPE = """\
recipe: 1
name: planned
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}}
mine: {retrievers: {lexical: {use: bm25, depth: 40}}, candidates_per_query: 30}
judge: {judges: {people: {use: labels, file: labels.csv}}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "labels.csv").write_text(
        "query_id,passage_id,verdict\nq0,p1,positive\nq0,p2,negative\nq0,p3,\n"
    )
    (tmp_path / "pairs.jsonl").write_text('{"query": "a", "positive": "b"}\n')
    return load_recipe(tmp_path / "recipe.yaml")


def told(
    recipe: Recipe, dataset: Dataset, judges: dict[str, JudgeSpec], mined: Any = None, **policy: Any
) -> dict[str, Any]:
    slots = {name: Slot(use=name) for name in judges}
    for name, slot in slots.items():
        slot.bind(Entry("judge", name, "tests", "1", "tests:Paid"), judges[name])
    assert recipe.judge is not None and isinstance(recipe.mine, MineSection)
    section = recipe.judge.model_copy(update={"judges": slots, **policy})
    return estimate(recipe, "judge", section, dataset, mined)


def pairs_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {unit: value for unit, value in judge.items() if "pairs" in unit}
        for judge in told["judges"].values()
    ]


def test_before_mining_the_pairs_are_a_bound(recipe: Recipe, tiny_dataset: Dataset) -> None:
    # 12 train queries with 30 candidates each, and blind a tenth of their 12 positives, give or
    # take three deviations of 1.04
    assert told(recipe, tiny_dataset, {"one": Paid()}) == {
        "pairs at most": 360,
        "judges": {"one": {"pairs at most": 365, "calls": 36.5, "usd": 0.365}},
    }


def test_after_mining_they_are_known(recipe: Recipe, tiny_dataset: Dataset) -> None:
    trust = recipe.judge.control_pairs.model_copy(update={"share": 0.0})  # type: ignore[union-attr]
    assert told(recipe, tiny_dataset, {"one": Paid()}, {"candidates": 212}, trust=trust) == {
        "pairs": 200,
        "judges": {"one": {"pairs": 200, "calls": 20.0, "usd": 0.2}},
    }
    audit = told(
        recipe,
        tiny_dataset,
        {"one": Paid()},
        {"candidates": 212},
        trust=trust,
        rejudge_source_labels=True,
    )
    assert pairs_of(audit) == [{"pairs": 212}]


def test_conditions_count_and_those_on_verdicts_leave_a_bound(
    recipe: Recipe, tiny_dataset: Dataset
) -> None:
    judges: dict[str, JudgeSpec] = {
        "near": Free(),
        "top": Paid(max_rank=5),
        "cascade": Paid(previous_verdicts=("positive",)),
        "sample": Paid(max_pairs=50),
    }
    found = told(recipe, tiny_dataset, judges, {"candidates": 212}, max_cost_usd=4.0, max_calls=9)
    assert list(found["judges"]) == ["top", "cascade", "sample"], (
        "a filter takes nothing worth telling"
    )
    assert pairs_of(found) == [{"pairs at most": 65}, {"pairs at most": 205}, {"pairs": 50}]
    assert found["usd"] == pytest.approx(0.32)
    assert (found["max_cost_usd"], found["max_calls"]) == (4.0, 9)


def test_what_people_labelled_may_be_asked_about_too(
    recipe: Recipe, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    trust = recipe.judge.control_pairs.model_copy(update={"human_labels": tmp_path / "labels.csv"})  # type: ignore[union-attr]
    assert pairs_of(told(recipe, tiny_dataset, {"one": Paid()}, trust=trust)) == [
        {"pairs at most": 367}
    ]


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
            "at most 50,000,000 pairs, 2,000,000 calls, 7.62 B tokens in, 300.0 M tokens out, $1,323, 27 h 30 min",
        ),
        (
            {"pairs": 20, "usd": 0.00034, "max_cost_usd": 5.0},
            "20 pairs, $0.00034, judge.max_cost_usd $5.00",
        ),
        (
            {"pairs": 20, "usd": "unknown: give price", "tokens": "estimated"},
            "20 pairs, usd unknown: give price, tokens estimated",
        ),
        ({"pairs at most": 3, "judges": {"one": {}}}, "at most 3 pairs"),
    ],
)
def test_figures_are_printed_with_their_units(estimate: dict[str, Any], line: str) -> None:
    assert work(estimate) == line


# What a key is made of
# ----------------------------------------------------------------------------------------------------


def identity(recipe: Recipe, changes: Iterable[tuple[str, Any]] = ()) -> dict[str, Any]:
    assert recipe.judge is not None
    stage = next(stage for stage in PIPELINE if stage.name == "judge")
    return stage_identity(
        recipe,
        stage,
        recipe.judge.model_copy(update=dict(changes)),
        {"collect": "c", "mine": "m"},
        FileHashes(),
    )


def test_peoples_labels_count_by_content(recipe: Recipe, tmp_path: Path) -> None:
    trust = recipe.judge.control_pairs  # type: ignore[union-attr]
    (tmp_path / "copy.csv").write_text((tmp_path / "labels.csv").read_text())
    by_name, by_copy = (
        identity(
            recipe, [("control_pairs", trust.model_copy(update={"human_labels": tmp_path / name}))]
        )
        for name in ("labels.csv", "copy.csv")
    )
    assert by_name == by_copy != identity(recipe)
    (tmp_path / "copy.csv").write_text("query_id,passage_id,verdict\nq0,p1,negative\n")
    assert (
        identity(
            recipe,
            [("control_pairs", trust.model_copy(update={"human_labels": tmp_path / "copy.csv"}))],
        )
        != by_name
    )
    with pytest.raises(
        DataError,
        match=r"recipe.yaml:5:1: judge.control_pairs.human_labels: .*none.csv: no such file",
    ):
        identity(
            recipe,
            [("control_pairs", trust.model_copy(update={"human_labels": tmp_path / "none.csv"}))],
        )


def test_budgets_and_blind_shares_decide_what_is_judged_and_floors_only_whether_it_will_do(
    recipe: Recipe,
) -> None:
    section = recipe.judge
    assert section is not None
    assert identity(recipe, [("max_cost_usd", 5.0)]) != identity(recipe)
    assert identity(
        recipe, [("control_pairs", section.control_pairs.model_copy(update={"share": 0.2}))]
    ) != identity(recipe)
    assert identity(
        recipe, [("require", section.require.model_copy(update={"kappa": 0.3}))]
    ) == identity(recipe)


def test_before_anything_is_collected_a_plan_goes_by_what_the_recipe_expects(
    recipe: Recipe,
) -> None:
    assert "collect.expected_size" in estimate(recipe, "mine", recipe.mine, None)["unknown until"]  # type: ignore[arg-type]
    expect = ExpectedSize(
        passages=1_000_000,
        queries={"train": 9_000, "test": 1_000},
        passage_characters=300,
        positives_per_query=2,
    )
    foreseen = recipe.model_copy(
        update={"collect": recipe.collect.model_copy(update={"expected_size": expect})}
    )
    mine = estimate(foreseen, "mine", foreseen.mine, None)  # type: ignore[arg-type]
    assert mine["queries to mine"] == 9_000
    assert mine["retrievers"]["lexical"]["bytes of index"] == pytest.approx(
        1_000_000 * 300 / 15 * 8
    )
    judged = told(foreseen, None, {"one": Paid()})  # type: ignore[arg-type]
    # 30 candidates for each of 9,000 queries, and blind a tenth of their 18,000 positives, give or
    # take three deviations of 40.2
    assert pairs_of(judged) == [{"pairs at most": 270_000 + 1_800 + 121}]
    assert estimate(foreseen, "collect", foreseen.collect, None)["bytes of text"] == pytest.approx(
        1_000_000 * 300 + 10_000 * 40
    )


def test_expectations_are_no_part_of_a_result(recipe: Recipe, tmp_path: Path) -> None:
    expect = ExpectedSize(passages=10, queries={"train": 1})
    foreseen = recipe.model_copy(
        update={"collect": recipe.collect.model_copy(update={"expected_size": expect})}
    )
    keys = [
        stage_identity(one, PIPELINE[0], one.collect, {}, FileHashes())
        for one in (recipe, foreseen)
    ]
    assert keys[0] == keys[1]
