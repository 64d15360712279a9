"""The `labels` judge: verdicts from a file of human labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from recipekit.component import Context, Judge, JudgeSpec, LocalPath
from recipekit.human_labels import MAX_UNKNOWN_IDS

__all__ = ["LabelsSpec"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class LabelsSpec(JudgeSpec):
    """Verdicts from a qrels or judgments file: human labels, or an upper bound in studies.

    `coverage` and `error_rate` make an imperfect judge of a perfect file. The affected pairs depend
    only on the recipe's seed and the pairs' ids, not on what else is judged or in which order.
    """

    human: ClassVar[bool] = True

    file: LocalPath
    """Qrels (BEIR or TREC), or `.csv`, `.jsonl`, `.parquet` or `.arrow` with the columns
    `query_id`, `passage_id` and `verdict` (positive, negative, ignore) or `grade`. Files can
    be compressed, and a CSV file can have semicolons."""
    min_positive_grade: float = 1.0
    """Lowest grade of a positive, for pairs without a verdict; lower grades are negatives."""
    ignored_grades: tuple[float, ...] = ()
    """Grades that are neither, such as 1 on a scale from 0 to 3."""
    unlisted_pairs: Literal["unjudged", "negative"] = "unjudged"
    """The verdict on a pair that the file does not list, if it lists the query. Unjudged by
    default, since few files are complete.
    """
    max_unknown_ids: Share = MAX_UNKNOWN_IDS
    """Largest share of lines with ids that are not in the data; a larger one is an error, since the
    file probably belongs to other data."""
    coverage: Share = 1.0
    """Share of the pairs that the judge knows."""
    error_rate: Share = 0.0
    """Share of the known verdicts that are reversed, positive to negative and back."""

    def build(self, context: Context) -> Judge:
        """Read the file and map its ids to rows."""
        from recipekit.human_labels.dataset_labels import dataset_labels
        from recipekit.human_labels.label_file import read_labels
        from recipekit.judges.label_lookup import LabelLookup

        labels = dataset_labels(
            read_labels(self.file),
            context.dataset,
            context.progress,
            min_positive_grade=self.min_positive_grade,
            ignored_grades=self.ignored_grades,
            max_unknown_ids=self.max_unknown_ids,
        )
        return LabelLookup(self, context.dataset, labels, context.seed)

    def files(self) -> Mapping[str, Path]:
        """The label file."""
        return {"file": self.file}
