"""Baselines on the Hugging Face Hub: `hf://OWNER/NAME`, or `hf://datasets/OWNER/NAME`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recipekit.encoding.model_files import hub_http_error
from recipekit.errors import StoreError

__all__ = ["HubRepository", "download", "hub_repository", "upload"]

ADDRESS: Final = re.compile(
    r"hf://(?P<kind>datasets/|models/)?(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?"
)


@dataclass(frozen=True)
class HubRepository:
    """A repository on the Hub."""

    id: str
    kind: str
    """`model` or `dataset`."""
    revision: str | None = None

    def __str__(self) -> str:
        prefix = "datasets/" if self.kind == "dataset" else ""
        at = f"@{self.revision}" if self.revision else ""
        return f"hf://{prefix}{self.id}{at}"


def hub_repository(text: str) -> HubRepository | None:
    """Return the repository that a text names; None for a path.

    Raises:
        StoreError: It starts with `hf://` and names no repository.
    """
    if not text.startswith("hf://"):
        return None
    found = ADDRESS.fullmatch(text)
    if found is None:
        raise StoreError(
            f"{text}: names no repository; write hf://OWNER/NAME, hf://datasets/OWNER/NAME, or "
            "either with @REVISION",
            code="RK534",
        )
    kind = "dataset" if found["kind"] == "datasets/" else "model"
    return HubRepository(found["id"], kind, found["revision"])


def upload(folder: Path, repository: HubRepository, *, private: bool = False) -> str:
    """Upload a folder as one commit, and return the commit's id. The repository may exist.

    Raises:
        StoreError: The Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    api: Any = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        api.create_repo(repository.id, repo_type=repository.kind, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository.id,
            repo_type=repository.kind,
            folder_path=str(folder),
            revision=repository.revision,
            commit_message="Upload a recipekit baseline",
        )
    except (OSError, ValueError, hub_http_error()) as error:
        raise _failed(repository, "cannot be written", error) from error
    return str(commit.oid)


def download(repository: HubRepository, folder: Path) -> str:
    """Download a repository's files into a folder, and return the commit.

    Raises:
        StoreError: The Hub cannot be reached, or does not have the repository or revision.
    """
    from huggingface_hub import HfApi

    api: Any = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        info = api.repo_info(repository.id, repo_type=repository.kind, revision=repository.revision)
        api.snapshot_download(
            repository.id, repo_type=repository.kind, revision=info.sha, local_dir=str(folder)
        )
    except (OSError, ValueError, hub_http_error()) as error:
        raise _failed(repository, "cannot be read", error) from error
    return str(info.sha)


def _failed(repository: HubRepository, what: str, error: Exception) -> StoreError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return StoreError(
        f"{repository}: {what} ({reason}); a private repository, and every upload, needs a token: "
        "`hf auth login`, or the variable HF_TOKEN",
        code="RK534",
    )
