"""One more stage, `generate`: it adds a query for each passage to the data set.

It shows what a stage takes: a section, a function and a declaration. `sitecustomize` adds it to the
pipeline of every process that has this folder on its path.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from recipekit import stages
from recipekit.recipe.sections import Section
from recipekit.report.blocks import StageReport
from recipekit.report.run_folder import RunFolder
from recipekit.stages.inputs import StageInputs
from recipekit.stages.stage import Stage
from recipekit.tables import LABELS, QUERIES, write_table


class GenerateSection(Section):
    """Write queries for passages."""

    words: int = 2
    """How many words of its passage a query has."""


def generate(inputs: StageInputs, section: GenerateSection, out: Path) -> dict[str, Any]:
    """Write one training query per passage, its first words, and its label."""
    passages = inputs.dataset.passages
    texts = [
        " ".join(text.split()[: section.words]) for text in passages.texts(range(len(passages)))
    ]
    n = len(texts)
    queries = [[f"generated{i}" for i in range(n)], texts, [0] * n, ["generate"] * n]
    write_table(out / "queries.arrow", QUERIES, [pa.table(queries, schema=QUERIES)])
    labels = [range(n), range(n), [1.0] * n]
    write_table(out / "labels.arrow", LABELS, [pa.table(list(map(list, labels)), schema=LABELS)])
    return {"queries": n}


def describe(run: RunFolder) -> StageReport:
    """Say how many queries were generated."""
    return StageReport(sentence=f"Generated {run.summary('generate')['queries']} queries.")


GENERATE = Stage(
    name="generate",
    section=GenerateSection,
    run=generate,
    extends_dataset=True,
    describe=describe,
)


def add_to_pipeline() -> tuple[Stage, ...]:
    """Return the pipeline with this stage after collect."""
    collect, *later = stages.PIPELINE
    return (collect, GENERATE, *later)
