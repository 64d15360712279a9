"""Whether data with a licence can be part of a shared baseline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from recipekit.component import SourceSpec
from recipekit.errors import StoreError
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import all_slots

__all__ = ["Permission", "check_replies_allowed", "may_quote", "permission", "source_licences"]

Permission = Literal["allowed", "unknown", "forbidden"]

ALLOWED: Final = re.compile(
    r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[1-4]\.[05]|cc-by(-nc)?(-sa|-nd)?|pddl(-1\.0)?|odc-by(-1\.0)?"
    r"|odbl(-1\.0)?|cdla-(permissive|sharing)-[12]\.0|mit(-0)?|apache-2\.0|bsd(-[23]-clause)?"
    r"|isc|unlicense|wtfpl|zlib|python-2\.0|psf-2\.0|mpl-2\.0|artistic-2\.0"
    r"|(l|a)?gpl-[23]\.[01](-only|-or-later)?|gfdl(-1\.[123])?|public-domain"
)
"""Licences, by SPDX id or the Hub's name, that allow everyone to pass on unchanged copies."""

FORBIDDEN: Final = re.compile(
    r"proprietary|all-rights-reserved|no-redistribution|unlicensed|confidential|internal"
)


def permission(licence: str | None) -> Permission:
    """Return whether data with a licence can be passed on.

    Args:
        licence: An SPDX id or the Hub's name of a licence, such as `cc-by-sa-4.0`; None if the
            recipe does not state it.
    """
    name = (licence or "").strip().lower().replace(" ", "-")
    if FORBIDDEN.fullmatch(name):
        return "forbidden"
    return "allowed" if ALLOWED.fullmatch(name) else "unknown"


def source_licences(recipe: Recipe) -> dict[str, str | None]:
    """Return the licence that each source of a recipe states, by the source's path."""
    return {
        ".".join(map(str, path)): slot.spec.license
        for name, section in recipe.stages()
        for path, slot in all_slots(section, (name,))
        if isinstance(slot.spec, SourceSpec)
    }


def may_quote(licences: Mapping[str, str | None], include_data: bool) -> bool:
    """Return whether a report may quote texts of these sources.

    Args:
        licences: From `source_licences`.
        include_data: Whether the author may pass on data of unknown licence.
    """
    found = set(map(permission, licences.values()))
    return found <= ({"allowed", "unknown"} if include_data else {"allowed"})


def check_replies_allowed(licences: Mapping[str, str | None]) -> None:
    """Check that LLM replies, which can quote texts, may be passed on.

    Raises:
        StoreError: The licence of a source forbids to pass on its texts.
    """
    for path, licence in licences.items():
        if permission(licence) == "forbidden":
            raise StoreError(
                f"--include-replies: replies can quote texts of {path}, whose licence forbids it "
                f"({licence})",
                code="RK537",
            )
