"""A component in a slot of another component is treated as one in a slot of a section."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from recipekit.artifacts.key import FileHashes, component_identity, key_of
from recipekit.cli.components import describe
from recipekit.cli.validate import summary
from recipekit.component import EncoderName, LossSpec, Slot
from recipekit.errors import DataError, RecipeError
from recipekit.pipeline.identity import stage_identity
from recipekit.recipe.fill import filled
from recipekit.recipe.read import read_file, read_text
from recipekit.recipe.schema import recipe_schema
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import all_slots
from recipekit.registry import resolve
from recipekit.stages import PIPELINE
from recipekit.stages.recipe import load_recipe, recipe_model
from recipekit.testing import bind, check_spec, context

Write = Callable[..., Path]

TRAIN = """\
encoders:
  student: {{use: frozen}}
  teacher: {{use: bi_encoder, model: ./teacher}}
train:
  phases:
    first:
      use: in_batch
      loss:
        use: wrapper
        inner:
          use: kitchen/wrapper
          inner: {{use: plain, {fields}}}
"""
LOSS = "train.phases.first.loss"
INNERMOST = f"{LOSS}.inner.inner"


@pytest.fixture
def nested(write: Write) -> Callable[..., Path]:
    """`nested("temperature: 0.1")`: a recipe with a loss in a loss in a loss, and its keys."""

    def nested(fields: str = "temperature: 0.1") -> Path:
        return write(TRAIN.format(fields=fields))

    return nested


def innermost(recipe: Recipe) -> Any:
    assert recipe.train is not None
    return recipe.train.phases["first"].spec.loss.spec.inner.spec.inner.spec  # type: ignore[attr-defined]


def problems(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, overrides)
    return [
        f"{problem.where.rpartition('recipe.yaml:')[2]}: {problem.path}: {problem.message}"
        for problem in caught.value.problems
        if not problem.message.endswith("cannot be trained")
    ]


def train_key(recipe: Recipe) -> str:
    assert recipe.train is not None
    stage = next(stage for stage in PIPELINE if stage.name == "train")
    return key_of(stage_identity(recipe, stage, recipe.train, {}, FileHashes()))


@pytest.fixture
def trainable(monkeypatch: pytest.MonkeyPatch, installed: Path) -> None:
    """The encoder of these recipes can be trained."""
    import kitchen

    monkeypatch.setattr(kitchen.Frozen, "at", lambda self, folder: self)


pytestmark = pytest.mark.usefixtures("trainable")


# Binding
# -------


def test_components_are_bound_at_every_depth(nested: Callable[..., Path]) -> None:
    recipe = load_recipe(nested())
    assert innermost(recipe).temperature == 0.1
    paths = [".".join(map(str, path)) for path, _ in all_slots(recipe) if path[0] == "train"]
    assert paths == [
        "train.phases.first",
        LOSS,
        f"{LOSS}.inner",
        f"{LOSS}.inner.inner",
        f"{LOSS}.inner.standby",
        f"{LOSS}.standby",
    ]


def test_slots_can_be_in_maps_lists_and_models_of_a_component(nested: Callable[..., Path]) -> None:
    recipe = load_recipe(
        nested(),
        [
            f"{LOSS}.losses.a={{use: plain, temperature: 2}}",
            f"{LOSS}.sequence=[{{use: plain, temperature: 3}}, {{use: plain}}]",
            f"{LOSS}.rating.judge={{use: critic}}",
        ],
    )
    assert recipe.train is not None
    loss: Any = recipe.train.phases["first"].spec.loss.spec
    assert loss.losses["a"].spec.temperature == 2
    assert [slot.spec.temperature for slot in loss.sequence] == [3, 0.05]
    assert loss.rating.judge.spec.taste == "sweet"


def test_a_default_component_is_bound_for_each_spec_alone(nested: Callable[..., Path]) -> None:
    file = nested()
    one, other = (
        load_recipe(file),
        load_recipe(file, [f"{LOSS}.standby={{use: plain, temperature: 9}}"]),
    )
    assert one.train is not None and other.train is not None
    loss: Any = one.train.phases["first"].spec.loss.spec
    assert loss.standby.spec.temperature == 0.5
    assert loss.standby is not loss.inner.spec.standby
    changed: Any = other.train.phases["first"].spec.loss.spec
    assert changed.standby.spec.temperature == 9


def test_a_component_is_built_with_a_scratch_folder_of_its_own(
    nested: Callable[..., Path], tmp_path: Path
) -> None:
    sequence = f"{LOSS}.sequence=[{{use: plain}}, {{use: plain}}]"
    recipe = load_recipe(nested(), [sequence])
    assert recipe.train is not None
    built: Any = recipe.train.phases["first"].spec.loss.spec.build(context(tmp_path))
    assert built == [
        tmp_path,
        [tmp_path / "inner", tmp_path / "inner" / "inner"],
        tmp_path / "sequence.0",
        tmp_path / "sequence.1",
    ]
    assert (tmp_path / "inner" / "inner").is_dir()


# Mistakes
# --------


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("temprature: 1", "17:31: INNER.temprature: unknown key. Did you mean 'temperature'?"),
        ("temperature: hot", "17:44: INNER.temperature: expected a number, found the text 'hot'"),
        ("temperature: true", "17:44: INNER.temperature: expected a number, found true"),
        ("temperature: 0", "17:44: INNER.temperature: must be > 0, found the number 0"),
        ("teacher: tutor", "17:40: INNER.teacher: there is no encoder 'tutor'. The recipe has "),
        ("key: sk-1", "17:36: INNER.key: a secret does not belong in a recipe: write ${env:NAME}"),
        ('temperature: "${env:HOME}"', "17:44: INNER.temperature: ${env:NAME} is not allowed"),
        ('key: "${env:NOT_SET}"', "17:36: INNER.key: the environment variable NOT_SET is not set"),
    ],
)
def test_a_mistake_in_a_nested_component_has_its_full_path(
    nested: Callable[..., Path], fields: str, problem: str
) -> None:
    (found,) = problems(nested(fields))
    assert found.startswith(problem.replace("INNER", INNERMOST))


@pytest.mark.parametrize(
    ("slot", "problem"),
    [
        ("{use: plian}", "use: unknown loss 'plian'. Did you mean 'plain'?"),
        (
            "{use: critic}",
            "use: unknown loss 'critic': it is the name of a component of another kind (judge)",
        ),
        ("{temperature: 1}", "use: missing"),
        ("{type: plain}", "use: missing: write 'use: plain' for 'type: plain'"),
        ("plain", "expected a map of keys, found the text 'plain': write {use: plain}"),
        ('{use: "${env:HOME}"}', "use: ${env:NAME} is allowed in a component's urls"),
    ],
)
def test_a_slot_that_names_no_component_has_its_full_path(
    nested: Callable[..., Path], slot: str, problem: str
) -> None:
    (found,) = problems(nested(), f"{INNERMOST}={slot}")
    path = f"{INNERMOST}.{problem}" if problem.startswith("use: ") else f"{INNERMOST}: {problem}"
    assert found.startswith(f"--set {INNERMOST}={slot}: {path}")


def test_mistakes_at_every_depth_are_reported_together(nested: Callable[..., Path]) -> None:
    overrides = [f"{LOSS}.sclae=1", f"{LOSS}.inner.scale=x", f"{INNERMOST}.teacher=tutor"]
    paths = [found.split(": ")[1] for found in problems(nested(), *overrides)]
    assert paths == [f"{LOSS}.sclae", f"{LOSS}.inner.scale", f"{INNERMOST}.teacher"]


# --set, paths and the environment
# --------------------------------


def test_an_override_reaches_a_nested_component_and_its_path_starts_at_the_current_folder(
    nested: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file = nested("table: here.txt")
    assert innermost(load_recipe(file)).table == tmp_path / "here.txt"
    recipe = load_recipe(file, [f"{INNERMOST}.table=there.txt", f"{INNERMOST}.temperature=7"])
    assert innermost(recipe).table == tmp_path / "elsewhere" / "there.txt"
    assert innermost(recipe).temperature == 7
    whole = load_recipe(file, [f"{LOSS}={{use: wrapper, inner: {{use: plain, table: a}}}}"])
    assert whole.train is not None
    loss: Any = whole.train.phases["first"].spec.loss.spec
    assert loss.inner.spec.table == tmp_path / "elsewhere" / "a"


def test_a_filled_recipe_has_every_default_and_no_value_from_the_environment(
    nested: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSS_KEY", "hunter2-secret")
    recipe = load_recipe(nested('key: "${env:LOSS_KEY}", table: here.txt'))
    assert innermost(recipe).key == "hunter2-secret"
    text = filled(recipe)
    assert "hunter2" not in text
    loss = read_text(text, "").value["train"]["phases"]["first"]["loss"]
    assert loss["inner"]["inner"] == {
        "use": "plain",
        "temperature": 0.05,
        "threads": 1,
        "key": "${env:LOSS_KEY}",
        "teacher": None,
        "table": str(tmp_path / "here.txt"),
    }
    assert loss["standby"]["temperature"] == 0.5
    assert loss["standby"]["threads"] == 1
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "copy.yaml").write_text(text)
    assert load_recipe(tmp_path / "far" / "copy.yaml") == recipe


# Identity
# --------


def test_the_key_changes_with_a_field_of_a_nested_component(nested: Callable[..., Path]) -> None:
    key = train_key(load_recipe(nested()))
    assert train_key(load_recipe(nested(), [f"{INNERMOST}.temperature=0.2"])) != key
    assert train_key(load_recipe(nested(), [f"{INNERMOST}.use=kitchen/plain"])) == key
    assert (
        train_key(load_recipe(nested(), [f"{LOSS}.standby={{use: plain, temperature: 0.5}}"]))
        == key
    )


def test_the_key_does_not_change_with_a_field_that_is_not_identity(
    nested: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = train_key(load_recipe(nested()))
    monkeypatch.setenv("LOSS_KEY", "hunter2")
    overrides = [f"{INNERMOST}.threads=4", f"{INNERMOST}.key=${{env:LOSS_KEY}}"]
    assert train_key(load_recipe(nested(), overrides)) == key


def test_the_key_changes_with_the_files_and_encoders_of_a_nested_component(
    nested: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "here.txt").write_text("one")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "config.json").write_text("{}")
    file = nested("table: here.txt, teacher: teacher")
    key = train_key(load_recipe(file))
    (tmp_path / "here.txt").write_text("another")
    changed = train_key(load_recipe(file))
    assert changed != key
    assert train_key(load_recipe(file, ["encoders.teacher.max_length=7"])) != changed


def test_a_missing_file_of_a_nested_component_is_named_with_its_slot(
    nested: Callable[..., Path],
) -> None:
    with pytest.raises(DataError, match=r"train.phases.first: loss: inner: inner: .*no-such"):
        train_key(load_recipe(nested("table: no-such")))


# What is shown
# -------------


def test_validate_shows_the_components_inside_a_component(nested: Callable[..., Path]) -> None:
    inner = "wrapper(inner=plain, standby=plain)".replace("wrapper", "kitchen/wrapper")
    text = summary(load_recipe(nested()))
    assert text.endswith(f"train: first=in_batch(loss=wrapper(inner={inner}, standby=plain))")


def test_a_component_is_described_with_its_slots() -> None:
    lines = list(describe(resolve("loss", "wrapper")))
    assert "inner: loss (required)" in lines
    assert "losses: map to loss (optional)" in lines
    assert "sequence: list of loss (default [])" in lines


@pytest.mark.parametrize(
    ("inner", "valid"),
    [
        ({"use": "plain", "temperature": 1}, True),
        ({"use": "wrapper", "inner": {"use": "wrapper", "inner": {"use": "plain"}}}, True),
        ({"use": "plain", "temprature": 1}, False),
        ({"use": "critic"}, False),
        ({"temperature": 1}, False),
        ({"use": "wrapper", "inner": {"use": "wrapper", "inner": {"use": "plian"}}}, False),
        ({"use": "wrapper"}, False),
    ],
)
def test_the_schema_checks_nested_components(
    inner: dict[str, Any], valid: bool, nested: Callable[..., Path]
) -> None:
    recipe = read_file(nested(), "").value
    recipe["train"]["phases"]["first"]["loss"]["inner"] = inner
    schema = recipe_schema(recipe_model())
    assert jsonschema.Draft202012Validator(schema).is_valid(recipe) is valid
    assert schema["$defs"]["loss.wrapper"]["properties"]["inner"]["$ref"] == "#/$defs/loss"


# Testing without a recipe
# ------------------------


class Outer(LossSpec):
    """A loss of the tests, without an entry point."""

    inner: Slot[LossSpec]
    """The loss inside."""
    teacher: EncoderName | None = None
    """An encoder."""

    def build(self, context: Any) -> Any:
        """The inner loss."""
        return self.inner.build(context)


def test_bind_makes_a_spec_from_plain_keys(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("x")
    spec = bind(Outer, {"inner": {"use": "plain", "table": "t"}}, tmp_path)
    check_spec(spec, "loss")
    assert spec.build(context(tmp_path)) == tmp_path / "inner"
    identity = component_identity(spec, "mine", "outer", FileHashes())
    assert identity["fields"]["inner"]["name"] == "plain"
    assert identity["fields"]["inner"]["files"].keys() == {"table"}


def test_bind_reports_every_mistake_with_its_path() -> None:
    with pytest.raises(RecipeError) as caught:
        bind(Outer, {"inner": {"use": "plain", "temperature": "hot"}, "inmer": 1})
    assert [str(problem) for problem in caught.value.problems] == [
        "Outer: inner.temperature: expected a number, found the text 'hot'",
        "Outer: inmer: unknown key. Did you mean 'inner'?",
    ]


def test_check_spec_finds_what_is_wrong_inside_a_slot(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        '"""A loss that documents nothing."""\n\nfrom recipekit.component import LossSpec\n\n\n'
        'class Own(LossSpec):\n    """Mine."""\n\n    sugar: int = 1\n\n'
        "    def build(self, context): ...\n\n"
        "    def build(self, context):\n        return None\n"
    )
    spec = bind(Outer, {"inner": {"use": "./own.py:Own"}}, tmp_path)
    with pytest.raises(AssertionError, match=r"Own\.sugar has no docstring"):
        check_spec(spec, "loss")
