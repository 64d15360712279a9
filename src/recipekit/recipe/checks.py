"""What must fit together across sections: names that refer to one another, sections that need one
another, options at odds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recipekit.component import Component, EncoderSpec, JudgeSpec, is_encoder_name
from recipekit.recipe.binding import Bound
from recipekit.recipe.positions import Document, KeyPath, at
from recipekit.recipe.sections import SECTIONS, TRAINED, Recipe
from recipekit.recipe.slots import models
from recipekit.suggestions import did_you_mean

__all__ = ["check"]


def check(document: Document, bound: Mapping[KeyPath, Bound], unclear: Collection[KeyPath]) -> None:
    """Find what does not fit together, in a recipe whose parts may be wrong themselves.

    Args:
        document: The recipe.
        bound: Its components, by path.
        unclear: Maps of which nothing is said, since it is not known what they hold (`misshapen`).
    """
    recipe = {name: section for name, section in document.value.items() if section is not None}
    if ("encoders",) not in unclear:
        _encoder_names(document, recipe, bound)
        _trainable(document, recipe, bound)
    _needs(document, recipe, bound)
    if ("mine", "retrievers") not in unclear:
        _weights(document, recipe)
    if ("judge", "judges") not in unclear:
        _judges(document, recipe, bound)
    _systems(document, recipe)
    if at(recipe, ("export", "exporters", "scratch")) is not None:
        message = "this name is taken: an exporter's name is its folder's, and work that is not finished is in that one"
        document.find(("export", "exporters", "scratch"), message, "RK107", at_key=True)


def _encoder_names(
    document: Document, recipe: dict[str, Any], bound: Mapping[KeyPath, Bound]
) -> None:
    """Every field that names an encoder names one of the recipe's, or the trained one where there
    is one by then.
    """
    encoders = recipe.get("encoders")
    known = list(encoders) if isinstance(encoders, dict) else []
    if TRAINED in known:
        message = f"no encoder may be called '{TRAINED}': by this name sections after train speak of the trained one"
        document.find(("encoders", TRAINED), message, "RK106", at_key=True)
    for path, name in _references(recipe, bound):
        after_train = (
            "train" in recipe and path[0] in SECTIONS[SECTIONS.index("train") + 1 :]
            if path[0] in SECTIONS
            else False
        )
        if (name in known and name != TRAINED) or (
            name == TRAINED and after_train and path != ("evaluate", "encoder")
        ):
            continue
        if name == TRAINED:
            message = _no_trained(recipe, path)
        elif known:
            message = f"there is no encoder '{name}'.{did_you_mean(name, known) or ' The recipe has ' + ', '.join(known) + '.'}"
        elif path in document.values:
            message = f"there is no encoder '{name}': the recipe has no encoders"
        else:
            document.find(
                path[:1],
                f"needs an encoder called '{name}': the recipe has no encoders",
                "RK106",
                at_key=True,
            )
            continue
        document.find(path, message, "RK106")


def _no_trained(recipe: dict[str, Any], path: KeyPath) -> str:
    if path == ("evaluate", "encoder"):
        return f"'{TRAINED}' is measured anyway: name the encoder to compare it with"
    if "train" not in recipe:
        return f"there is no '{TRAINED}' encoder: the recipe has no train section"
    return f"the '{TRAINED}' encoder is there only after train, in evaluate and export"


def _references(
    recipe: dict[str, Any], bound: Mapping[KeyPath, Bound]
) -> Iterator[tuple[KeyPath, str]]:
    """Every name of an encoder, written or by default, with its path."""
    for path, model, section in models(Recipe, recipe):
        yield from _named(model, section, path)
    for path, component in bound.items():
        if component.type is not None:
            yield from _named(component.type, component.fields, path)


def _named(model: type[BaseModel], written: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for name, field in model.model_fields.items():
        if not is_encoder_name(field):
            continue
        value = _value(written, name, field)
        if isinstance(value, list | tuple):
            yield from (
                ((*path, name, index), item)
                for index, item in enumerate(value)
                if isinstance(item, str)
            )
        elif isinstance(value, str):
            yield (*path, name), value


def _value(written: Any, name: str, field: FieldInfo) -> Any:
    default = None if field.is_required() else field.get_default(call_default_factory=False)
    return written.get(name, default) if isinstance(written, dict) else default


def _trainable(document: Document, recipe: dict[str, Any], bound: Mapping[KeyPath, Bound]) -> None:
    train, evaluate = recipe.get("train"), recipe.get("evaluate")
    if not isinstance(train, dict):
        return
    trained = train.get("encoder", "student")
    component = bound[("encoders", trained)].type if ("encoders", trained) in bound else None
    if (
        component is not None
        and issubclass(component, EncoderSpec)
        and component.at is EncoderSpec.at
    ):
        document.find(
            ("train", "encoder"),
            f"encoder '{trained}' ({component.__name__}) cannot be trained",
            "RK107",
        )
    known = recipe.get("encoders") or {}
    measured = evaluate.get("encoder", "student") if isinstance(evaluate, dict) else trained
    named = (
        isinstance(measured, str)
        and isinstance(trained, str)
        and measured in known
        and trained in known
    )
    if named and measured not in (trained, TRAINED):
        message = f"'{measured}' would stand beside the trained '{trained}' as if it were that one untrained: name '{trained}'"
        document.find(("evaluate", "encoder"), message, "RK107")


def _needs(document: Document, recipe: dict[str, Any], bound: Mapping[KeyPath, Bound]) -> None:
    """Sections and components that have nothing to work on without another section."""
    if "judge" in recipe and "mine" not in document.value:
        document.find(
            ("judge",),
            "there is nothing to judge: candidates come from a mine section, and there is none",
            "RK107",
            at_key=True,
        )
    for path, component in bound.items():
        for section in component.type.needs if component.type else ():
            if section not in document.value:
                message = f"needs a {section} section, and the recipe has none"
                document.find(path, message, "RK107", at_key=True)


def _weights(document: Document, recipe: dict[str, Any]) -> None:
    mine = recipe.get("mine")
    if not isinstance(mine, dict) or not isinstance(weights := mine.get("fusion_weights"), dict):
        return
    retrievers = mine.get("retrievers")
    for name in weights:
        if isinstance(retrievers, dict) and name not in retrievers:
            meant = (
                did_you_mean(name, retrievers) or f" The retrievers are {', '.join(retrievers)}."
            )
            document.find(
                ("mine", "fusion_weights", name),
                f"there is no retriever '{name}'.{meant}",
                "RK106",
                at_key=True,
            )
    if weights and mine.get("fusion") == "union":
        document.find(
            ("mine", "fusion_weights"),
            "has no effect with 'fusion: union', which ranks without scores: take one out",
            "RK107",
            at_key=True,
        )


def _judges(document: Document, recipe: dict[str, Any], bound: Mapping[KeyPath, Bound]) -> None:
    """Conditions on what was said before need somebody who said it; what is required of the judges
    must be measurable.
    """
    judges = at(recipe, ("judge", "judges"))
    if not isinstance(judges, dict) or not judges:
        return
    names = list(judges)
    for place, (name, slot) in enumerate(judges.items()):
        if isinstance(slot, dict):
            audited = recipe["judge"].get("rejudge_source_labels") is True
            _conditions(document, ("judge", "judges", name), slot, names[:place], names, audited)
    _measurable(
        document,
        recipe["judge"],
        [component.type for path, component in bound.items() if path[:-1] == ("judge", "judges")],
    )


def _conditions(
    document: Document,
    path: KeyPath,
    slot: dict[str, Any],
    before: list[str],
    names: list[str],
    audited: bool,
) -> None:
    """What a judge asks of the verdicts before it, where nobody can have given them."""
    nobody = "the first judge has no judge before it"
    when = slot.get("previous_verdicts")
    asked = (
        set(when)
        if isinstance(when, list) and all(isinstance(word, str) for word in when)
        else set()
    )
    given = (
        {"ignore"} if audited else {"ignore", "positive"}
    )  # a source's positives are judged in an audit alone
    if not before and "ignore" in asked and asked <= given:
        words = " or ".join(map(repr, sorted(asked)))
        document.find(
            (*path, "previous_verdicts"),
            f"{nobody}, so no pair is {words} yet: it would judge nothing",
            "RK107",
        )
    if not before and slot.get("below_confidence") is not None:
        document.find(
            (*path, "below_confidence"),
            f"{nobody}, so no pair has a confidence yet: it would judge nothing",
            "RK107",
        )
    other = slot.get("disagreeing_with")
    if not isinstance(other, str):
        return
    where = (*path, "disagreeing_with")
    if other == path[-1]:
        document.find(
            where, "a judge does not disagree with itself: name one of those before it", "RK106"
        )
    elif other not in names:
        meant = did_you_mean(other, names) or f" Before it are {', '.join(before)}." * bool(before)
        document.find(where, f"there is no judge '{other}'.{meant}", "RK106")
    elif other not in before:
        document.find(
            where, f"judge '{other}' speaks after this one: name one of those before it", "RK106"
        )
    elif other == before[-1]:
        message = f"nobody speaks between '{other}' and this judge, so nobody disagrees with it: name an earlier one, or use `previous_verdicts`"
        document.find(where, message, "RK107")


def _measurable(
    document: Document, section: dict[str, Any], judges: list[type[Component[Any]] | None]
) -> None:
    """Floors can be reached only by judges that are measured, on pairs of known truth."""
    trust = written if isinstance(written := section.get("control_pairs"), dict) else {}
    reads = [judge for judge in judges if judge and issubclass(judge, JudgeSpec) and judge.measured]
    if trust.get("human_labels") is not None and not reads and None not in judges:
        message = "none of the judges reads the texts, so nothing is measured by it: take it out, or judge with `llm` or `cross_encoder`"
        document.find(("judge", "control_pairs", "human_labels"), message, "RK107")
    required = section.get("require")
    wanted = (
        [name for name, value in required.items() if value is not None]
        if isinstance(required, dict)
        else []
    )
    if not wanted or None in judges:
        return
    path = ("judge", "require", wanted[0])
    if not reads:
        known = "margin filters and label files are not asked about pairs of known truth"
        document.find(
            path,
            f"none of the judges can be measured: {known}. Take it out, or judge with `llm` or `cross_encoder`",
            "RK107",
        )
    elif (
        trust.get("share") == 0
        and trust.get("human_labels") is None
        and section.get("rejudge_source_labels") is not True
    ):
        message = "there is nothing to measure by: judge.control_pairs.share is 0, and judge.control_pairs.human_labels names no labels of people"
        document.find(path, message, "RK107")


def _systems(document: Document, recipe: dict[str, Any]) -> None:
    evaluate = recipe.get("evaluate")
    if (
        isinstance(evaluate, dict)
        and evaluate.get("untrained") is False
        and evaluate.get("baselines") == {}
        and "train" not in recipe
    ):
        message = "nothing is measured: no train section, 'untrained: false' and no baselines"
        document.find(("evaluate",), message, "RK107", at_key=True)
