"""What others may change while a run is under way: the indices and collections that its components
read and search.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from recipekit.errors import RunError, error_location
from recipekit.pipeline.plan import changes
from recipekit.recipe.sections import Section

__all__ = ["check_unchanged"]

PLACES: Final = {"collect": "sources", "mine": "retrievers", "evaluate": "baselines"}
"""By the stages that ask engines, the map of what they ask them with."""


def check_unchanged(stage: str, section: Section, identity: Mapping[str, Any]) -> None:
    """See that what a stage's live components use is still what the plan found.

    Args:
        stage: The stage's name.
        section: Its section.
        identity: Everything behind its key, as planned.

    Raises:
        RunError: An index is another than it was.
        RecipekitError: It is gone, or cannot be reached any more.
    """
    where = PLACES.get(stage, "")
    for name, slot in getattr(section, where, {}).items():
        if not slot.spec.live:
            continue
        planned = identity["section"][where][name].get("fingerprint")
        with error_location(partial("{}: {}".format, stage, name)):
            found = slot.spec.fingerprint()
        if differences := list(changes(planned, found)):
            what = "; ".join(differences[:3])
            raise RunError(
                f"{stage}: what {where}.{name} uses changed since the run was planned ({what}); run again to use it as it is now",
                code="RK611",
            )
