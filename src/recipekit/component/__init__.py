"""Components: everything that a recipe names with `use:`.

A component is its own configuration: one class whose fields are the YAML keys, whose attribute
docstrings document the keys, and whose `build()` makes the working object. Heavy imports are inside
`build()`, so that a recipe is validated without them.

```python
class Elasticsearch(RetrieverSpec):
    \"\"\"BM25 over an Elasticsearch index.\"\"\"

    index: str
    \"\"\"The index or alias to search.\"\"\"
    url: Url = "http://localhost:9200"
    \"\"\"The address of the cluster.\"\"\"

    def build(self, context: Context) -> Retriever: ...
```

A field can hold another component: `loss: Slot[LossSpec]`. Each kind has one direct subclass of
`Component`, which fixes the kind, the keys that all of its components share, and the Protocol that
`build()` returns. There is no other inheritance.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from recipekit.component.context import (
    Account,
    Context,
    Embeddings,
    EncoderWeights,
    Progress,
    Spending,
    Tracker,
)
from recipekit.component.docstrings import field_docs
from recipekit.component.encoders import (
    CrossEncoder,
    Encoder,
    EncoderSpec,
    ShardedAsOne,
    TakesPrompts,
)
from recipekit.component.entry import Entry
from recipekit.component.evaluators import Efficiency, Embed, Evaluator, EvaluatorSpec, System
from recipekit.component.exporters import Exporter, ExporterSpec
from recipekit.component.fields import (
    AnyEncoderName,
    CrossEncoderName,
    EncoderName,
    Headers,
    LocalPath,
    Name,
    NotIdentity,
    Secret,
    Url,
    encoder_names,
    is_any_encoder_name,
    is_cross_encoder_name,
    is_encoder_name,
    is_headers,
    is_identity,
    is_secret,
    is_url,
)
from recipekit.component.judges import Judge, JudgeSpec, PairBatch, Verdicts
from recipekit.component.kinds import KINDS
from recipekit.component.losses import (
    ExampleForm,
    Loss,
    LossSpec,
    LossWithWeights,
    SecondEncoder,
)
from recipekit.component.phases import PhaseSpec
from recipekit.component.ranks import Ranks, SingleProcess, Weights
from recipekit.component.retrievers import (
    Hits,
    QueryBatch,
    Remote,
    RemoteIndex,
    Retriever,
    RetrieverSpec,
)
from recipekit.component.slot import Slot, SlotType, slot_type
from recipekit.component.sources import Source, SourceSpec
from recipekit.component.spec import Component
from recipekit.component.vectors import VectorChunk, VectorSource, VectorSourceSpec

if TYPE_CHECKING:
    from recipekit.component.masked_tokens import MaskedTokens, PredictsTokens, Vocabulary
    from recipekit.component.sizes import Sizes
    from recipekit.component.training import (
        Forward,
        PairScores,
        Phase,
        PhasePart,
        StepResult,
        TrainingContext,
        TrainingLabels,
    )

__all__ = [
    "KINDS",
    "Account",
    "AnyEncoderName",
    "Component",
    "Context",
    "CrossEncoder",
    "CrossEncoderName",
    "Efficiency",
    "Embed",
    "Embeddings",
    "Encoder",
    "EncoderName",
    "EncoderSpec",
    "EncoderWeights",
    "Entry",
    "Evaluator",
    "EvaluatorSpec",
    "ExampleForm",
    "Exporter",
    "ExporterSpec",
    "Forward",
    "Headers",
    "Hits",
    "Judge",
    "JudgeSpec",
    "LocalPath",
    "Loss",
    "LossSpec",
    "LossWithWeights",
    "MaskedTokens",
    "Name",
    "NotIdentity",
    "PairBatch",
    "PairScores",
    "Phase",
    "PhasePart",
    "PhaseSpec",
    "PredictsTokens",
    "Progress",
    "QueryBatch",
    "Ranks",
    "Remote",
    "RemoteIndex",
    "Retriever",
    "RetrieverSpec",
    "SecondEncoder",
    "Secret",
    "ShardedAsOne",
    "SingleProcess",
    "Sizes",
    "Slot",
    "SlotType",
    "Source",
    "SourceSpec",
    "Spending",
    "StepResult",
    "System",
    "TakesPrompts",
    "Tracker",
    "TrainingContext",
    "TrainingLabels",
    "Url",
    "VectorChunk",
    "VectorSource",
    "VectorSourceSpec",
    "Verdicts",
    "Vocabulary",
    "Weights",
    "encoder_names",
    "field_docs",
    "is_any_encoder_name",
    "is_cross_encoder_name",
    "is_encoder_name",
    "is_headers",
    "is_identity",
    "is_secret",
    "is_url",
    "slot_type",
]

_NOT_IN_RECIPES: Final = {
    "masked_tokens": ("MaskedTokens", "PredictsTokens", "Vocabulary"),
    "sizes": ("Sizes",),
    "training": (
        "Forward",
        "PairScores",
        "Phase",
        "PhasePart",
        "StepResult",
        "TrainingContext",
        "TrainingLabels",
    ),
}
"""Modules that a recipe can be validated without; they are imported when a name is used."""


def __getattr__(name: str) -> Any:
    for module, names in _NOT_IN_RECIPES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
