"""The model card of an exported sentence-transformers model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from recipekit.exporters.cards import evaluation, figures, hub_id, reproduction, write_card
from recipekit.report.blocks import Block, Code, Line, Listing, ReportSection, Table, Text
from recipekit.report.numbers import figure

__all__ = ["write_model_card"]

USAGE: Final = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["a question"])
passages = model.encode_document(["a passage that may answer it"])
scores = model.similarity(queries, passages)"""

QUERY_USAGE: Final = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["a question"])  # search the index with these"""

TASK: Final = {"type": "information-retrieval", "name": "Information Retrieval"}


def write_model_card(
    card: Mapping[str, Any], encoder: Path, folder: Path, *, variant: str = ""
) -> None:
    """Write the card and its figures into a folder.

    Args:
        card: Its content (see `recipekit.exporters.cards`).
        encoder: The saved model, whose prompts, dimensions and similarity function the card states.
        folder: The folder of the exported model.
        variant: The name of the compression by which its dimensions were reduced; empty if none.
    """
    name = str(card.get("name") or "Text-embedding model")
    blocks: list[Block] = []
    is_for_queries = bool(card.get("passage_vectors"))
    if description := card.get("description"):
        blocks.append(Text(str(description)))
    blocks += [
        Text(_introduction(card)),
        *_reduction(card, variant),
        ReportSection("Model details", [_details(card, encoder)]),
        ReportSection(
            "Usage",
            [Listing(QUERY_USAGE if is_for_queries else USAGE, "python"), *_towers(encoder)],
        ),
        *evaluation(card),
        *figures(card, "model"),
    ]
    if counts := card.get("counts"):
        rows = [[label, figure(count)] for label, count in counts.items()]
        blocks.append(ReportSection("Training data", [Table(["", ""], rows)]))
    blocks.append(reproduction(card))
    write_card(folder, _front_matter(card, name, variant), name, blocks)


def _reduction(card: Mapping[str, Any], variant: str) -> Iterator[Text]:
    """What the reduction of the dimensions means for the figures of the card."""
    if not variant:
        return
    rows = card.get("metrics") or []
    names = [str(row["system"]) for row in rows if str(row["system"]).endswith(f" {variant}")]
    figures = (
        f"Its figures are those of {names[0]}; other rows are of the full model or other systems."
        if names
        else "The figures are those of the full model: this reduction was not measured."
    )
    yield Text(f"Its dimensions were reduced ({variant}). {figures}")


def _towers(encoder: Path) -> Iterator[Text]:
    """What a model with an encoder per side does without a side."""
    modules = json.loads((encoder / "modules.json").read_text(encoding="utf-8"))
    if any(module["type"].endswith("Router") for module in modules):
        encode, encode_query = Code("encode"), Code("encode_query")
        start = "Queries and passages have separate encoders: queries need "
        yield Text((start, encode_query, ", since ", encode, " takes the encoder of passages."))


def _introduction(card: Mapping[str, Any]) -> Line:
    base = hub_id(card.get("base_model"))
    trained = f", fine-tuned from {base}" if base else " trained"
    if vectors := card.get("passage_vectors"):
        return (
            f"This is a sentence-transformers model{trained} with recipekit. It embeds only "
            f"queries: it was trained for the vectors of {vectors}, which belong to another "
            "encoder, "
            "and does not embed passages."
        )
    return (
        f"This is a sentence-transformers model{trained} with recipekit. It maps queries and "
        "passages to vectors whose similarity ranks passages for a query."
    )


def _details(card: Mapping[str, Any], encoder: Path) -> Table:
    config = json.loads((encoder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    rows: list[list[Line]] = []
    if base := hub_id(card.get("base_model")):
        rows.append(["base model", f"https://huggingface.co/{base}"])
    if dimensions := _dimensions(encoder):
        rows.append(["embedding dimensions", f"{dimensions:,}"])
    if similarity := config.get("similarity_fn_name"):
        rows.append(["similarity function", str(similarity)])
    for side in ("query", "document"):
        prompt = (config.get("prompts") or {}).get(side)
        shown: Line = Code(json.dumps(prompt, ensure_ascii=False)) if prompt else "none"
        rows.append([f"{side} prompt", shown])
    return Table(["", ""], rows, left=2)


def _dimensions(encoder: Path) -> int | None:
    """The embedding dimensions that the saved model states."""
    config = json.loads((encoder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    width, kept = _width(encoder), config.get("truncate_dim")
    return min(width, kept) if width and isinstance(kept, int) else width


def _width(encoder: Path) -> int | None:
    """The dimensions that the last Dense or the pooling states, before they are truncated."""
    for file in sorted(encoder.rglob("*_Dense/config.json"), reverse=True):
        return int(json.loads(file.read_text(encoding="utf-8"))["out_features"])
    for file in sorted(encoder.rglob("*_Pooling/config.json")):
        config = json.loads(file.read_text(encoding="utf-8"))
        for key in ("embedding_dimension", "word_embedding_dimension"):
            if isinstance(config.get(key), int):
                return int(config[key])
    return None


def _front_matter(card: Mapping[str, Any], name: str, variant: str) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": [
            "sentence-transformers",
            "sentence-similarity",
            "feature-extraction",
            "dense",
            "recipekit",
        ],
    }
    if base := hub_id(card.get("base_model")):
        front["base_model"] = base
    if results := list(_results(card.get("metrics") or [], variant)):
        front["model-index"] = [{"name": name, "results": results}]
    return front


def _results(rows: Sequence[Mapping[str, Any]], variant: str = "") -> Iterator[dict[str, Any]]:
    """The model's own metrics in the form of the Hub's model index, by evaluator and split."""
    main = [row for row in rows if not row.get("variant_of")]
    model = main[-1]["system"] if main else None
    if variant:
        model = f"{model} {variant}"
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["system"] == model and row.get("value") is not None:
            metric = {"type": row["metric"], "name": row["metric"], "value": float(row["value"])}
            group = (str(row.get("evaluator") or "evaluation"), str(row.get("split") or "test"))
            groups.setdefault(group, []).append(metric)
    for (evaluator, split), metrics in groups.items():
        dataset = {"name": evaluator, "type": evaluator, "split": split}
        yield {"task": TASK, "dataset": dataset, "metrics": metrics}
