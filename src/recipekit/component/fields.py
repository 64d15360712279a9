"""Annotations of fields: what counts in cache keys, and what a shared recipe must not contain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo
from pydantic.fields import FieldInfo

__all__ = [
    "NAME_PATTERN",
    "AnyEncoderName",
    "CrossEncoderName",
    "EncoderName",
    "Headers",
    "LocalPath",
    "Name",
    "NotIdentity",
    "Secret",
    "Url",
    "encoder_names",
    "is_any_encoder_name",
    "is_cross_encoder_name",
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
"""Marks a field that does not change the result: `concurrency: Annotated[int, NotIdentity]`.

Such a field (a URL, a concurrency, a path whose content counts instead) is not part of cache keys,
and it can contain `${env:NAME}`, which other fields cannot."""


class _EncoderName:
    """See `EncoderName`."""


class _CrossEncoderName(_EncoderName):
    """See `CrossEncoderName`."""


class _AnyEncoderName(_EncoderName):
    """See `AnyEncoderName`."""


EncoderName = Annotated[str, _EncoderName()]
"""The name of one of the recipe's encoders; a recipe without an encoder of that name is invalid."""
CrossEncoderName = Annotated[str, _CrossEncoderName()]
"""The name of one of the recipe's encoders that scores pairs, such as a `cross_encoder`."""
AnyEncoderName = Annotated[str, _AnyEncoderName()]
"""The name of one of the recipe's encoders, whether it embeds texts or scores pairs."""


# Locations
# ---------


def _from_recipe_folder(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    return Path(os.path.abspath(folder / path.expanduser()))


LocalPath = Annotated[Path, NotIdentity, AfterValidator(_from_recipe_folder)]
"""A file or folder; relative paths start at the recipe's folder (validation context `folder`).

The path is absolute after validation and not part of cache keys: list it in `files()`, so that its
content is."""


class _Url:
    """See `Url`."""


def _checked_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number
        usable = False
    if not usable:
        raise ValueError("not a URL: write http://HOST:PORT or https://HOST:PORT")
    return value


Url = Annotated[str, NotIdentity, _Url(), AfterValidator(_checked_url)]
"""The address of a server, by http or https.

A user and password in it must be written as `${env:NAME}`."""


# Credentials
# -----------


class _Secret:
    """See `Secret`."""


Secret = Annotated[str, NotIdentity, _Secret()]
"""A credential, which a recipe can only take from an environment variable: `${env:NAME}`."""


class _Headers:
    """See `Headers`."""


Headers = Annotated[dict[str, str], NotIdentity, _Headers()]
"""HTTP headers by name; one that is named like a credential must be written as `${env:NAME}`."""


# Queries
# -------


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


def is_cross_encoder_name(field: FieldInfo) -> bool:
    """Whether a pydantic field is a `CrossEncoderName`, or `CrossEncoderName | None`."""
    return _is_marked(field, _CrossEncoderName)


def is_any_encoder_name(field: FieldInfo) -> bool:
    """Whether a pydantic field is an `AnyEncoderName`, or `AnyEncoderName | None`."""
    return _is_marked(field, _AnyEncoderName)


def encoder_names(model: BaseModel) -> list[str]:
    """The recipe's encoders that the fields of a section or a component name.

    Fields of the models in it count, those of components in its slots do not.
    """
    found = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value is not None and is_encoder_name(field):
            found.append(value)
        elif isinstance(value, BaseModel):
            found += encoder_names(value)
    return found


def is_identity(field: FieldInfo) -> bool:
    """Whether a pydantic field counts in cache keys: it is not `NotIdentity`, also in a union."""
    return not _is_marked(field, _NotIdentity)


def _is_marked(field: FieldInfo, mark: type) -> bool:
    def inside(annotation: Any) -> bool:
        return any(isinstance(part, mark) or inside(part) for part in get_args(annotation))

    return any(isinstance(part, mark) for part in field.metadata) or inside(field.annotation)
