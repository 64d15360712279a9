"""Later stages are checked before earlier ones run."""

import re

import pytest

from recipekit.errors import ComponentError, DataError
from recipekit.pipeline.preflight import check_data, check_servers
from recipekit.stages.recipe import load_recipe

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


def test_an_evaluator_without_data_fails_once_the_data_is_collected(recipe, make_dataset):
    dataset = make_dataset([("q0", "one", "train")], [("p", "1")], {(0, 0): 1.0})
    message = "recipe.yaml:8:10: evaluate.evaluators.bad: split 'test' has no query with a positive"
    with pytest.raises(DataError, match=re.escape(message)):
        check_data(recipe, ["collect", "evaluate"], dataset)


def test_stages_that_will_not_run_are_not_checked(recipe, make_dataset):
    check_data(
        recipe, ["collect"], make_dataset([("q0", "one", "train")], [("p", "1")], {(0, 0): 1.0})
    )


def test_suitable_data_passes(recipe, tiny_dataset):
    check_data(recipe, ["collect", "evaluate"], tiny_dataset)


# Servers
# -------------------------------------------------------------------------------------------------

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


def test_an_unreachable_server_is_reported_with_its_location_in_the_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(SERVERS)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    message = (
        "recipe.yaml:7:12: mine.retrievers.there: Qdrant at http://127.0.0.1:1 cannot be reached"
    )
    with pytest.raises(ComponentError, match=re.escape(message)) as error:
        check_servers(recipe, ["collect", "mine"])
    assert error.value.code == "RK260"
    check_servers(recipe, ["collect"])


@pytest.mark.parametrize("section", ["spending", "judge.spending"])
def test_a_limit_in_usd_needs_the_price_of_the_model(tmp_path, section):
    model = "use: llm, model: openai/no-such-model, api_base: 'http://127.0.0.1:1/v1'"
    judge = f"judge: {{judges: {{mine: {{{model}}}}}}}\n"
    (tmp_path / "recipe.yaml").write_text(
        SERVERS.replace(
            '    there: {use: qdrant, encoder: student, url: "http://127.0.0.1:1"}\n', ""
        )
        + judge
    )
    message = (
        "recipe.yaml:8:24: judge.judges.mine: max_cost_usd needs the price of openai/no-such-model"
    )
    with pytest.raises(ComponentError, match=re.escape(message)) as error:
        recipe = load_recipe(tmp_path / "recipe.yaml", [f"{section}.max_cost_usd=1"])
        check_servers(recipe, ["mine", "judge"])
    assert error.value.code == "RK240"
