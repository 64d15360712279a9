"""Baselines on the Hub: upload, download, and every refusal in one line without the token."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recipekit import load_recipe
from recipekit.errors import StoreError
from recipekit.reproduce.bundle import FORMAT, INDEX, file_hashes, open_bundle
from recipekit.reproduce.hub import HubRepository, check_upload, download, hub_repository, upload
from recipekit.reproduce.lock import lock_recipe
from servers.hub_server import FakeHub, Refusal, hub_serving

TOKEN = "hf_writerOfTheTest"
HERE = HubRepository("acme/baseline", "model")
Cli = Callable[..., str]
# huggingface_hub sends large files in a way that its HTTP client is about to remove.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A Hub on loopback, and a token that may write to `acme`."""
    from huggingface_hub import constants

    tokens = {TOKEN: "acme", "hf_readOnlyOfTheTest": "acme", "hf_another": "other"}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_serving(tokens) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with the files of a bundle, as the Hub sees them."""
    return write(tmp_path / "written", {"data/own/pairs.jsonl": b"{}\n"})


def write(folder: Path, more: dict[str, bytes], *, name: str = "x") -> Path:
    parts = {"recipe.yaml": b"recipe: 1\n", "recipe.lock": b"lock: 1\n", "metrics.json": b"[]"}
    parts |= {"per_query/a.arrow": b"\0\1\2", "README.md": b"---\ntags: [x]\n---\n", **more}
    for file, content in parts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    index = {"bundle": FORMAT, "recipe": name, "left_out": {}, "files": file_hashes(folder)}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_an_uploaded_baseline_is_downloaded_with_the_same_content(
    hub: FakeHub, written: Path, tmp_path: Path, kind: str
) -> None:
    repository = HubRepository("acme/baseline", kind)
    commit = upload(written, repository)
    pinned = download(repository, tmp_path / "again")
    assert pinned == repository.at(commit) and str(pinned).endswith(f"acme/baseline@{commit}")
    assert file_hashes(tmp_path / "again") == file_hashes(written)
    assert open_bundle(tmp_path / "again", tmp_path).recipe == "x"
    assert hub.large, "the Arrow file went through Git LFS"


def test_a_revision_is_a_branch_when_uploading_and_is_read_when_downloading(
    hub: FakeHub, written: Path, tmp_path: Path
) -> None:
    first = upload(written, HERE.at("v1"))
    second = upload(write(tmp_path / "other", {"data/own/pairs.jsonl": b"[]\n"}), HERE.at("v1"))
    assert set(hub.files("acme/baseline")) == {".gitattributes"}, "main has nothing"
    for revision, content in ((first, b"{}\n"), (second, b"[]\n"), ("v1", b"[]\n")):
        download(HERE.at(revision), tmp_path / revision)
        assert (tmp_path / revision / "data/own/pairs.jsonl").read_bytes() == content


def test_an_uploaded_baseline_replaces_the_earlier_one_and_keeps_other_files(
    hub: FakeHub, written: Path, tmp_path: Path
) -> None:
    upload(written, HERE)
    main = hub.repositories["models", "acme/baseline"]
    main.commit("main", {**hub.files("acme/baseline"), "weights.bin": b"0", "LICENSE": b"MIT"})
    upload(write(tmp_path / "new", {"report.md": b"#"}), HERE)
    found = set(hub.files("acme/baseline"))
    assert "data/own/pairs.jsonl" not in found, "no data of the earlier baseline stays"
    assert found >= {"report.md", "weights.bin", "LICENSE"}
    download(HERE, tmp_path / "down")
    assert not (tmp_path / "down/weights.bin").exists()


def test_a_private_repository_is_made_and_hidden_from_others(
    hub: FakeHub, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(written, HERE, private=True)
    assert hub.repositories["models", "acme/baseline"].private
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    assert refused(lambda: download(HERE, tmp_path / "a")).endswith(
        "cannot be read: there is no such repository, or it is private and the token cannot read it"
    )
    monkeypatch.delenv("HF_TOKEN")
    assert "or it is private: log in with `hf auth login`, or set the variable HF_TOKEN" in refused(
        lambda: download(HERE, tmp_path / "b")
    )


def test_a_repository_with_other_content_is_not_overwritten(hub: FakeHub, written: Path) -> None:
    model = hub.make("acme/baseline")
    check_upload(HERE)  # a new repository has no content
    model.commit("main", {"model.safetensors": b"0", "README.md": b"a card"})
    for attempt in (lambda: check_upload(HERE), lambda: upload(written, HERE)):
        assert "has other files, such as model.safetensors, and is not a baseline" in refused(
            attempt, "RK535"
        )
    assert hub.files("acme/baseline")["README.md"] == b"a card"


def test_an_upload_without_a_token_ends_before_any_request(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert refused(lambda: check_upload(HERE)) == (
        "hf://acme/baseline: cannot be written, since an upload needs a token; log in with "
        "`hf auth login`, or set the variable HF_TOKEN"
    )
    assert hub.requests == []


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_unknown", "the Hub does not accept the token"),
        ("hf_readOnlyOfTheTest", "the token has no right to write"),
    ],
)
def test_a_token_that_cannot_write_is_named_before_any_work(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, token: str, message: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert message in refused(lambda: check_upload(HERE))


@pytest.mark.parametrize(
    ("path", "refusal", "message"),
    [
        ("/api/repos/create", Refusal(403), "has no write access to 'acme'"),
        ("/api/repos/create", Refusal(401), "the Hub does not accept the token"),
        ("/api/models/acme/baseline/commit/main", Refusal(409), "changed at the same time"),
        ("/api/models/acme/baseline/commit/main", Refusal(412), "changed at the same time"),
        ("/api/models/acme/baseline/commit/main", Refusal(400, "", "Bad file"), "Bad file"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    hub: FakeHub, written: Path, path: str, refusal: Refusal, message: str
) -> None:
    hub.refuse = lambda _, asked: refusal if asked == path else None
    text = refused(lambda: upload(written, HERE))
    assert text.startswith("hf://acme/baseline: cannot be written: ") and message in text


def test_a_download_names_a_missing_revision_and_what_is_not_a_baseline(
    hub: FakeHub, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(written, HERE)
    assert refused(lambda: download(HERE.at("v9"), tmp_path / "a")) == (
        "hf://acme/baseline@v9: cannot be read: it has no such revision"
    )
    hub.make("acme/model").commit("main", {"model.safetensors": b"0"})
    other = HubRepository("acme/model", "model")
    assert "there is no bundle.json in it" in refused(
        lambda: download(other, tmp_path / "b"), "RK530"
    )
    hub.make("else/gated", gated=True)
    gated = HubRepository("else/gated", "model")
    assert "access to it is restricted; request access on the page of else/gated" in refused(
        lambda: download(gated, tmp_path / "c")
    )
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "the Hub cannot be reached (ConnectError)" in refused(
        lambda: download(HERE, tmp_path / "d")
    )


def test_offline_mode_is_named(tmp_path: Path) -> None:
    assert refused(lambda: download(HERE, tmp_path)) == (
        "hf://acme/baseline: cannot be read: the variable HF_HUB_OFFLINE is set"
    )


def test_no_log_and_no_message_has_the_token(
    hub: FakeHub, written: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upload(written, HERE)
    download(HERE, tmp_path / "again")
    assert "/api/repos/create" in caplog.text and TOKEN not in caplog.text
    hub.refuse = lambda method, _: Refusal(400, "", f"bad {TOKEN}") if method == "POST" else None
    assert refused(lambda: upload(written, HERE)).endswith("cannot be written: bad ***")


def test_addresses_name_kind_and_revision() -> None:
    assert hub_repository("baseline.zip") is None
    assert hub_repository("hf://a/b") == HubRepository("a/b", "model")
    assert hub_repository("hf://datasets/a/b@v1") == HubRepository("a/b", "dataset", "v1")


def refused(attempt: Callable[[], object], code: str = "RK534") -> str:
    """The message of a refusal: one line, without the token."""
    with pytest.raises(StoreError) as error:
        attempt()
    text = error.value.message
    assert error.value.code == code
    assert "\n" not in text and TOKEN not in text
    return text


MOVED = """\
recipe: 1
name: moved
collect:
  sources:
    own: {use: hub, dataset: acme/texts, revision: COMMIT, layout: beir, qrels_dataset: acme/qrels}
evaluate:
  evaluators: {held_out: {use: retrieval}}
  untrained: false
  baselines: {bm25: {use: bm25}}
"""


def test_a_revision_that_moved_since_the_baseline_is_named_old_and_new(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    pinned = str(hub.make("acme/texts", "datasets").at("main"))
    labels = hub.make("acme/qrels", "datasets")  # the recipe has no revision of this one
    old = labels.at("main")
    Path("recipe.yaml").write_text(MOVED.replace("COMMIT", pinned))
    lock = lock_recipe(load_recipe("recipe.yaml"), device="cpu")
    assert lock.revisions == {"collect.sources.own": {"dataset": pinned, "qrels": old}}
    row = {"system": "bm25", "metric": "ndcg@10", "value": 0.5}
    files = {
        "recipe.yaml": Path("recipe.yaml").read_bytes(),
        "recipe.lock": lock.as_yaml().encode(),
        "metrics.json": json.dumps([{**row, "tolerance": 0.1, "tolerance_basis": "b"}]).encode(),
    }
    write(tmp_path / "out", files, name="moved")
    new = labels.commit("main", {"qrels/test.tsv": b"changed"})
    printed = cli("reproduce", "out", "--cpu", status=1)
    assert printed.endswith(
        "out: not the published baseline; --force runs it nevertheless [RK616]\n"
        f'  collect.sources.own.qrels: "{old}" → "{new}"\n'
    )
    assert not Path("reproduced-moved/runs").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_run_is_shared_on_the_hub_and_reproduced_from_its_commit(
    hub: FakeHub, folder: Path, cli: Cli
) -> None:
    printed = cli("share", "small", "hf://datasets/acme/small", "--private")
    commit = hub.repositories["datasets", "acme/small"].at("main")
    address = f"hf://datasets/acme/small@{commit}"
    assert f"to repeat it: recipekit reproduce {address}\n" in printed
    for name in ("runs", ".recipekit"):
        shutil.rmtree(name)
    printed += cli("reproduce", address, "--cpu")
    assert "1 of 1 figures are within tolerance" in printed
    files = [file for file in folder.rglob("*") if file.is_file()]
    uploaded = hub.files("acme/small", "datasets")
    assert b"\nrecipekit reproduce hf://datasets/acme/small\n" in uploaded["README.md"]
    assert TOKEN not in printed
    assert not any(TOKEN.encode() in content for content in uploaded.values())
    assert not any(TOKEN.encode() in file.read_bytes() for file in files)
