"""What the key of a stage depends on."""

from pathlib import Path
from typing import Any

import pytest

from helpers.train_inputs import train_section
from recipekit.artifacts.key import FileHashes, key_of
from recipekit.errors import DataError
from recipekit.pipeline.identity import stage_identity, without_limits
from recipekit.recipe.sections import Recipe, SpendingLimits
from recipekit.stages import stage_named
from recipekit.stages.collect.section import ExpectedSize
from recipekit.stages.recipe import load_recipe


def identity(recipe: Recipe, stage: str, **changes: Any) -> dict[str, Any]:
    """Return the identity of a stage, some keys of its section replaced."""
    section = getattr(recipe, stage).model_copy(update=changes)
    inputs = {"collect": "c", "mine": "m"}
    return stage_identity(recipe, stage_named(stage), section, inputs, FileHashes())


def test_human_labels_count_by_content(planned_recipe: Recipe, tmp_path: Path):
    policy = planned_recipe.judge.control_pairs

    def with_labels(name: str) -> dict[str, Any]:
        changed = policy.model_copy(update={"human_labels": tmp_path / name})
        return identity(planned_recipe, "judge", control_pairs=changed)

    (tmp_path / "copy.csv").write_text((tmp_path / "labels.csv").read_text())
    original = with_labels("labels.csv")
    assert with_labels("copy.csv") == original != identity(planned_recipe, "judge")
    (tmp_path / "copy.csv").write_text("query_id,passage_id,verdict\nq0,p1,negative\n")
    assert with_labels("copy.csv") != original
    message = r"recipe.yaml:5:1: judge.control_pairs.human_labels: .*none.csv: no such file"
    with pytest.raises(DataError, match=message):
        with_labels("none.csv")


def test_limits_and_control_pairs_count_and_floors_do_not(planned_recipe: Recipe):
    section = planned_recipe.judge
    unchanged = identity(planned_recipe, "judge")
    limited = planned_recipe.model_copy(update={"spending": SpendingLimits(max_cost_usd=5.0)})
    assert identity(limited, "judge") != unchanged
    assert without_limits(identity(limited, "judge")) == without_limits(unchanged)
    assert identity(limited, "mine") == identity(planned_recipe, "mine")
    more = section.control_pairs.model_copy(update={"share": 0.2})
    assert identity(planned_recipe, "judge", control_pairs=more) != unchanged
    floors = section.require.model_copy(update={"kappa": 0.3})
    assert identity(planned_recipe, "judge", require=floors) == unchanged


def test_expected_sizes_do_not_count(planned_recipe: Recipe):
    expected = ExpectedSize(passages=10, queries={"train": 1})
    with_sizes = identity(planned_recipe, "collect", expected_size=expected)
    assert with_sizes == identity(planned_recipe, "collect")


def test_what_only_divides_the_work_of_training_does_not_count(planned_recipe: Recipe):
    recipe = planned_recipe.model_copy(update={"train": train_section()})
    smaller = {"max_tokens_per_batch": 512, "gradient_checkpointing": True}
    assert identity(recipe, "train", **smaller) == identity(recipe, "train")
    assert identity(recipe, "train", batch_size=6) != identity(recipe, "train")


def test_the_passes_that_dropout_is_drawn_for_count(planned_recipe: Recipe):
    recipe = planned_recipe.model_copy(update={"train": train_section(dropout=True)})
    unchanged = identity(recipe, "train")
    assert identity(recipe, "train", gradient_checkpointing=True) == unchanged
    assert identity(recipe, "train", max_tokens_per_batch=512) != unchanged


@pytest.mark.parametrize("around", ["", "use: matryoshka, dimensions: [32, 8], loss: "])
def test_the_files_and_keys_of_a_guide_count(tmp_path: Path, around: str):
    for name in ("student", "large", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"hidden_size": 32}')
    guided = "{use: sentence_transformers, loss: GISTEmbedLoss, guide: large}"
    loss = f"{{{around}{guided}}}" if around else guided
    (tmp_path / "recipe.yaml").write_text(
        "recipe: 1\nname: guided\nencoders:\n"
        "  student: {use: bi_encoder, model: ./student}\n"
        "  large: {use: bi_encoder, model: ./large}\n"
        "  other: {use: bi_encoder, model: ./other}\n"
        "collect: {sources: {code: {use: python_code}}}\n"
        f"train: {{phases: {{first: {{use: in_batch, loss: {loss}}}}}}}\n"
    )

    def key(*overrides: str) -> str:
        recipe = load_recipe(tmp_path / "recipe.yaml", overrides)
        return key_of(identity(recipe, "train"))

    unchanged = key()
    assert key("encoders.other.query_prompt=Q") == unchanged
    assert key("encoders.large.query_prompt=Q") != unchanged
    (tmp_path / "other" / "config.json").write_text('{"hidden_size": 32, "seed": 1}')
    assert key() == unchanged
    (tmp_path / "large" / "config.json").write_text('{"hidden_size": 32, "seed": 1}')
    assert key() != unchanged
