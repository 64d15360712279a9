"""What a baseline states about its models: `models.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, cast, get_args

from recipekit.exporters.cards import hub_id
from recipekit.recipe.sections import TRAINED, Recipe
from recipekit.records import Similarity
from recipekit.stages import trained_encoder
from recipekit.stages.evaluate.section import UNTRAINED, EvaluateSection

__all__ = ["MODELS", "PublishedFacts", "published_facts", "read_facts"]

MODELS: Final = "models.json"


@dataclass(frozen=True)
class PublishedFacts:
    """What is known of the model of a system; None is unknown."""

    max_length: int | None = None
    """Tokens after which a text is cut."""
    similarity: Similarity | None = None
    """How vectors are compared."""
    base_model: str | None = None
    """The model on the Hub that it starts from."""
    licence: str | None = None
    """The licence that the card of this model states."""


def published_facts(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Return what the files of the measured encoders state, by system.

    Args:
        recipe: A recipe whose models are on this machine.
    """
    section, trained = recipe.section(EvaluateSection), trained_encoder(recipe)
    names = {} if section is None else {UNTRAINED: section.encoder}
    if trained is not None:
        names[TRAINED] = trained
    found = {}
    for system, name in names.items():
        slot = (recipe.encoders or {}).get(name)
        if slot is not None:
            spec = slot.spec
            facts = PublishedFacts(
                max_length=spec.known_max_length(),
                similarity=spec.known_similarity(),
                base_model=hub_id(spec.base_model),
                licence=spec.known_licence(),
            )
            found[system] = asdict(facts)
    return found


def read_facts(values: object) -> PublishedFacts:
    """Return the facts of a system from their JSON values.

    Raises:
        ValueError: A value has another type.
    """
    if not isinstance(values, dict):
        raise ValueError("not an object")
    length, similarity = values.get("max_length"), values.get("similarity")
    texts = [values.get(name) for name in ("base_model", "licence")]
    if not isinstance(length, int | None) or any(not isinstance(t, str | None) for t in texts):
        raise ValueError("a value has another type")
    if similarity is not None and similarity not in get_args(Similarity):
        raise ValueError(f"'{similarity}' is not a similarity")
    return PublishedFacts(length, cast("Similarity | None", similarity), *texts)
