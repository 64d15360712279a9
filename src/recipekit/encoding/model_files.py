"""Locates a model's files: a folder, an installed package, or the Hugging Face Hub.

Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from pathlib import Path
from typing import Final

from recipekit.errors import ModelError

__all__ = [
    "HUB_ID",
    "absolute",
    "cached_folder",
    "check_sha256",
    "hub_http_error",
    "hub_revision",
    "hub_snapshot",
    "local_folder",
    "unloadable",
    "unreachable",
]

PATH_STARTS: Final = ("./", "../", "/", "~")
PACKAGE: Final = re.compile(r"package:(?P<name>[A-Za-z_]\w*)/(?P<folder>[\w.-]+(?:/[\w.-]+)*)")
HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
HUB_TIMEOUT: Final = 10.0
"""Seconds to wait for the Hub to resolve a revision."""


def absolute(model: str, folder: Path) -> str:
    """Return a model's name, with a path made absolute; relative paths start at `folder`.

    Raises:
        ValueError: The name is neither a path, nor `package:NAME/FOLDER`, nor a Hub id.
    """
    if model.startswith(PATH_STARTS):
        return os.path.abspath(folder / Path(model).expanduser())
    if model.startswith("package:"):
        found = PACKAGE.fullmatch(model)
        if found is None or ".." in found["folder"].split("/"):
            raise ValueError(
                f"'{model}' does not name a package's files: write package:NAME/FOLDER, with the "
                "name by which it is imported"
            )
        return model
    if not HUB_ID.fullmatch(model):
        hint = f", or './{model}' for a folder" if model else ""
        raise ValueError(
            f"'{model}' is not a Hub id: write 'OWNER/NAME', such as "
            f"sentence-transformers/all-MiniLM-L6-v2{hint}"
        )
    return model


def local_folder(model: str) -> Path | None:
    """Return the folder of a path or `package:NAME/FOLDER`; None for a Hub id.

    Raises:
        ModelError: The package or folder does not exist, or contains no model.
    """
    if model.startswith("package:"):
        folder = _package_folder(model)
    elif model.startswith("/"):
        folder = Path(model)
    else:
        return None
    if not folder.is_dir():
        what = "is a file; a model is a folder" if folder.is_file() else "there is no such folder"
        raise ModelError(
            f"model '{model}': {what}" + (f" ({folder})" if str(folder) != model else ""),
            code="RK401",
        )
    if not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
        raise ModelError(
            f"model '{model}': {folder} contains no model (neither modules.json nor config.json)",
            code="RK402",
        )
    return folder


def _package_folder(model: str) -> Path:
    found = PACKAGE.fullmatch(model)
    assert found is not None, "checked when the spec was validated"
    # A top-level name is found without importing anything.
    spec = importlib.util.find_spec(found["name"])
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise ModelError(
            f"model '{model}': the package '{found['name']}' is not installed",
            code="RK403",
        )
    return next(
        (folder for place in places if (folder := Path(place, found["folder"])).is_dir()),
        Path(places[0], found["folder"]),
    )


def hub_revision(model: str, revision: str | None) -> str:
    """Return the commit of a model on the Hub: the cached one, or the Hub's current one.

    The cache comes first, so that an unpinned model stays the same until its cached copy is
    removed.

    Raises:
        ModelError: The model is not cached, and the Hub cannot be reached or does not have the
            model or revision.
    """
    wanted = revision or "main"
    if COMMIT.fullmatch(wanted):
        return wanted
    reference = _hub_cache() / _hub_folder(model) / "refs" / wanted
    if reference.is_file():
        return reference.read_text().strip()
    return _ask_hub(model, wanted)


def cached_folder(model: str, revision: str | None) -> Path | None:
    """Return the folder of a cached Hub model, or None; makes no request."""
    wanted = revision or "main"
    reference = _hub_cache() / _hub_folder(model) / "refs" / wanted
    commit = reference.read_text().strip() if reference.is_file() else wanted
    folder = hub_snapshot(model, commit)
    return folder if folder.is_dir() else None


def _ask_hub(model: str, revision: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        commit = HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT).sha
    except RevisionNotFoundError as error:
        raise ModelError(
            f"model '{model}' has no revision '{revision}' on the Hugging Face Hub", code="RK404"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"the Hugging Face Hub has no model '{model}', or it is private and HF_TOKEN is unset",
            code="RK404",
        ) from error
    except (OSError, hub_http_error()) as error:
        raise unreachable(model, error) from error
    assert commit is not None, "the Hub returns the commit of every revision"
    return str(commit)


def hub_http_error() -> type[Exception]:
    """Return the base of the Hub client's HTTP errors.

    It is httpx's HTTPError in huggingface_hub 1, and that of httpx2 in 2.
    """
    from huggingface_hub.errors import HfHubHTTPError

    kind: type[Exception] = next(
        kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"
    )
    return kind


def unreachable(model: str, reason: Exception) -> ModelError:
    """Return the error for a model that is not cached when the Hub cannot be reached."""
    return ModelError(
        f"model '{model}' is not in the local cache, and the Hugging Face Hub cannot be reached "
        f"({type(reason).__name__}): run once with a network, or name a folder (./FOLDER) or an "
        "installed package's files (package:NAME/FOLDER)",
        code="RK405",
    )


def unloadable(model: str, reason: Exception) -> ModelError:
    """Return the error for a model that a library cannot load at all, or without its code."""
    if "trust_remote_code" in str(reason):
        return ModelError(
            f"model '{model}' brings Python code of its own: read it, then pass "
            "--trust-remote-code to let it run",
            code="RK408",
        )
    text = f"{type(reason).__name__}: {reason}".splitlines()[0]
    return ModelError(f"model '{model}' cannot be loaded: {text}", code="RK410")


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    # sentence-transformers uses its own cache folder if this is set.
    return Path(os.environ.get("SENTENCE_TRANSFORMERS_HOME") or HF_HUB_CACHE)


def _hub_folder(model: str) -> str:
    return "models--" + model.replace("/", "--")


def hub_snapshot(model: str, commit: str) -> Path:
    """Return the folder of a cached commit, which may not exist yet."""
    return _hub_cache() / _hub_folder(model) / "snapshots" / commit


def check_sha256(model: str, folder: Path, wanted: str) -> None:
    """Compare a pinned hash with that of `model.safetensors`, or of the only file of weights.

    Raises:
        ModelError: The hashes differ, or the folder does not contain exactly one file of weights.
    """
    weights = folder / "model.safetensors"
    if not weights.is_file():
        files = sorted(
            file for pattern in ("*.safetensors", "*.bin") for file in folder.rglob(pattern)
        )
        if len(files) != 1:
            raise ModelError(
                f"model '{model}': sha256 pins one file of weights, but {folder} has {len(files)}",
                code="RK406",
            )
        weights = files[0]
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted.lower():
        raise ModelError(
            f"model '{model}': the sha256 of {weights.name} is {found}, but the recipe pins "
            f"{wanted.lower()}",
            code="RK407",
        )
