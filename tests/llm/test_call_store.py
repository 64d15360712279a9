import json
import math
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from recipekit.errors import StoreError
from recipekit.llm.calls import Reply, Request, TokenChance, Usage
from recipekit.llm.store import CallStore

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def asking(number: int, *, words: int = 10, **sampling) -> Request:
    messages = (
        {"role": "system", "content": "You judge."},
        {"role": "user", "content": f"passage {number} " + "word " * words},
    )
    return Request("openai/gpt-5-nano", messages, {"max_tokens": 50, **sampling})


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


def test_what_was_paid_is_found_again(file):
    reply = answer(chances=(TokenChance("rel", -0.1), TokenChance("evant", -2.5)))
    with CallStore(file) as store:
        assert store.find(asking(1).key) is None
        store.keep(asking(1), reply)
    with CallStore(file) as store:
        found = store.find(asking(1).key)
        assert found == Reply(
            reply.text, reply.model, reply.usage, 0.0123, 0.5, reply.chances, from_cache=True
        )
        assert store.find(asking(2).key) is None
        assert store.find(asking(1, temperature=1.0).key) is None, (
            "another sampling is another question"
        )
        assert len(store) == 1


def test_the_first_of_two_replies_stays(file):
    with CallStore(file) as store:
        store.keep(asking(1), answer("first"))
        store.keep(asking(1), answer("second"))
        assert store.find(asking(1).key).text == "first"


@pytest.mark.parametrize(
    "text", ["", "\0 nul", "naïve 日本語 🙂", "half a surrogate \ud83d", "x" * 100_000]
)
def test_any_text_comes_back_as_it_was(file, text):
    request = Request("m", ({"role": "user", "content": text},), {"max_tokens": 1})
    with CallStore(file) as store:
        store.keep(
            request, answer(text, model=text, cost_usd=None, chances=(TokenChance(text, -1.0),))
        )
        found = store.find(request.key)
        assert (found.text, found.model, found.cost_usd, found.chances) == (
            text,
            text,
            None,
            (TokenChance(text, -1.0),),
        )
        assert next(store.calls()).request == request


def test_a_person_can_see_what_was_asked(file):
    before = time.time()
    with CallStore(file) as store:
        store.keep(asking(1, response_format={"type": "json_object"}), answer())
        store.keep(asking(2), answer())
        first, second = store.calls()
    assert first.request == asking(1, response_format={"type": "json_object"})
    assert first.request.key == asking(1, response_format={"type": "json_object"}).key
    assert (second.request, second.reply.text) == (asking(2), "relevant")
    assert before <= first.at <= second.at <= time.time()


def test_the_sqlite3_command_can_inflate_what_was_asked(file):
    """Its `sqlar_uncompress(asked, asked_bytes)` is zlib's inflate, given the length."""
    with CallStore(file) as store:
        store.keep(asking(1, words=500), answer())
    with closing(sqlite3.connect(file)) as connection:
        asked, size = connection.execute("SELECT asked, asked_bytes FROM replies").fetchone()
    inflated = zlib.decompress(asked)
    assert len(inflated) == size > 5 * len(asked)
    assert json.loads(inflated) == list(asking(1, words=500).messages)


@pytest.mark.parametrize("secret", ["api_key", "extra_headers"])
def test_credentials_are_never_written(file, secret):
    with CallStore(file) as store, pytest.raises(ValueError, match=secret):
        store.keep(asking(1, **{secret: "sk-123"}), answer())
    assert b"sk-123" not in file.read_bytes()


def test_together_is_all_or_nothing(file):
    with CallStore(file) as store:
        with pytest.raises(KeyError), store.together():
            store.keep(asking(1), answer())
            raise KeyError
        assert len(store) == 0
        with store.together():
            store.keep(asking(1), answer())
            store.keep(asking(2), answer())
        assert len(store) == 2


def test_without_a_file_nothing_is_kept():
    with CallStore(None) as store:
        store.keep(asking(1), answer())
        assert store.find(asking(1).key) is None


def test_threads_share_a_store(file):
    with CallStore(file) as store:
        threads = [
            threading.Thread(
                target=lambda t=t: [store.keep(asking(100 * t + i), answer()) for i in range(50)]
            )
            for t in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store) == 200


# Processes
# -----------------------------------------------------------------------------------------------------------

KEEPING = """
import sys
from pathlib import Path
from recipekit.llm.calls import Reply, Request, Usage
from recipekit.llm.store import CallStore

file, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with CallStore(file) as store:
    for i in range(first, last):
        request = Request("m", ({"role": "user", "content": f"passage {i} " * 50},), {"max_tokens": 50})
        store.keep(request, Reply(f"reply {i}", "m-1", Usage(10, 0, 5), 0.001, 0.1))
        print(i, flush=True)
"""


def keeping(file: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", KEEPING, str(file), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_start_at_once_share_a_file(file):
    """All of them find no file and make it; overlapping ranges, so that they also meet at the same
    keys.
    """
    processes = [keeping(file, 100 * i, 100 * i + 200) for i in range(4)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    with CallStore(file) as store:
        assert len(store) == 500
    assert sorted(path.name for path in file.parent.iterdir()) == ["calls.sqlite"], (
        "no temporary file, and the log is folded in"
    )


@pytest.mark.parametrize("moment", [0, 1, 17, 160])
def test_what_was_kept_outlives_a_kill(file, moment):
    process = keeping(file, 0, 10**6)
    for line in process.stdout:
        if int(line) == moment:
            process.kill()  # SIGKILL, wherever it is by now
            break
    rest, _ = process.communicate()
    last = (
        int(rest.split("\n")[-2]) if rest.count("\n") > 0 else moment
    )  # the last whole line that it still printed
    with CallStore(file) as store:
        assert len(store) >= last + 1
        texts = [call.reply.text for call in store.calls()]
        assert texts == [f"reply {i}" for i in range(len(texts))]
        store.keep(asking(1), answer())


# Refusals
# ------------------------------------------------------------------------------------------------------------


def test_a_newer_files_format_is_refused(file):
    CallStore(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(
        StoreError,
        match=r"calls\.sqlite: was written by a newer recipekit \(format 99, this one knows 1\)",
    ) as caught:
        CallStore(file)
    assert caught.value.code == "RK510"


@pytest.mark.parametrize("content", ["another program's", "empty"])
def test_another_programs_file_is_refused(file, content):
    file.parent.mkdir()
    if content == "empty":
        file.touch()
    else:
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()
    with pytest.raises(StoreError, match=r"calls\.sqlite: is no file of recipekit's calls"):
        CallStore(file)


def test_garbage_is_refused_with_what_to_do(file):
    file.parent.mkdir()
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(
        StoreError,
        match=r"calls\.sqlite: is damaged \(file is not a database\); recover it .*or move it away",
    ) as caught:
        CallStore(file)
    assert caught.value.code == "RK512"


def test_a_damaged_page_is_told(file):
    with CallStore(file) as store:
        for i in range(200):
            store.keep(asking(i), answer(f"{math.sin(i)}" * 20))
    whole = bytearray(file.read_bytes())
    whole[4096:] = b"\xff" * (len(whole) - 4096)
    file.write_bytes(whole)
    with CallStore(file) as store, pytest.raises(StoreError, match="is damaged"):
        store.find(asking(7).key)


def test_damaged_content_is_told(file):
    with CallStore(file) as store:
        store.keep(asking(1), answer())
        store.write("UPDATE replies SET asked = X'70'")
        with pytest.raises(StoreError, match="is damaged"):
            list(store.calls())


def test_a_full_file_is_told_and_what_was_paid_is_kept(file):
    """SQLite's own limit on pages refuses as a full disk does."""
    with CallStore(file) as store:
        store.keep(asking(1), answer())
        store.read("PRAGMA max_page_count = 12")
        with pytest.raises(
            StoreError, match=r"no space left on the disk of .*calls\.sqlite"
        ) as caught:
            for i in range(2, 100):
                store.keep(asking(i), answer("".join(chr(33 + (i * j) % 90) for j in range(2000))))
        assert caught.value.code == "RK501"
        assert store.find(asking(1).key) is not None


def test_a_path_that_cannot_be_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder: cannot be written"):
        CallStore(tmp_path / "folder")


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
    reason="this system gives no mount namespaces to test full and read-only disks in",
)
@pytest.mark.parametrize(
    ("options", "prepare", "told"),
    [
        ("size=200k", "true", "RK501"),
        ("size=4k", "true", "RK501"),
        ("ro", "true", "RK502"),
        ("size=9m", "{run} 5 && mount -o remount,ro disk", "RK502"),
    ],
)
def test_disks_that_cannot_be_written(tmp_path, options, prepare, told):
    """Real ones: full at once, full after a while, read-only without the file, read-only with it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "keep.py").write_text(
        KEEPING.replace("sys.argv[1]", "'disk/calls.sqlite'")
        .replace("sys.argv[2]", "0")
        .replace("sys.argv[3]", "sys.argv[1]")
        + "\n"
    )
    wrapped = (
        "import runpy, sys\nfrom recipekit.errors import StoreError\n"
        "try:\n    runpy.run_path('keep.py')\nexcept StoreError as error:\n    sys.exit(f'{error.code} {error}')\n"
    )
    (tmp_path / "run.py").write_text(wrapped)
    run = f"{sys.executable} run.py"
    script = f"mount -t tmpfs -o {options} none disk && {prepare.format(run=run)} && {run} 100000"
    ended = subprocess.run(
        [*NAMESPACE, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.stderr.startswith(told), ended.stderr
    assert "disk/calls.sqlite" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ".tmp" not in ended.stderr
