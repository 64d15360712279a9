"""Whether data with a licence can be part of a shared baseline."""

from __future__ import annotations

import re
from typing import Final, Literal

__all__ = ["Permission", "permission"]

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
