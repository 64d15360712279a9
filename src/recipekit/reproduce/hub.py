"""Baselines on the Hugging Face Hub: `hf://OWNER/NAME`, or `hf://datasets/OWNER/NAME`."""

from __future__ import annotations

import glob
import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from recipekit.encoding.model_files import hub_http_error
from recipekit.errors import StoreError
from recipekit.reproduce.bundle import INDEX, read_index
from recipekit.reproduce.hub_errors import failed

__all__ = ["HubRepository", "check_upload", "download", "hub_repository", "upload"]

ADDRESS: Final = re.compile(
    r"hf://(?P<kind>datasets/|models/)?(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?"
)
OF_A_NEW_REPOSITORY: Final = frozenset({".gitattributes", "README.md", "LICENSE", "LICENSE.md"})
"""Files that a repository can have before anything is uploaded to it."""


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

    def at(self, revision: str) -> HubRepository:
        """Return the repository at a branch, tag or commit."""
        return replace(self, revision=revision)


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


def check_upload(repository: HubRepository) -> None:
    """Check, before any work, that a baseline can be uploaded.

    Raises:
        StoreError: There is no token, the Hub cannot be reached or does not accept the token, or
            the repository has other content than a baseline.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise StoreError(
            f"{repository}: cannot be written, since an upload needs a token; log in with "
            "`hf auth login`, or set the variable HF_TOKEN",
            code="RK534",
        )
    with _explained(repository, "cannot be written"):
        owner = _api().whoami()
        role = owner.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise StoreError(
                f"{repository}: cannot be written, since the token has no right to write; make "
                "another one in the Hub's settings",
                code="RK534",
            )
        _files_of_earlier(repository)


def upload(folder: Path, repository: HubRepository, *, private: bool = False) -> str:
    """Upload a folder as one commit, and return the commit's id.

    The repository and the branch are made if they do not exist. Files of an earlier baseline that
    the new one does not have are removed.

    Raises:
        StoreError: The Hub cannot be reached or refuses, or the repository has other content.
    """
    api = _api()
    with _explained(repository, "cannot be written"), warnings.catch_warnings():
        # Values by query are in an Arrow file, which belongs into a model's repository here.
        warnings.filterwarnings("ignore", message=".*about to commit a data file")
        where = {"repo_id": repository.id, "repo_type": repository.kind}
        api.create_repo(**where, private=private or None, exist_ok=True)
        if repository.revision:
            api.create_branch(**where, branch=repository.revision, exist_ok=True)
        new = {each.relative_to(folder).as_posix() for each in folder.rglob("*")}
        stale = sorted(_files_of_earlier(repository) - new)
        commit = api.upload_folder(
            **where,
            folder_path=str(folder),
            revision=repository.revision,
            commit_message="Upload a recipekit baseline",
            delete_patterns=list(map(glob.escape, stale)) or None,
        )
    return str(commit.oid)


def _files_of_earlier(repository: HubRepository) -> set[str]:
    """Return the files of the baseline that a repository has; none if there is no repository.

    Raises:
        StoreError: The repository has other content.
    """
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    api = _api()
    where = {"repo_type": repository.kind, "revision": repository.revision}
    try:
        found = set(api.list_repo_files(repository.id, **where))
        if INDEX in found:
            with tempfile.TemporaryDirectory(prefix="recipekit-hub-") as folder:
                index = api.hf_hub_download(repository.id, INDEX, **where, local_dir=folder)
                stated = json.loads(Path(index).read_text(encoding="utf-8"))["files"]
            return found & set(stated)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return set()
    except (ValueError, KeyError, TypeError):
        found.discard(INDEX)
    if others := sorted(found - OF_A_NEW_REPOSITORY):
        raise StoreError(
            f"{repository}: has other files, such as {others[0]}, and is not a baseline; name a "
            "new repository, or one that a baseline was uploaded to",
            code="RK535",
        )
    return set()


def download(repository: HubRepository, folder: Path) -> HubRepository:
    """Download the files of a baseline into a folder, and return the repository at its commit.

    Other files of the repository are left out.

    Raises:
        StoreError: The Hub cannot be reached, does not have the repository or revision, or it is
            not a baseline.
    """
    from huggingface_hub.errors import EntryNotFoundError

    api = _api()
    with _explained(repository, "cannot be read"):
        where = {"repo_type": repository.kind, "local_dir": str(folder)}
        commit = str(
            api.repo_info(
                repository.id, repo_type=repository.kind, revision=repository.revision
            ).sha
        )
        try:
            api.hf_hub_download(repository.id, INDEX, revision=commit, **where)
        except EntryNotFoundError as error:
            raise StoreError(
                f"{repository}: not a recipekit baseline: there is no {INDEX} in it; "
                "`recipekit share` writes one",
                code="RK530",
            ) from error
        wanted = list(map(glob.escape, read_index(folder, str(repository))["files"]))
        api.snapshot_download(repository.id, revision=commit, allow_patterns=wanted, **where)
    return repository.at(commit)


def _api() -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="recipekit")


@contextmanager
def _explained(repository: HubRepository, what: str) -> Iterator[None]:
    """Turn errors of the Hub's client into one line."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, ValueError, RuntimeError, hub_http_error()) as error:
        raise failed(repository.id, str(repository), what, error) from error
