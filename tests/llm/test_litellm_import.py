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
import asyncio, os
from recipekit.component.context import Spending
from recipekit.llm.budget import Budget
from recipekit.llm.client import Client
from recipekit.llm.completion import Request
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.reply_cache import ReplyCache
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
assert "FROM_DOTENV" not in os.environ, "the .env was read"
print({place[1] if isinstance(place, tuple) else place for place in sent})
"""


@pytest.mark.slow
def test_litellm_reads_no_env_file_reaches_nothing_else_and_leaves_nothing_open(tmp_path: Path):
    (tmp_path / ".env").write_text("FROM_DOTENV=yes\nOPENAI_API_KEY=sk-not-for-you\n")
    environment = {"PATH": "/usr/bin", "HOME": str(tmp_path), "LITELLM_MODE": "DEV"}
    with serving(always(text("fine"))) as server:
        command = [sys.executable, "-X", "dev", "-W", "default", "-c", COMPLETE, server.url]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        port = int(server.url.rpartition(":")[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str({port})
    complaints = [
        line
        for line in done.stderr.splitlines()
        if "ResourceWarning" in line or "destroyed" in line or "never awaited" in line
    ]
    assert complaints == []


@pytest.mark.slow
def test_importing_litellm_leaves_garbage_collection_on():
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count())); "
        "from recipekit.llm.litellm_import import litellm; litellm(); "
        "assert gc.isenabled(); assert gc.get_freeze_count() > 100_000; "
        "gc.disable(); litellm.cache_clear(); litellm(); assert not gc.isenabled()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "0", "libraries report what is left at the end as leaks"
