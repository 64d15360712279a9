"""One YAML recipe makes a correctly labelled data set and a better text-embedding model.

```python
import recipekit

for stage in recipekit.plan("recipe.yaml", ["train.batch_size=32"]):
    print(stage.stage, stage.state, *stage.reasons)
finished = recipekit.run("recipe.yaml", ["train.batch_size=32"])
print(finished.metrics)
vectors = finished.model.encode_query(["what is an embedding?"])
```

The names are imported when they are first used, so that `import recipekit` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipekit.comparison.api import compare
    from recipekit.comparison.result import Comparison
    from recipekit.errors import RecipeError, RecipekitError
    from recipekit.pipeline.api import load_recipe, plan, run
    from recipekit.pipeline.plan import Plan
    from recipekit.pipeline.run_result import Run
    from recipekit.recipe.sections import Recipe

__all__ = [
    "Comparison",
    "Plan",
    "Recipe",
    "RecipeError",
    "RecipekitError",
    "Run",
    "__version__",
    "compare",
    "load_recipe",
    "plan",
    "run",
]

__version__ = "0.1.0"

_HOMES = {
    "Comparison": "recipekit.comparison.result",
    "Plan": "recipekit.pipeline.plan",
    "Recipe": "recipekit.recipe.sections",
    "RecipeError": "recipekit.errors",
    "RecipekitError": "recipekit.errors",
    "Run": "recipekit.pipeline.run_result",
    "compare": "recipekit.comparison.api",
    "load_recipe": "recipekit.pipeline.api",
    "plan": "recipekit.pipeline.api",
    "run": "recipekit.pipeline.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'recipekit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
