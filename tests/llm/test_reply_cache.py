"""The file of paid replies: lookups, transactions, processes, kills and damage."""

import math
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recipekit.errors import StoreError
from recipekit.llm.completion import Reply, Request, TokenLogprob, Usage
from recipekit.llm.reply_cache import ReplyCache

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def request_number(number: int, *, words: int = 10, **parameters) -> Request:
    messages = (
        {"role": "system", "content": "You judge."},
        {"role": "user", "content": f"passage {number} " + "word " * words},
    )
    return Request("openai/gpt-5-nano", messages, {"max_tokens": 50, **parameters})


def answer(text: str = "relevant", **given) -> Reply:
    return Reply(
        **{
            "text": text,
            "model": "gpt-5-nano-2025-08-07",
            "usage": Usage(100, 60, 7, 4),
            "cost_usd": 0.0123,
            "seconds": 0.5,
            **given,
        }
    )


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "deep" / "calls.sqlite"


def test_a_paid_reply_is_found_again(file):
    reply = answer(logprobs=(TokenLogprob("rel", -0.1), TokenLogprob("evant", -2.5)))
    with ReplyCache(file) as cache:
        assert cache.find(request_number(1).key) is None
        cache.keep(request_number(1), reply)
    with ReplyCache(file) as cache:
        found = cache.find(request_number(1).key)
        assert found == Reply(
            reply.text, reply.model, reply.usage, 0.0123, 0.5, reply.logprobs, from_cache=True
        )
        assert cache.find(request_number(2).key) is None
        assert cache.find(request_number(1, temperature=1.0).key) is None, (
            "other parameters make another request"
        )
        assert len(cache) == 1


def test_the_first_of_two_replies_stays(file):
    with ReplyCache(file) as cache:
        cache.keep(request_number(1), answer("first"))
        cache.keep(request_number(1), answer("second"))
        assert cache.find(request_number(1).key).text == "first"


@pytest.mark.parametrize(
    "text", ["", "\0 nul", "naïve 日本語 🙂", "half a surrogate \ud83d", "x" * 100_000]
)
def test_any_text_is_stored_unchanged(file, text):
    request = Request("m", ({"role": "user", "content": text},), {"max_tokens": 1})
    with ReplyCache(file) as cache:
        cache.keep(
            request, answer(text, model=text, cost_usd=None, logprobs=(TokenLogprob(text, -1.0),))
        )
        found = cache.find(request.key)
        assert (found.text, found.model, found.cost_usd, found.logprobs) == (
            text,
            text,
            None,
            (TokenLogprob(text, -1.0),),
        )
        assert next(cache.calls()).request == request


def test_requests_and_replies_can_be_listed(file):
    before = time.time()
    with ReplyCache(file) as cache:
        cache.keep(request_number(1, response_format={"type": "json_object"}), answer())
        cache.keep(request_number(2), answer())
        first, second = cache.calls()
    assert first.request == request_number(1, response_format={"type": "json_object"})
    assert first.request.key == request_number(1, response_format={"type": "json_object"}).key
    assert (second.request, second.reply.text) == (request_number(2), "relevant")
    assert before <= first.at <= second.at <= time.time()


@pytest.mark.parametrize("secret", ["api_key", "extra_headers"])
def test_credentials_are_never_written(file, secret):
    with ReplyCache(file) as cache, pytest.raises(ValueError, match=secret):
        cache.keep(request_number(1, **{secret: "sk-123"}), answer())
    assert b"sk-123" not in file.read_bytes()


def test_a_transaction_is_all_or_nothing(file):
    with ReplyCache(file) as cache:
        with pytest.raises(KeyError), cache.transaction():
            cache.keep(request_number(1), answer())
            raise KeyError
        assert len(cache) == 0
        with cache.transaction():
            cache.keep(request_number(1), answer())
            cache.keep(request_number(2), answer())
        assert len(cache) == 2


def test_without_a_file_nothing_is_kept():
    with ReplyCache(None) as cache:
        cache.keep(request_number(1), answer())
        assert cache.find(request_number(1).key) is None


# Processes
# --------------------------------------------------------------------------------------------------

KEEP = """
import sys
from pathlib import Path
from recipekit.llm.completion import Reply, Request, Usage
from recipekit.llm.reply_cache import ReplyCache

file, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with ReplyCache(file) as cache:
    for i in range(first, last):
        message = {"role": "user", "content": f"passage {i} " * 50}
        request = Request("m", (message,), {"max_tokens": 50})
        cache.keep(request, Reply(f"reply {i}", "m-1", Usage(10, 0, 5), 0.001, 0.1))
        print(i, flush=True)
"""


def start_keeping(file: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", KEEP, str(file), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_start_together_share_a_file(file):
    """All of them create the file; their ranges overlap, so that they write equal keys."""
    processes = [start_keeping(file, 100 * i, 100 * i + 200) for i in range(4)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    with ReplyCache(file) as cache:
        assert len(cache) == 500
    assert sorted(path.name for path in file.parent.iterdir()) == ["calls.sqlite"], (
        "no temporary file is left, and the log is folded in"
    )


@pytest.mark.parametrize("moment", [0, 1, 17, 160])
def test_committed_replies_survive_a_kill(file, moment):
    process = start_keeping(file, 0, 10**6)
    for line in process.stdout:
        if int(line) == moment:
            process.kill()  # SIGKILL, wherever it is by now
            break
    rest, _ = process.communicate()
    last = (
        int(rest.split("\n")[-2]) if rest.count("\n") > 0 else moment
    )  # the last whole line that it still printed
    with ReplyCache(file) as cache:
        assert len(cache) >= last + 1
        texts = [call.reply.text for call in cache.calls()]
        assert texts == [f"reply {i}" for i in range(len(texts))]
        cache.keep(request_number(1), answer())


# Damage
# --------------------------------------------------------------------------------------------------


def test_a_file_of_another_version_is_refused(file):
    ReplyCache(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(
        StoreError,
        match=(
            r"calls\.sqlite: was written by another version of recipekit "
            r"\(format 99, this one knows 1\)"
        ),
    ) as caught:
        ReplyCache(file)
    assert caught.value.code == "RK510"


@pytest.mark.parametrize("content", ["another program's", "empty"])
def test_a_file_of_another_program_is_refused(file, content):
    file.parent.mkdir()
    if content == "empty":
        file.touch()
    else:
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()
    with pytest.raises(StoreError, match=r"calls\.sqlite: is not recipekit's file of LLM calls"):
        ReplyCache(file)


def test_a_file_that_is_not_a_database_is_refused_with_a_remedy(file):
    file.parent.mkdir()
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(
        StoreError,
        match=r"calls\.sqlite: is damaged \(file is not a database\); recover it .*or move it away",
    ) as caught:
        ReplyCache(file)
    assert caught.value.code == "RK512"


def test_a_damaged_page_is_reported(file):
    with ReplyCache(file) as cache:
        for i in range(200):
            cache.keep(request_number(i), answer(f"{math.sin(i)}" * 20))
    whole = bytearray(file.read_bytes())
    whole[4096:] = b"\xff" * (len(whole) - 4096)
    file.write_bytes(whole)
    with ReplyCache(file) as cache, pytest.raises(StoreError, match="is damaged"):
        cache.find(request_number(7).key)


def test_damaged_content_is_reported(file):
    with ReplyCache(file) as cache:
        cache.keep(request_number(1), answer())
        cache.execute("UPDATE replies SET request = X'70'")
        with pytest.raises(StoreError, match="is damaged"):
            list(cache.calls())


def test_a_full_disk_is_reported_and_earlier_replies_stay(file):
    """SQLite's limit on pages fails like a full disk."""
    with ReplyCache(file) as cache:
        cache.keep(request_number(1), answer())
        cache.fetch_one("PRAGMA max_page_count = 12")
        with pytest.raises(
            StoreError, match=r"no space left on the disk of .*calls\.sqlite"
        ) as caught:
            for i in range(2, 100):
                cache.keep(
                    request_number(i), answer("".join(chr(33 + (i * j) % 90) for j in range(2000)))
                )
        assert caught.value.code == "RK501"
        assert cache.find(request_number(1).key) is not None


def test_a_folder_in_place_of_the_file_is_reported(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder: cannot be written"):
        ReplyCache(tmp_path / "folder")


def namespaces_work() -> bool:
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(
            [*NAMESPACE, "mount -t tmpfs none /mnt"], capture_output=True, check=False
        ).returncode
        == 0
    )


@pytest.mark.skipif(
    not namespaces_work(),
    reason="mount namespaces, which this test needs for its disks, are not available",
)
@pytest.mark.parametrize(
    ("options", "prepare", "code"),
    [
        ("size=200k", "true", "RK501"),
        ("size=4k", "true", "RK501"),
        ("ro", "true", "RK502"),
        ("size=9m", "{run} 5 && mount -o remount,ro disk", "RK502"),
    ],
)
def test_disks_that_cannot_be_written_are_reported(tmp_path, options, prepare, code):
    """Full at once, full after a while, read-only without the file, read-only with it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "keep.py").write_text(
        KEEP.replace("sys.argv[1]", "'disk/calls.sqlite'")
        .replace("sys.argv[2]", "0")
        .replace("sys.argv[3]", "sys.argv[1]")
        + "\n"
    )
    wrapped = (
        "import runpy, sys\nfrom recipekit.errors import StoreError\n"
        "try:\n    runpy.run_path('keep.py')\n"
        "except StoreError as error:\n    sys.exit(f'{error.code} {error}')\n"
    )
    (tmp_path / "run.py").write_text(wrapped)
    run = f"{sys.executable} run.py"
    script = f"mount -t tmpfs -o {options} none disk && {prepare.format(run=run)} && {run} 100000"
    ended = subprocess.run(
        [*NAMESPACE, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.stderr.startswith(code), ended.stderr
    assert "disk/calls.sqlite" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ".tmp" not in ended.stderr
