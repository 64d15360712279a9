"""A last look for credentials of this machine in files that are about to be shared."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from recipekit.errors import StoreError
from recipekit.recipe.environment import names

__all__ = ["check_no_secrets"]

SECRET: Final = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|COOKIE)$")
SHORTEST: Final = 8
"""Characters; shorter values occur by chance."""


def check_no_secrets(folder: Path, recipe: str) -> None:
    """Check that no file contains a value of the environment that is or may be secret.

    These are the variables that the recipe names, those that are called like a credential, and the
    saved token of the Hugging Face Hub.

    Args:
        folder: The files.
        recipe: The recipe's text.

    Raises:
        StoreError: A file contains such a value.
    """
    values = dict(_values(recipe, os.environ))
    if token := _hub_token():
        values.setdefault("HF_TOKEN", token)
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
        for name, value in values.items():
            if value.encode() in content:
                raise StoreError(
                    f"{file.relative_to(folder)}: contains the value of the variable {name}; a "
                    "baseline must not contain it, so nothing was written",
                    code="RK536",
                )


def _values(recipe: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    named = set(names(recipe))
    for name, value in environment.items():
        if len(value) >= SHORTEST and (name in named or SECRET.search(name.upper())):
            yield name, value


def _hub_token() -> str | None:
    from huggingface_hub import get_token

    token: str | None = get_token()
    return token
