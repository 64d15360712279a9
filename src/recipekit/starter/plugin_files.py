"""The texts of a new plugin's files, in which `{{NAME}}` and the like are filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["PYPROJECT", "README", "TESTS", "USES"]

PYPROJECT: Final = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{{NAME}}"
version = "0.1.0"
description = "A {{KIND}} for recipekit."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["recipekit"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points."{{GROUP}}"]
{{PACKAGE}} = "{{PACKAGE}}.{{KIND}}:{{SPEC}}"

[tool.hatch.build.targets.wheel]
packages = ["src/{{PACKAGE}}"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["src"]
"""

README: Final = """\
# {{NAME}}

A plugin of recipekit with the {{KIND}} `{{PACKAGE}}`, in `src/{{PACKAGE}}/{{KIND}}.py`.

```bash
pip install --editable .
pytest
recipekit components {{KIND}} {{PACKAGE}}
```

A recipe names it with `use`:

```yaml
{{USE}}
```

The test is the conformance check of recipekit, which uses the component as a run does.
"""

USES: Final[Mapping[str, str]] = {
    "source": """\
collect:
  sources:
    own: {use: COMPONENT, folder: ./pages}""",
    "retriever": """\
mine:
  retrievers:
    own: {use: COMPONENT, depth: 50}""",
    "judge": """\
judge:
  judges:
    own: {use: COMPONENT}""",
    "encoder": """\
encoders:
  student: {use: COMPONENT, model: ./model}""",
    "vector_source": """\
encoders:
  student: {use: bi_encoder, model: ./model, passage_vectors: {use: COMPONENT, path: v.jsonl}}""",
    "loss": """\
train:
  phases:
    contrastive: {use: in_batch, loss: {use: COMPONENT}}""",
    "phase": """\
train:
  phases:
    own: {use: COMPONENT, epochs: 1}""",
    "evaluator": """\
evaluate:
  evaluators:
    own: {use: COMPONENT, split: test}""",
    "exporter": """\
export:
  exporters:
    own: {use: COMPONENT, encoder: student}""",
}
"""How a recipe uses the component of each kind."""

_ON_A_DATA_SET: Final = """\
from {{PACKAGE}}.{{KIND}} import {{SPEC}}

from recipekit.testing import check_{{KIND}}, context, small_dataset


def test_it_is_conformant(tmp_path):
    dataset = small_dataset(tmp_path / "dataset")
    check_{{KIND}}({{SPEC}}(), context(tmp_path / "scratch", dataset=dataset))
"""

_MODEL: Final = '''\


def save_model(folder):
    """Save a small model: a vector for each word."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model = StaticEmbedding(tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[model], device="cpu").save(str(folder))
    return folder
'''

TESTS: Final[Mapping[str, str]] = {
    "source": '''\
from {{PACKAGE}}.source import {{SPEC}}

from recipekit.testing import check_source, context

PAGE = """\\
# Machine

## How to start

Press the green button.

## How to stop

Press the red button.
"""


def test_it_is_conformant(tmp_path):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "machine.md").write_text(PAGE)
    check_source({{SPEC}}(folder=pages), context(tmp_path / "scratch"))
''',
    "retriever": _ON_A_DATA_SET,
    "judge": _ON_A_DATA_SET,
    "encoder": """\
from {{PACKAGE}}.encoder import {{SPEC}}

from recipekit.testing import check_encoder, context

WORDS = "How do rivers shape valleys a The piston moves the valve and turbine".split()
"""
    + _MODEL
    + """\


def test_it_is_conformant(tmp_path):
    model = save_model(tmp_path / "model")
    check_encoder({{SPEC}}(model=model), context(tmp_path / "scratch"))
""",
    "vector_source": """\
from {{PACKAGE}}.vector_source import {{SPEC}}

from recipekit.testing import check_vector_source, context


def test_it_is_conformant(tmp_path):
    path = tmp_path / "vectors.jsonl"
    path.write_text('{"id": "p1", "vector": [0.5, 1]}\\n{"id": "p2", "vector": [1, 0]}\\n')
    check_vector_source({{SPEC}}(path=path), context(tmp_path / "scratch"))
""",
    "loss": """\
from {{PACKAGE}}.loss import {{SPEC}}

from recipekit.testing import check_loss, context


def test_it_is_conformant(tmp_path):
    check_loss({{SPEC}}(temperature=0.5), context(tmp_path))
""",
    "phase": """\
from {{PACKAGE}}.phase import {{SPEC}}

from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.testing import bind, check_phase, context, small_dataset

WORDS = "river mountain valley ocean forest desert engine piston valve turbine gear wheel".split()
"""
    + _MODEL
    + """\


def test_it_is_conformant(tmp_path):
    made = context(tmp_path / "scratch", dataset=small_dataset(tmp_path / "dataset"))
    model = save_model(tmp_path / "model")
    encoder = bind(BiEncoderSpec, {"model": str(model), "precision": "fp32"}).build(made)
    check_phase({{SPEC}}(), encoder, made)
""",
    "evaluator": """\
from {{PACKAGE}}.evaluator import {{SPEC}}

from recipekit.component import System
from recipekit.retrievers.bm25 import Bm25Spec
from recipekit.testing import check_evaluator, context, small_dataset


def test_it_is_conformant(tmp_path):
    made = context(tmp_path / "scratch", dataset=small_dataset(tmp_path / "dataset"))
    systems = [System("bm25", lambda: Bm25Spec().build(made))]
    check_evaluator({{SPEC}}(), made, systems)
""",
    "exporter": """\
import numpy as np
from {{PACKAGE}}.exporter import {{SPEC}}

from recipekit.component import Embeddings
from recipekit.testing import check_exporter, context, small_dataset


def test_it_is_conformant(tmp_path):
    dataset = small_dataset(tmp_path / "dataset")

    def embeddings(name, side, *, weights):
        rows = len(dataset.table(side))
        return Embeddings(tmp_path, np.eye(rows, dtype=np.float32), "cosine")

    made = context(tmp_path / "scratch", dataset=dataset, embeddings=embeddings)
    card = {"name": "demo", "base_model": "some/model", "metrics": []}
    check_exporter({{SPEC}}(encoder="student"), made, {"collect": dataset.path}, card)
""",
}
"""The test of a component of each kind."""
