"""Files of triplets, or of sentence pairs labelled by inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import model_validator

from recipekit.errors import DataError
from recipekit.evaluators.cells import Cell, as_text, name_of, text_of
from recipekit.evaluators.data_kinds import Triplets
from recipekit.evaluators.evaluation_file import EvaluationFile, Warn

__all__ = ["TripletsFile"]


class TripletsFile(EvaluationFile):
    """A file of triplets, or of sentence pairs labelled by inference (NLI)."""

    anchor: str = "anchor"
    """Column of the anchor, or of the premise."""
    positive: str | None = "positive"
    """Column of the close text; null with `hypothesis`."""
    negative: str | None = "negative"
    """Column of the other text; null with `hypothesis`."""
    hypothesis: str | None = None
    """For NLI data: column of the hypothesis. Each premise with an entailed and a contradicted
    hypothesis gives triplets (premise, entailed, contradicted), one per two of them in file order.
    """
    label: str = "label"
    """For NLI data: column of the label."""
    entailment: Cell = "entailment"
    """For NLI data: the label of an entailed hypothesis."""
    contradiction: Cell = "contradiction"
    """For NLI data: the label of a contradicted hypothesis."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.hypothesis is None and (self.positive is None or self.negative is None):
            raise ValueError("set positive and negative, or hypothesis for NLI data")
        return self

    def text_columns(self) -> Mapping[str, str]:
        """Return the columns of texts, and of labels for NLI data."""
        if self.hypothesis is not None:
            return {self.anchor: "anchor", self.hypothesis: "hypothesis", self.label: "label"}
        assert self.positive is not None and self.negative is not None
        return {self.anchor: "anchor", self.positive: "positive", self.negative: "negative"}

    def read(self, scratch: Path, warn: Warn | None = None) -> Triplets:
        """Read the triplets.

        Raises:
            DataError: A row lacks a text, or NLI data gives no triplet.
        """
        if self.hypothesis is not None:
            return self._from_inference(self.hypothesis, scratch, warn)
        assert self.positive is not None and self.negative is not None
        keys = {"anchor": self.anchor, "positive": self.positive, "negative": self.negative}
        rows = self.matching(scratch, warn)
        texts = {
            key: [text_of(row, column, key, location) for location, row in rows]
            for key, column in keys.items()
        }
        return Triplets(texts["anchor"], texts["positive"], texts["negative"])

    def _from_inference(self, hypothesis: str, scratch: Path, warn: Warn | None) -> Triplets:
        entailed: dict[str, list[str]] = {}
        contradicted: dict[str, list[str]] = {}
        for location, row in self.matching(scratch, warn):
            label = name_of(row, self.label, "label", location)
            for name, found in (
                (self.entailment, entailed),
                (self.contradiction, contradicted),
            ):
                if label == as_text(name):
                    premise = text_of(row, self.anchor, "anchor", location)
                    found.setdefault(premise, []).append(
                        text_of(row, hypothesis, "hypothesis", location)
                    )
        triplets = [
            (premise, positive, negative)
            for premise, positives in entailed.items()
            for positive, negative in zip(positives, contradicted.get(premise, []), strict=False)
        ]
        if not triplets:
            raise DataError(
                f"{self.file}: no premise has both a hypothesis labelled '{self.entailment}' and "
                f"one labelled '{self.contradiction}'",
                code="RK304",
            )
        anchor, positive, negative = zip(*triplets, strict=True)
        return Triplets(anchor, positive, negative)
