"""What `recipekit compare` compares: `TARGET`, or `TARGET:OPTION,OPTION`.

The target is a model on the Hub, a folder, `package:NAME/FOLDER`, a run, a baseline, or a retriever
of a recipe such as `bm25`. `before` selects the starting model of a run, and the name of a system
that of a baseline, as in `baseline.zip:bm25`. All other options are `KEY=VALUE`: the keys of
compression change the vectors, those of a `bi_encoder` how a model is loaded, and those of `bm25`
how it ranks. `precision` is a key of the first two, with different values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from recipekit.encoding.compression_keys import CompressionKeys
from recipekit.errors import RunError
from recipekit.retrievers.bm25 import Bm25Spec
from recipekit.suggestions import did_you_mean

__all__ = ["BEFORE", "Argument", "first_mistake", "parse_argument", "wrong_option"]

BEFORE: Final = "before"
COMPRESSION_OPTIONS: Final = tuple(CompressionKeys.model_fields)
STORED: Final = ("int8", "binary")
"""Values of `precision` for stored vectors."""
ARITHMETIC: Final = ("bf16", "fp32")
"""Values of `precision` for the encoder."""
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

BM25_OPTIONS: Final = tuple(name for name in Bm25Spec.model_fields if name != "depth")
"""Keys of `bm25` that it can have as options; the metrics decide its depth."""

WITH_OPTIONS: Final = re.compile(
    r"(?P<target>.+?):(?P<options>(before|[a-z_0-9]+=[^,]*)(,(before|[a-z_0-9]+=[^,]*))*)"
)
WITH_SYSTEM: Final = re.compile(r"(?P<target>.+?):(?P<system>[A-Za-z][A-Za-z0-9_-]*)")
"""A baseline with the name of one of its systems."""


@dataclass(frozen=True)
class Argument:
    """One argument, taken apart."""

    text: str
    """As it was written."""
    target: str
    before: bool = False
    """Whether the starting model of a run is meant."""
    compression: CompressionKeys | None = None
    """How vectors are compressed; None keeps them as they are."""
    model_options: Mapping[str, str] | None = None
    """Keys of `bi_encoder` with their values as written; None without any."""
    bm25_options: Mapping[str, str] | None = None
    """Keys of `bm25` with their values as written; None without any."""
    system: str | None = None
    """The system of a baseline that is meant; None names none."""

    @property
    def suffix(self) -> str:
        """What its options add to a name in tables: ` before int8`."""
        parts = [BEFORE] if self.before else []
        written = {**(self.model_options or {}), **(self.bm25_options or {})}
        parts += [f"{key}={value}" for key, value in written.items()]
        parts += [self.compression.name] if self.compression else []
        return "".join(f" {part}" for part in parts)


def parse_argument(text: str) -> Argument:
    """Take an argument apart.

    Raises:
        RunError: An option is unknown, or has a wrong value.
    """
    found = WITH_OPTIONS.fullmatch(text)
    if found is None:
        named = WITH_SYSTEM.fullmatch(text)
        if named is None or named["target"] == "package" or os.path.exists(text):
            return Argument(text, text)
        return Argument(text, named["target"], system=named["system"])
    compression: dict[str, str] = {}
    model: dict[str, str] = {}
    bm25: dict[str, str] = {}
    parts = found["options"].split(",")
    for part in parts:
        if part != BEFORE:
            name, _, value = part.partition("=")
            _check_name(text, name)
            if name == "precision" and value not in (*STORED, *ARITHMETIC):
                raise RunError(
                    f"{text}: precision is {' or '.join(STORED)} for stored vectors, or "
                    f"{' or '.join(ARITHMETIC)} for the encoder's arithmetic, found '{value}'",
                    code="RK673",
                )
            is_stored = name != "precision" or value in STORED
            group = compression if name in COMPRESSION_OPTIONS and is_stored else model
            group = bm25 if name in BM25_OPTIONS else group
            group[name] = value
    keys = _compression(text, compression) if compression else None
    return Argument(
        text,
        found["target"],
        before=BEFORE in parts,
        compression=keys,
        model_options=model or None,
        bm25_options=bm25 or None,
    )


def _check_name(text: str, name: str) -> None:
    known = list(dict.fromkeys((*COMPRESSION_OPTIONS, *MODEL_OPTIONS, *BM25_OPTIONS, BEFORE)))
    if name not in known:
        hint = did_you_mean(name, known) or f" Options: {', '.join(known)}."
        raise RunError(f"{text}: unknown option '{name}'.{hint}", code="RK673")


def _compression(text: str, options: Mapping[str, str]) -> CompressionKeys:
    try:
        return CompressionKeys.model_validate(options)
    except ValidationError as error:
        raise wrong_option(text, error) from error


def wrong_option(text: str, error: ValidationError) -> RunError:
    """Return the error for the first option of an argument that is wrong."""
    key, message = first_mistake(error)
    where = f"{text}: {key}" if key else text
    return RunError(f"{where}: {message}", code="RK673")


def first_mistake(error: ValidationError) -> tuple[str, str]:
    """Return the key of the first mistake, empty for one of the whole, and what is wrong."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    return key, str(first["msg"]).removeprefix("Value error, ")
