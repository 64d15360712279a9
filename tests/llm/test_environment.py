"""What importing and using litellm must not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from servers.openai_server import always, serving, text

ASK = """
import sys
sent = []
sys.addaudithook(lambda event, given: sent.append(given[1]) if event in ("socket.connect", "socket.getaddrinfo") else None)
import asyncio, os, warnings
from recipekit.llm.asking import Asker
from recipekit.llm.budget import Budget
from recipekit.llm.calls import Request
from recipekit.llm.client import Client, Endpoint
from recipekit.llm.store import CallStore
from recipekit.component.context import Spending
assert "litellm" not in sys.modules
store = CallStore(None)
asker = Asker(Client(Endpoint(sys.argv[1] + "/v1")), store, Budget(store, Spending()), None, lambda request: 1)
with asker:
    requests = (Request("openai/test-model", ({"role": "user", "content": str(n)},), {"max_tokens": 9}) for n in range(20))
    assert [answer.text for _, answer in asker.answers(requests)] == ["fine"] * 20
assert "FROM_DOTENV" not in os.environ, "the .env was read"
print({place[1] if isinstance(place, tuple) else place for place in sent})
"""


def test_no_env_file_is_read_nothing_else_is_reached_and_nothing_is_left_open(tmp_path: Path):
    (tmp_path / ".env").write_text("FROM_DOTENV=yes\nOPENAI_API_KEY=sk-not-for-you\n")
    environment = {"PATH": "/usr/bin", "HOME": str(tmp_path), "LITELLM_MODE": "DEV"}
    with serving(always(text("fine"))) as server:
        command = [sys.executable, "-X", "dev", "-W", "default", "-c", ASK, server.url]
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
