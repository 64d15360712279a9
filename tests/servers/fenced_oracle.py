"""An oracle for the prompts of the LLM judge, with errors at a given rate.

As a separate process, with grades as JSON lines `{"query": ..., "passage": ..., "grade": ...}`:

    python tests/servers/openai_server.py \
        --policy tests/servers/fenced_oracle.py:from_file --argument truths.jsonl,scale=3,error=0.1
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recipekit.judges.llm_judge.fences import read_fences
from recipekit.judges.llm_judge.reply_forms import GradeForm, ReplyForm
from servers.openai_server import Oracle


def texts_of(body: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The query and the passages of a request."""
    texts = read_fences(body["messages"])
    return texts.query, texts.passages


def pairs_of(body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The pairs of a request, for `Ledger(pairs=pairs_of)`."""
    query, passages = texts_of(body)
    return [(query, passage) for passage in passages]


def fenced_oracle(
    truths: Mapping[tuple[str, str], int], form: ReplyForm | None = None, **options: Any
) -> Oracle:
    """An oracle from grades by (query, passage). The form is grades 0 and 1 by default."""
    form = form or GradeForm((0, 1))
    return Oracle(truths, texts_of, form.write, highest=form.scale[-1], **options)


def from_file(argument: str) -> Oracle:
    """An oracle from `FILE,scale=3,error=0.1,seed=0`; only the file is required."""
    path, *fields = argument.split(",")
    options = dict(option.split("=") for option in fields)
    lines = map(json.loads, Path(path).read_text().splitlines())
    truths = {(line["query"], line["passage"]): line["grade"] for line in lines}
    form = GradeForm(tuple(range(int(options.get("scale", 1)) + 1)))
    error_rate, seed = float(options.get("error", 0)), int(options.get("seed", 0))
    return fenced_oracle(truths, form, error_rate=error_rate, seed=seed)
