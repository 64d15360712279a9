"""Checks of the `mine` section."""

from __future__ import annotations

from recipekit.recipe.draft import Draft
from recipekit.suggestions import did_you_mean

__all__ = ["check"]


def check(draft: Draft) -> None:
    """Check that fusion weights name retrievers, and have an effect."""
    weights, retrievers = draft.mapping("mine", "fusion_weights"), draft.at("mine", "retrievers")
    if ("mine", "retrievers") in draft.unclear or not weights:
        return
    for name in weights:
        if isinstance(retrievers, dict) and name not in retrievers:
            path = ("mine", "fusion_weights", name)
            known = f" The retrievers are {', '.join(retrievers)}."
            hint = did_you_mean(name, retrievers) or known
            draft.report(path, f"there is no retriever '{name}'.{hint}", "RK106", at_key=True)
    if draft.at("mine", "fusion") == "union":
        message = "has no effect with 'fusion: union', which ranks without scores: remove one"
        draft.report(("mine", "fusion_weights"), message, "RK107", at_key=True)
