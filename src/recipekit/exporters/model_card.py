"""The model card: a README.md with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ["model_card"]

BODY = """
# {name}

{description}

A text-embedding model trained with recipekit{base}. It loads with sentence-transformers:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["a question"])
passages = model.encode_document(["a passage that may answer it"])
scores = model.similarity(queries, passages)
```

{prompts}

## Results

{metrics}

## Data

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


def model_card(card: Mapping[str, Any], encoder: Path) -> str:
    """The text of the card.

    Args:
        card: What the export stage tells of the recipe: name, description, base_model, metrics,
            counts, recipe, command, versions; every key may be missing.
        encoder: The saved model, whose prompts the card names.
    """
    base = _hub_id(card.get("base_model"))
    body = BODY.format(
        name=card.get("name") or "Text-embedding model",
        description=card.get("description", ""),
        base=f" from [{base}](https://huggingface.co/{base})" if base else "",
        prompts=_prompts(encoder),
        metrics=_metrics(card.get("metrics", [])),
        counts=_counts(card.get("counts", {})),
        command=card.get("command", ""),
        recipe=str(card.get("recipe", "")).strip(),
        versions=", ".join(
            f"{name} {version}" for name, version in card.get("versions", {}).items()
        ),
    )
    return f"---\n{yaml.safe_dump(_front_matter(base), sort_keys=False)}---\n{body}"


def _front_matter(base: str | None) -> dict[str, Any]:
    tags = [
        "sentence-transformers",
        "sentence-similarity",
        "feature-extraction",
        "dense",
        "recipekit",
    ]
    front: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": tags,
    }
    return {**front, "base_model": base} if base else front


def _hub_id(model: Any) -> str | None:
    """The model's Hub id; a path says nothing to anybody else, and stays out of the card."""
    named = isinstance(model, str) and not model.startswith(("/", "package:"))
    return str(model) if named else None


def _prompts(encoder: Path) -> str:
    prompts = json.loads(
        (encoder / "config_sentence_transformers.json").read_text(encoding="utf-8")
    ).get("prompts", {})
    said = [
        f"{side} {json.dumps(prompts[side], ensure_ascii=False)}"
        for side in ("query", "document")
        if prompts.get(side)
    ]
    return (
        f"Prompts, put before each text by these two calls: {', '.join(said)}."
        if said
        else "It takes texts without a prompt."
    )


def _metrics(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a metric, one column a system, in the order of the rows; intervals in brackets."""
    if not rows:
        return "Nothing was measured."
    systems = list(dict.fromkeys(str(row["system"]) for row in rows))
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        key = (str(row.get("evaluator", "")), str(row["split"]), str(row["metric"]))
        lines.setdefault(key, {})[str(row["system"])] = _figure(row)
    head = ["evaluator", "split", "metric", *systems]
    body = [
        [*key, *(figures.get(system, "") for system in systems)] for key, figures in lines.items()
    ]
    return "\n".join([_line(head), _line(["---"] * 3 + ["--:"] * len(systems)), *map(_line, body)])


def _figure(row: Mapping[str, Any]) -> str:
    value, low, high = row.get("value"), row.get("low"), row.get("high")
    if value is None:
        return ""
    return f"{value:.4f}" + (
        f" [{low:.4f}, {high:.4f}]" if low is not None and high is not None else ""
    )


def _counts(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """What each stage counted: its plain figures; lists and nested figures are the report's."""
    lines = [
        _line([stage, name.replace("_", " "), f"{value:,}"])
        for stage, summary in stages.items()
        for name, value in summary.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return (
        "\n".join([_line(["stage", "what", "count"]), _line(["---", "---", "--:"]), *lines])
        if lines
        else "Nothing was counted."
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
