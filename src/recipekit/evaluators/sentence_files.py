"""Files of texts with classes, and of parallel sentences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from recipekit.errors import DataError
from recipekit.evaluators.cells import name_of, optional_text, text_of
from recipekit.evaluators.data_kinds import Classes, ParallelSentences
from recipekit.evaluators.evaluation_file import EvaluationFile, Warn

__all__ = ["ClassesFile", "ParallelSentencesFile"]


class ClassesFile(EvaluationFile):
    """A file of texts with their classes."""

    text: str = "text"
    """Column of the text."""
    label: str = "label"
    """Column of the class."""

    def text_columns(self) -> Mapping[str, str]:
        """Return the columns of texts and classes."""
        return {self.text: "text", self.label: "label"}

    def read(self, scratch: Path, warn: Warn | None = None) -> Classes:
        """Read the texts.

        Raises:
            DataError: A row lacks a text or a class, or there is only one class.
        """
        rows = self.matching(scratch, warn)
        texts = [text_of(row, self.text, "text", location) for location, row in rows]
        labels = [name_of(row, self.label, "label", location) for location, row in rows]
        if len(set(labels)) < 2:
            raise DataError(f"{self.file}: there is only one class, '{labels[0]}'", code="RK304")
        return Classes(texts, labels)


class ParallelSentencesFile(EvaluationFile):
    """A file of sentences with their translations, one row per sentence."""

    languages: Annotated[dict[str, str], Field(min_length=2)]
    """The column of each language: `{en: english, de: german}`."""

    def text_columns(self) -> Mapping[str, str]:
        """Return the columns of the languages."""
        return dict.fromkeys(self.languages.values(), "languages")

    def read(self, scratch: Path, warn: Warn | None = None) -> ParallelSentences:
        """Read the sentences that exist in all languages.

        Raises:
            DataError: Fewer than two rows have a text in every language.
        """
        complete: list[list[str]] = []
        rows = self.matching(scratch, warn)
        for location, row in rows:
            texts = [
                optional_text(row, column, "languages", location)
                for column in self.languages.values()
            ]
            if all(texts):
                complete.append(texts)
        if len(complete) < 2:
            raise DataError(
                f"{self.file}: fewer than two rows have a text in every language", code="RK304"
            )
        if warn is not None and len(complete) < len(rows):
            left_out = len(rows) - len(complete)
            warn(f"{self.file}: {left_out} rows lack a language and are left out")
        columns_of = zip(*complete, strict=True)
        return ParallelSentences(dict(zip(self.languages, columns_of, strict=True)))
