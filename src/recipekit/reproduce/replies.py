"""The paid replies of a run, in a bundle, so that others repeat the judging for free."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from recipekit.artifacts.key import key_of
from recipekit.errors import StoreError
from recipekit.llm.reply_cache import ReplyCache
from recipekit.pipeline.identity import without_limits
from recipekit.report.run_folder import RunFolder
from recipekit.stages import stage_named

__all__ = ["REPLIES", "read_replies", "write_replies"]

REPLIES: Final = "replies.jsonl.gz"
"""The name of the file in a bundle."""


def write_replies(run: RunFolder, cache: Path, file: Path) -> int:
    """Write the replies that a run used, without the prompts, and return their number.

    Args:
        run: The run.
        cache: The root of its cache.
        file: The file to write, of gzipped JSON lines.
    """
    calls = cache / "calls.sqlite"
    found = list(_replies(run, calls)) if calls.is_file() else []
    if found:
        # Without a time, equal replies give an equal file.
        with file.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as lines:
            for key, model, reply in found:
                record = {"key": key, "model": model, "reply": json.loads(reply)}
                lines.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    return len(found)


def _replies(run: RunFolder, calls: Path) -> Iterator[tuple[str, str, str]]:
    with ReplyCache(calls) as replies:
        for ledger in _ledgers(run.manifests):
            yield from replies.used_by(ledger)


def _ledgers(manifests: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the account that a run's calls are booked to; see `recipekit.pipeline.ledger`."""
    for stage, manifest in manifests.items():
        if stage_named(stage).spends:
            yield key_of(without_limits(manifest["identity"]))
            return


def read_replies(file: Path, cache: Path) -> int:
    """Put the replies of a bundle into a cache, and return their number.

    Raises:
        StoreError: The file is damaged.
    """
    count = 0
    with ReplyCache(cache / "calls.sqlite") as replies, replies.transaction():
        try:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for line in lines:
                    record = json.loads(line)
                    reply = json.dumps(record["reply"])
                    replies.add(record["key"], record["model"], reply)
                    count += 1
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{file}: line {count + 1} is not a reply; the bundle is damaged", code="RK531"
            ) from error
    return count
