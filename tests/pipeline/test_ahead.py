import re

import pytest

from recipekit.errors import ComponentError, DataError
from recipekit.pipeline.preflight import check_data, check_servers
from recipekit.recipe.load import load_recipe

RECIPE = """\
recipe: 1
name: held-out
encoders: {student: {use: bi_encoder, model: some/model}}
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}}
evaluate:
  evaluators:
    good: {use: retrieval, split: train}
    bad: {use: retrieval, split: test}
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return load_recipe(tmp_path / "recipe.yaml")


def test_what_cannot_be_evaluated_is_told_before_hours_are_spent(recipe, make_dataset):
    dataset = make_dataset([("q0", "one", "train")], [("p", "1")], {(0, 0): 1.0})
    told = "recipe.yaml:8:10: evaluate.evaluators.bad: no query with a positive in split 'test'"
    with pytest.raises(DataError, match=re.escape(told)):
        check_data(recipe, ["collect", "evaluate"], dataset)


def test_stages_that_will_not_run_are_not_asked(recipe, make_dataset):
    check_data(
        recipe, ["collect"], make_dataset([("q0", "one", "train")], [("p", "1")], {(0, 0): 1.0})
    )


def test_data_that_suits_everybody_pass(recipe, tiny_dataset):
    check_data(recipe, ["collect", "evaluate"], tiny_dataset)


# Servers
# -------------------------------------------------------------------------------------------------------------

SERVERS = """\
recipe: 1
name: servers
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}}
mine:
  retrievers:
    here: {use: bm25}
    there: {use: qdrant, encoder: student, url: "http://127.0.0.1:1"}
encoders: {student: {use: bi_encoder, model: some/model}}
"""


def test_a_server_that_is_down_is_told_with_its_place(tmp_path):
    (tmp_path / "recipe.yaml").write_text(SERVERS)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    told = "recipe.yaml:7:12: mine.retrievers.there: Qdrant at http://127.0.0.1:1 cannot be reached"
    with pytest.raises(ComponentError, match=re.escape(told)) as error:
        check_servers(recipe, ["collect", "mine"])
    assert error.value.code == "RK260"
    check_servers(recipe, ["collect"])


def test_a_limit_in_usd_for_a_model_without_a_price_is_told_before_hours_are_spent(tmp_path):
    judge = "judge: {judges: {mine: {use: llm, model: openai/no-such-model, api_base: 'http://127.0.0.1:1/v1'}}, max_cost_usd: 1}\n"
    (tmp_path / "recipe.yaml").write_text(
        SERVERS.replace(
            '    there: {use: qdrant, encoder: student, url: "http://127.0.0.1:1"}\n', ""
        )
        + judge
    )
    told = (
        "recipe.yaml:8:24: judge.judges.mine: max_cost_usd needs the price of openai/no-such-model"
    )
    with pytest.raises(ComponentError, match=re.escape(told)) as error:
        check_servers(load_recipe(tmp_path / "recipe.yaml"), ["mine", "judge"])
    assert error.value.code == "RK240"
