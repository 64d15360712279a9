"""A conformance check raises nothing but its own error, for any component."""

import copy
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipekit.component import Component, Context, Encoder, Source, SourceSpec, System
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.records import Label, Passage, Query
from recipekit.registry import load, resolve
from recipekit.testing import (
    ConformanceError,
    bind,
    check_encoder,
    check_evaluator,
    check_exporter,
    check_judge,
    check_loss,
    check_phase,
    check_retriever,
    check_source,
    check_spec,
    context,
    small_dataset,
)

Check = Callable[[Component[Any]], None]


def raises_an_attribute_error(*_: Any) -> Any:
    raise AttributeError("'NoneType' object has no attribute 'shape'")


def raises_a_bare_assertion(*_: Any) -> Any:
    raise AssertionError


def exits(*_: Any) -> Any:
    raise SystemExit(3)


def yields_and_raises(*_: Any) -> Iterator[None]:
    yield None
    raise KeyError("text")


def takes_nothing() -> None:
    return None


RAISING = (raises_an_attribute_error, raises_a_bare_assertion, exits)
VALUES = {
    "None": None,
    "a number": 7.5,
    "a text": "text",
    "an object": object(),
    "a list of None": [None],
    "a list of texts": ["text"],
    "a map with an object": {"a": object()},
    "a map of lists by number": {1: [2]},
    "an integer matrix": np.zeros((2, 2), np.int64),
    "a float vector": np.zeros(3),
    "the class": Component,
}
FAULTS: dict[str, Any] = {
    **{fault.__name__: fault for fault in (*RAISING, yields_and_raises)},
    **{f"returns {name}": lambda *_, value=value: value for name, value in VALUES.items()},
}
ANY_RESULT = ("start", "save", "restore", "end", "set_dropout", "set_tied")
"""Methods whose result is not used."""
ALLOWED = {
    ("tokenizer_identity", name)
    for name in ("returns None", "returns a number", "returns a text", "returns a list of None")
} | {
    ("tokenizer_identity", "returns a list of texts"),
    ("tokenizer_identity", "returns a map of lists by number"),
    ("weights_of", "returns None"),
    ("fingerprint", "returns None"),
    ("fingerprint", "returns a number"),
    ("fingerprint", "returns a text"),
    ("fingerprint", "returns a list of None"),
    ("fingerprint", "returns a list of texts"),
    ("fingerprint", "returns a map of lists by number"),
    ("measured_queries", "returns None"),
}
"""Results that are right."""


def broken(spec: Component[Any], member: str, fault: Any, is_property: bool) -> Component[Any]:
    """The component, except that a member of what it builds has a fault."""
    cls = type(spec)
    replaced = property(fault) if is_property else fault

    def build(self: Any, context: Context) -> Any:
        built = cls.build(self, context)
        faulty = type("Faulty", (type(built),), {member: replaced})
        object.__setattr__(built, "__class__", faulty)
        if not is_property:
            vars(built).pop(member, None)  # it would hide the method
        return built

    return changed(spec, {"build": build})


def changed(spec: Component[Any], members: Mapping[str, Any]) -> Component[Any]:
    """The component with other members of its spec."""
    cls = type(spec)
    members = {"__doc__": "A component.", "__module__": cls.__module__, **members}
    derived = types.new_class("Broken", (cls,), {}, lambda namespace: namespace.update(members))
    fields = {
        key: {"use": value["use"]} if isinstance(value, dict) and "use" in value else value
        for key, value in spec.model_dump().items()
    }
    return bind(derived, fields)


class ThreeSpec(SourceSpec):
    """A query and its passage."""

    def build(self, context: Context) -> Any:
        return Three()


class Three(Source):
    def load(self) -> Any:
        return iter([Query("q", "question"), Passage("p", "answer"), Label("q", "p")])


@pytest.fixture(scope="module", autouse=True)
def _encoders_are_copied(tiny_model: Path) -> Iterator[None]:
    """The tiny model is read once, and each check gets a copy; saved encoders are read."""
    build, built = BiEncoderSpec.build, list[Encoder]()

    def copied(self: BiEncoderSpec, context: Context) -> Encoder:
        if self.model != str(tiny_model):
            return build(self, context)
        if not built:
            built.append(build(self, context))
        return copy.deepcopy(built[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BiEncoderSpec, "build", copied)
        yield


@pytest.fixture
def components(tmp_path: Path, tiny_model: Path) -> Callable[[str], tuple[Component[Any], Check]]:
    """A component of each kind, and the check of the kind."""
    dataset = small_dataset(tmp_path / "dataset")
    made = context(tmp_path / "scratch", dataset=dataset)
    (tmp_path / "labels.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *(f"q{i}\tp{i}\t1" for i in range(24))])
    )
    fields: dict[str, tuple[str, dict[str, Any]]] = {
        "retriever": ("bm25", {}),
        "judge": (
            "labels",
            {
                "file": "labels.tsv",
                "unlisted_pairs": "negative",
                "coverage": 0.8,
                "error_rate": 0.1,
            },
        ),
        "encoder": ("bi_encoder", {"model": str(tiny_model), "precision": "fp32"}),
        "loss": ("infonce", {}),
        "phase": ("in_batch", {"loss": {"use": "infonce"}}),
        "evaluator": ("retrieval", {"metrics": ["ndcg@10"], "bootstrap_samples": 100}),
        "exporter": ("dataset", {}),
    }

    def spec(kind: str) -> Component[Any]:
        if kind == "source":
            return ThreeSpec()
        name, written = fields[kind]
        return bind(load(resolve(kind, f"recipekit/{name}")), written, tmp_path)

    def fresh() -> Context:
        return context(tmp_path / "phase", dataset=dataset)

    systems = [System("bm25", lambda: spec("retriever").build(made))]
    checks: dict[str, Check] = {
        "source": lambda one: check_source(one, made),
        "retriever": lambda one: check_retriever(one, made),
        "judge": lambda one: check_judge(one, made),
        "encoder": lambda one: check_encoder(one, made),
        "loss": lambda one: check_loss(one, made),
        "phase": lambda one: check_phase(one, spec("encoder").build(made), fresh()),
        "evaluator": lambda one: check_evaluator(one, made, systems),
        "exporter": lambda one: check_exporter(one, made, {"collect": dataset.path}, {"name": "a"}),
    }
    return lambda kind: (spec(kind), checks[kind])


METHODS = [
    ("source", "load"),
    ("source", "located"),
    ("retriever", "search"),
    ("judge", "judge"),
    ("loss", "__call__"),
    ("evaluator", "evaluate"),
    ("exporter", "export"),
]
SLOW_METHODS = [
    *[("phase", name) for name in ("start", "begin", "finish", "gradient", "state")],
    *[("phase", name) for name in ("save", "restore", "end")],
    *[("encoder", name) for name in ("tokenize", "tokenizer_identity", "collate", "forward")],
    *[("encoder", name) for name in ("save", "set_dropout", "set_tied", "weights_of")],
    *[("encoder", name) for name in ("add_language_model_head", "remove_language_model_head")],
    ("encoder", "vocabulary"),
]
PROPERTIES = [
    ("source", "counts"),
    ("retriever", "counts"),
    ("judge", "counts"),
    ("judge", "figures"),
]
SLOW_PROPERTIES = [
    ("phase", "parts"),
    *[("encoder", name) for name in ("dimension", "max_length", "max_tokens_per_batch")],
    *[("encoder", name) for name in ("similarity", "precision", "tied", "has_untrained_dense")],
]
SPEC_METHODS = [
    ("source", "files"),
    ("retriever", "fingerprint"),
    ("judge", "files"),
    ("evaluator", "measured_queries"),
    ("exporter", "fingerprint"),
    *[(kind, "build") for kind in ("source", "retriever", "judge", "loss", "evaluator")],
    ("exporter", "build"),
]
SLOW_SPEC_METHODS = [
    ("phase", "total_epochs"),
    ("phase", "build"),
    ("encoder", "at"),
    ("encoder", "build"),
]


def refuse(check: Check, spec: Component[Any], member: str) -> None:
    """Expect the check's own error, which names the component and the member."""
    with pytest.raises(ConformanceError) as raised:
        check(spec)
    message = str(raised.value)
    assert type(spec).__name__ in message
    assert {"__call__": "loss"}.get(member, member) in message
    assert "cannot be used" not in message, "no check ends in the general sentence"
    assert "\n" not in message


def faults_of(components: Any, kind: str, member: str, *, is_property: bool) -> None:
    spec, check = components(kind)
    for name, fault in FAULTS.items():
        returns = name.startswith("returns")
        if (member in ANY_RESULT and (returns or fault is yields_and_raises)) or (
            member,
            name,
        ) in ALLOWED:
            continue
        refuse(check, broken(spec, member, fault, is_property), member)
    if not is_property:
        refuse(check, broken(spec, member, takes_nothing, False), member)


@pytest.mark.parametrize(("kind", "member"), METHODS)
def test_a_broken_method_is_named(components, kind, member):
    faults_of(components, kind, member, is_property=False)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "member"), SLOW_METHODS)
def test_a_broken_method_of_an_encoder_or_a_phase_is_named(components, kind, member):
    faults_of(components, kind, member, is_property=False)


@pytest.mark.parametrize(("kind", "member"), PROPERTIES)
def test_a_broken_property_is_named(components, kind, member):
    faults_of(components, kind, member, is_property=True)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "member"), SLOW_PROPERTIES)
def test_a_broken_property_of_an_encoder_or_a_phase_is_named(components, kind, member):
    faults_of(components, kind, member, is_property=True)


def spec_faults_of(components: Any, kind: str, member: str) -> None:
    spec, check = components(kind)
    for name, fault in FAULTS.items():
        if (member, name) not in ALLOWED:
            refuse(check, changed(spec, {member: fault}), "" if member == "build" else member)


@pytest.mark.parametrize(("kind", "member"), SPEC_METHODS)
def test_a_broken_method_of_a_spec_is_named(components, kind, member):
    spec_faults_of(components, kind, member)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "member"), SLOW_SPEC_METHODS)
def test_a_broken_method_of_the_spec_of_an_encoder_or_a_phase_is_named(components, kind, member):
    spec_faults_of(components, kind, member)


@pytest.mark.parametrize("fault", FAULTS)
def test_negatives_from_that_is_not_a_choice_is_named(components, fault):
    spec, check = components("loss")
    refuse(check, changed(spec, {"negatives_from": property(FAULTS[fault])}), "negatives_from")


@pytest.mark.parametrize("kind", ["source", "retriever", "judge", "loss", "evaluator", "exporter"])
@pytest.mark.parametrize("thing", [None, 3, object, Component, "bm25"], ids=repr)
def test_something_that_is_not_a_component_is_refused(components, kind, thing):
    _, check = components(kind)
    with pytest.raises(ConformanceError, match=r"is not a|is a class: pass an instance"):
        check(thing)


def test_a_class_instead_of_an_instance_is_named(components):
    spec, check = components("retriever")
    with pytest.raises(ConformanceError, match=r"Bm25Spec is a class: pass an instance, Bm25Spec"):
        check(type(spec))


@pytest.mark.parametrize("check", [check_retriever, check_judge])
def test_a_context_without_a_data_set_is_named(components, tmp_path, check):
    spec, _ = components(check.__name__.removeprefix("check_"))
    with pytest.raises(ConformanceError, match=r"pass context\(folder, dataset=small_dataset"):
        check(spec, context(tmp_path / "without"))


def test_a_slot_that_is_not_bound_is_named(components):
    spec, _ = components("phase")
    unbound = type(spec).model_validate({"loss": {"use": "infonce"}})
    with pytest.raises(ConformanceError, match=r"InBatchSpec\.loss .*recipekit\.testing\.bind"):
        check_spec(unbound, "phase")
