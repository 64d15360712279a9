"""What `recipekit compare` compares: `TARGET`, or `TARGET:OPTION,OPTION`.

The target is a model on the Hub, a folder, `package:NAME/FOLDER`, a run, or a baseline. `before`
selects the starting model of a run. All other options are `KEY=VALUE`: `dimensions` and `vectors`
change the vectors, and the keys of a `bi_encoder` change how a model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from recipekit.compare.vectors import VectorType
from recipekit.errors import RunError
from recipekit.suggestions import did_you_mean

__all__ = ["BEFORE", "MODEL_OPTIONS", "Argument", "parse_argument"]

BEFORE: Final = "before"
VARIANT_OPTIONS: Final = ("dimensions", "vectors")
MODEL_OPTIONS: Final = (
    "revision",
    "pooling",
    "similarity",
    "query_prompt",
    "passage_prompt",
    "max_length",
    "precision",
)
"""Keys of `bi_encoder` that a model can have as options; a run has them in its recipe."""

WITH_OPTIONS: Final = re.compile(
    r"(?P<target>.+?):(?P<options>(before|[a-z_]+=[^,]*)(,(before|[a-z_]+=[^,]*))*)"
)


@dataclass(frozen=True)
class Argument:
    """One argument, taken apart."""

    text: str
    """As it was written."""
    target: str
    before: bool = False
    """Whether the starting model of a run is meant."""
    dimensions: int | None = None
    """How many dimensions are kept; None for all."""
    vectors: VectorType = "float32"
    model_options: Mapping[str, str] | None = None
    """Keys of `bi_encoder` with their values as written; None without any."""

    @property
    def suffix(self) -> str:
        """What its options add to a name in tables: ` 128d int8`."""
        parts = [BEFORE] if self.before else []
        parts += [f"{key}={value}" for key, value in (self.model_options or {}).items()]
        parts += [f"{self.dimensions}d"] if self.dimensions else []
        parts += [self.vectors] if self.vectors != "float32" else []
        return "".join(f" {part}" for part in parts)


def parse_argument(text: str) -> Argument:
    """Take an argument apart.

    Raises:
        RunError: An option is unknown, or has a wrong value.
    """
    found = WITH_OPTIONS.fullmatch(text)
    if found is None:
        return Argument(text, text)
    parts = found["options"].split(",")
    options = dict(part.split("=", 1) for part in parts if part != BEFORE)
    for name in options:
        if name not in (*VARIANT_OPTIONS, *MODEL_OPTIONS):
            known = (*VARIANT_OPTIONS, *MODEL_OPTIONS, BEFORE)
            hint = did_you_mean(name, list(known)) or f" Options: {', '.join(known)}."
            raise RunError(f"{text}: unknown option '{name}'.{hint}", code="RK673")
    return Argument(
        text,
        found["target"],
        BEFORE in parts,
        _dimensions(text, options.pop("dimensions", None)),
        _vectors(text, options.pop("vectors", "float32")),
        options or None,
    )


def _dimensions(text: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise RunError(
            f"{text}: dimensions is a positive whole number, found '{value}'", code="RK673"
        )
    return int(value)


def _vectors(text: str, value: str) -> VectorType:
    for known in get_args(VectorType):
        if value == known:
            return known  # type: ignore[no-any-return]
    names = ", ".join(get_args(VectorType))
    raise RunError(f"{text}: vectors is one of {names}, found '{value}'", code="RK673")
