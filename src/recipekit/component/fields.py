"""The marks that a component's fields may carry: what counts in keys, what is looked up, and what a
shared recipe may not hold.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo
from pydantic.fields import FieldInfo

__all__ = [
    "NAME_PATTERN",
    "EncoderName",
    "Headers",
    "LocalPath",
    "Name",
    "NotIdentity",
    "Secret",
    "Url",
    "encoder_names",
    "is_encoder_name",
    "is_headers",
    "is_identity",
    "is_secret",
    "is_url",
]


NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
"""A name that the recipe's author chooses: `dict[Name, Slot[LossSpec]]`."""


class _NotIdentity:
    """See `NotIdentity`."""

    def __repr__(self) -> str:
        return "NotIdentity"


NotIdentity: Final = _NotIdentity()
"""Marks a field that changes nothing about the result (a url, a concurrency, a path whose content
counts instead): it is left out of keys, and is the only place where `${env:NAME}` may stand.
`concurrency: Annotated[int, NotIdentity]`."""


class _EncoderName:
    """See `EncoderName`."""


EncoderName = Annotated[str, _EncoderName()]
"""A field that names one of the recipe's encoders; a recipe in which there is none of that name is
wrong.
"""


# Where things are
# ----------------------------------------------------------------------------------------------------


def _from_recipe_folder(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    return Path(os.path.abspath(folder / path.expanduser()))


LocalPath = Annotated[Path, NotIdentity, AfterValidator(_from_recipe_folder)]
"""A file or folder, absolute once validated; relative ones start at the recipe's folder (validation
context `folder`).

It is no part of the identity: list it in `files()`, so that its content is."""


class _Url:
    """See `Url`."""


def _checked_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        raise ValueError("is no url: write http://HOST:PORT or https://HOST:PORT")
    return value


Url = Annotated[str, NotIdentity, _Url(), AfterValidator(_checked_url)]
"""Where a server answers, by http or https.

A user's name and password in it may only be `${env:NAME}`.
"""


# What a recipe may not hold, since recipes are shared
# -----------------------------------------------------------------


class _Secret:
    """See `Secret`."""


Secret = Annotated[str, NotIdentity, _Secret()]
"""A credential: a recipe may only say in which environment variable it is (`${env:NAME}`)."""


class _Headers:
    """See `Headers`."""


Headers = Annotated[dict[str, str], NotIdentity, _Headers()]
"""HTTP headers by name; one whose name tells that it holds a credential may only be `${env:NAME}`.
"""


# Asking for them
# -----------------------------------------------------------------------------------------------------


def is_secret(field: FieldInfo) -> bool:
    """Whether a pydantic field is a `Secret`, or `Secret | None`."""
    return _is_marked(field, _Secret)


def is_url(field: FieldInfo) -> bool:
    """Whether a pydantic field is a `Url`, several of them, or None."""
    return _is_marked(field, _Url)


def is_headers(field: FieldInfo) -> bool:
    """Whether a pydantic field is `Headers`."""
    return _is_marked(field, _Headers)


def is_encoder_name(field: FieldInfo) -> bool:
    """Whether a pydantic field is an `EncoderName`, or `EncoderName | None`."""
    return _is_marked(field, _EncoderName)


def encoder_names(model: BaseModel) -> list[str]:
    """The recipe's encoders that the fields of a section or a component name."""
    fields = type(model).model_fields.items()
    names = [getattr(model, name) for name, field in fields if is_encoder_name(field)]
    return [name for name in names if name is not None]


def is_identity(field: FieldInfo) -> bool:
    """Whether a pydantic field counts in keys: it is not `NotIdentity`, alone or in a union
    (`LocalPath | None`).
    """
    return not _is_marked(field, _NotIdentity)


def _is_marked(field: FieldInfo, mark: type) -> bool:
    def inside(annotation: Any) -> bool:
        return any(isinstance(part, mark) or inside(part) for part in get_args(annotation))

    return any(isinstance(given, mark) for given in field.metadata) or inside(field.annotation)
