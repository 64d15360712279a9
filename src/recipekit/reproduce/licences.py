"""Whether data with a licence can be part of a shared baseline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from recipekit.component import SourceSpec
from recipekit.errors import StoreError
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import all_slots

__all__ = [
    "Permission",
    "card_licence",
    "check_replies_allowed",
    "may_quote",
    "permission",
    "source_licences",
]

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


ON_THE_HUB: Final = frozenset(
    "agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause cc-by-2.0 cc-by-2.5 cc-by-3.0 "
    "cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 "
    "cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 "
    "cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 gfdl gpl gpl-2.0 gpl-3.0 isc "
    "lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 odbl odc-by pddl unlicense wtfpl zlib".split()
)
"""Names of licences that the Hub accepts in a card. It refuses an upload with another one."""


def card_licence(licence: str) -> dict[str, str]:
    """Return the keys with which the front matter of a card states a licence."""
    name = licence.strip().lower().replace(" ", "-")
    return {"license": name} if name in ON_THE_HUB else {"license": "other", "license_name": name}


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
