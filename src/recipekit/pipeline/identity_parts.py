"""The parts of a stage's identity: settings, component versions, files and fingerprints.

A key is one hash over all of them. Here they are apart, each with its path in the recipe, so that a
lock can list them and a comparison can name what changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

__all__ = ["IdentityPart", "PartKind", "identity_parts"]

PartKind = Literal["setting", "version", "file", "fingerprint"]


class IdentityPart(NamedTuple):
    """One part of an identity."""

    kind: PartKind
    path: str
    """Its path in the recipe: `encoders.student.max_length`, `collect.sources.own.pairs.jsonl`."""
    value: Any


def identity_parts(identity: Mapping[str, Any]) -> Iterator[IdentityPart]:
    """Yield the parts of a stage's identity (see `recipekit.pipeline.identity`).

    The keys of inputs are left out: they follow from the identities of earlier stages. Encoders
    have the path `encoders.NAME`, whichever stage uses them.
    """
    stage = str(identity["stage"])
    yield IdentityPart("setting", "seed", identity["seed"])
    yield IdentityPart("version", stage, identity["version"])
    yield from _section(identity["section"], stage)
    for owner, limits in (identity.get("limits") or {}).items():
        path = owner if owner == "spending" else f"{owner}.spending"
        yield from _value(limits if owner == "spending" else limits["spending"], path)
    yield from _value(identity.get("recipe") or {}, "")


def _section(section: Mapping[str, Any], path: str) -> Iterator[IdentityPart]:
    for name, value in section.items():
        if name == "encoders":
            yield from _encoders(value)
        elif name == "files":
            for label, content in value.items():
                yield IdentityPart("file", f"{path}.{label}", content)
        else:
            yield from _value(value, f"{path}.{name}")


def _encoders(encoders: Mapping[str, Any]) -> Iterator[IdentityPart]:
    for name, component in encoders.items():
        yield from _value(component, f"encoders.{name}")


def _value(value: Any, path: str) -> Iterator[IdentityPart]:
    if not isinstance(value, Mapping):
        yield IdentityPart("setting", path, value)
    elif {"distribution", "name", "fields", "fingerprint"} <= value.keys():
        yield from _component(value, path)
    else:
        for name, item in value.items():
            yield from _value(item, f"{path}.{name}".removeprefix("."))


def _component(component: Mapping[str, Any], path: str) -> Iterator[IdentityPart]:
    yield IdentityPart("setting", f"{path}.use", f"{component['distribution']}/{component['name']}")
    yield IdentityPart("version", path, component["version"])
    for name, value in component["fields"].items():
        yield from _value(value, f"{path}.{name}")
    for label, content in component["files"].items():
        yield IdentityPart("file", f"{path}.{label.replace('..', '.')}", content)
    if component["fingerprint"] is not None:
        yield IdentityPart("fingerprint", path, component["fingerprint"])
    yield from _encoders(component.get("encoders") or {})
