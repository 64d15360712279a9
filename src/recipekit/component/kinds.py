"""The kinds of components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recipekit.component.encoders import EncoderSpec
from recipekit.component.evaluators import EvaluatorSpec
from recipekit.component.exporters import ExporterSpec
from recipekit.component.judges import JudgeSpec
from recipekit.component.losses import LossSpec
from recipekit.component.phases import PhaseSpec
from recipekit.component.retrievers import RetrieverSpec
from recipekit.component.sources import SourceSpec
from recipekit.component.spec import Component
from recipekit.component.vectors import VectorSourceSpec

__all__ = ["KINDS"]

KINDS: Final[Mapping[str, type[Component[Any]]]] = {
    spec.kind: spec
    for spec in (
        SourceSpec,
        RetrieverSpec,
        JudgeSpec,
        EncoderSpec,
        VectorSourceSpec,
        LossSpec,
        PhaseSpec,
        EvaluatorSpec,
        ExporterSpec,
    )
}
"""Every kind of component; the entry-point group of a kind is its plural.

`recipekit.sources`, `recipekit.losses`.
"""
