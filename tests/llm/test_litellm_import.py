"""What importing and using litellm must not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from servers.openai_server import always, serving, text

COMPLETE = """
import sys
sent = []
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        sent.append(arguments[1])
sys.addaudithook(note)
import asyncio, atexit, gc, os
atexit.register(lambda: print("frozen:", gc.get_freeze_count()))
from recipekit.component.context import Spending
from recipekit.llm.budget import Budget
from recipekit.llm.client import Client
from recipekit.llm.completion import Request
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.reply_cache import ReplyCache
from recipekit.llm.litellm_import import litellm
assert "litellm" not in sys.modules

async def main():
    cache = ReplyCache(None)
    endpoint = Endpoint(sys.argv[1] + "/v1")
    client = Client(endpoint, cache, Budget(cache, Spending()), None, lambda request: 1)
    messages = [({"role": "user", "content": str(number)},) for number in range(20)]
    requests = [Request("openai/test-model", message, {"max_tokens": 9}) for message in messages]
    replies = await asyncio.gather(*map(client.complete, requests))
    assert [reply.text for reply in replies] == ["fine"] * 20
    await client.aclose()
    cache.close()

asyncio.run(main())
assert gc.isenabled() and gc.get_freeze_count() > 100_000
gc.disable()
litellm.cache_clear()
litellm()
assert not gc.isenabled()
assert "FROM_DOTENV" not in os.environ, "the .env was read"
print({place[1] if isinstance(place, tuple) else place for place in sent})
"""


@pytest.mark.slow
def test_litellm_reads_no_env_file_reaches_nothing_else_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    (tmp_path / ".env").write_text("FROM_DOTENV=yes\nOPENAI_API_KEY=sk-not-for-you\n")
    environment = {"PATH": "/usr/bin", "HOME": str(tmp_path), "LITELLM_MODE": "DEV"}
    with serving(always(text("fine"))) as server:
        command = [sys.executable, "-X", "dev", "-W", "default", "-c", COMPLETE, server.url]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        port = int(server.url.rpartition(":")[2])
    assert done.returncode == 0, done.stderr
    reached, frozen = done.stdout.splitlines()
    assert reached == str({port})
    assert frozen == "frozen: 0", "libraries report what is left at the end as leaks"
    complaints = [
        line
        for line in done.stderr.splitlines()
        if "ResourceWarning" in line or "destroyed" in line or "never awaited" in line
    ]
    assert complaints == []
