"""Tests for plugin authors: a context without a run, and a conformance check per kind.

A check builds the component, uses it as the stages do, and raises a `ConformanceError`, an
`AssertionError` whose sentence says which promise of its Protocol (in `recipekit.component`) is
broken. It raises nothing else. Each check begins with `check_spec`, the rules that every component
keeps.

```python
def test_conformance(tmp_path):
    dataset = small_dataset(tmp_path / "dataset")
    check_retriever(CharNgrams(), context(tmp_path / "scratch", dataset=dataset))
```
"""

from recipekit.testing.binding import bind
from recipekit.testing.contexts import RecordingProgress, context
from recipekit.testing.datasets import small_dataset
from recipekit.testing.encoders import check_encoder
from recipekit.testing.judges import check_judge
from recipekit.testing.losses import check_loss
from recipekit.testing.phases import check_phase, training_context
from recipekit.testing.promises import ConformanceError
from recipekit.testing.results import check_evaluator, check_exporter
from recipekit.testing.retrievers import check_retriever
from recipekit.testing.sources import check_source
from recipekit.testing.specs import HEAVY, check_spec
from recipekit.testing.vector_sources import check_vector_source

__all__ = [
    "HEAVY",
    "ConformanceError",
    "RecordingProgress",
    "bind",
    "check_encoder",
    "check_evaluator",
    "check_exporter",
    "check_judge",
    "check_loss",
    "check_phase",
    "check_retriever",
    "check_source",
    "check_spec",
    "check_vector_source",
    "context",
    "small_dataset",
    "training_context",
]
