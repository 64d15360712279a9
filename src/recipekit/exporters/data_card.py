"""The data card: a README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

__all__ = ["data_card"]

FILES = {
    "corpus.jsonl": "passages: `_id`, `title`, `text`",
    "queries.jsonl": "queries: `_id`, `text`",
    "qrels/train.tsv": "relevant passages of the training queries, those that judges found among them",
    "qrels/dev.tsv": "relevant passages of the dev queries, as the sources gave them",
    "qrels/test.tsv": "relevant passages of the test queries, as the sources gave them",
    "judgments.parquet": "every judged pair: `query_id`, `passage_id`, `verdict`, `grade`, `confidence`, `reason`, `judge`",
    "triplets.parquet": "`query`, `positive`, `negative_1` ..., hardest negatives first",
}

BODY = """
# {name}

{description}

Queries, passages and three-state relevance judgments, made with recipekit.

| file | rows | what |
|---|--:|---|
{files}

A verdict is `positive`, `negative` or `ignore` (too uncertain to train on, either way). A pair without a row was never judged. `judge` says
who decided: `source` is the source's own label, any other name a judge of the recipe.

```python
from datasets import load_dataset

judgments = load_dataset("path/to/this/folder", "judgments")
```
{counts}
## How to repeat it

```
{command}
```

```yaml
{recipe}
```

{versions}
"""


def data_card(card: Mapping[str, Any], rows: Mapping[str, int]) -> str:
    """The text of the card.

    Args:
        card: What the export stage tells of the recipe; every key may be missing.
        rows: How many rows each written file has.
    """
    configs = [
        {"config_name": name.partition(".")[0], "data_files": name}
        for name in rows
        if not name.startswith("qrels/")
    ]
    front = {
        "pretty_name": card.get("name", ""),
        "task_categories": ["text-retrieval"],
        "tags": ["recipekit"],
        "configs": configs,
    }
    body = BODY.format(
        name=card.get("name") or "Judged retrieval data",
        description=card.get("description", ""),
        files="\n".join(
            f"| `{name}` | {count:,} | {FILES[name]} |" for name, count in rows.items()
        ),
        counts=_judging(card.get("counts", {}).get("judge", {})),
        command=card.get("command", ""),
        recipe=str(card.get("recipe", "")).strip(),
        versions=", ".join(
            f"{name} {version}" for name, version in card.get("versions", {}).items()
        ),
    )
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n{body}"


def _judging(summary: Mapping[str, Any]) -> str:
    """What the judge stage counted, as it counted it."""
    if not summary:
        return ""
    return f"\n## What was judged\n\n```json\n{json.dumps(summary, indent=1)}\n```\n"
