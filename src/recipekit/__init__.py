"""One YAML recipe makes a correctly labelled data set and a better text-embedding model.

```python
import recipekit

recipe = recipekit.load_recipe("recipe.yaml", overrides=["train.batch_size=32"])
for stage in recipekit.plan(recipe):
    print(stage.stage, stage.state, *stage.reasons)
finished = recipekit.run(recipe)
print(finished.path, finished.metrics)
```

The names are imported when they are first used, so that `import recipekit` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipekit.errors import RecipeError, RecipekitError
    from recipekit.pipeline.execute import Run, run
    from recipekit.pipeline.plan import Plan, plan
    from recipekit.recipe.sections import Recipe
    from recipekit.stages.recipe import load_recipe

__all__ = [
    "Plan",
    "Recipe",
    "RecipeError",
    "RecipekitError",
    "Run",
    "__version__",
    "load_recipe",
    "plan",
    "run",
]

__version__ = "0.1.0"

_HOMES = {
    "Plan": "recipekit.pipeline.plan",
    "Recipe": "recipekit.recipe.sections",
    "RecipeError": "recipekit.errors",
    "RecipekitError": "recipekit.errors",
    "Run": "recipekit.pipeline.execute",
    "load_recipe": "recipekit.stages.recipe",
    "plan": "recipekit.pipeline.plan",
    "run": "recipekit.pipeline.execute",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'recipekit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
