"""Fixtures that all tests share: a tiny encoder and a tiny data set."""

import atexit
import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tensors in tests are small: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Inductor's own processes import torch again, for a few small kernels.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
# Shipped recipes need these variables. Nothing listens at these addresses.
os.environ.setdefault("JUDGE_API_BASE", "http://127.0.0.1:9/v1")
os.environ.setdefault("ES_URL", "http://127.0.0.1:9")
os.environ.setdefault("ES_API_KEY", "not-a-key")
os.environ.setdefault("QDRANT_URL", "http://127.0.0.1:9")
os.environ.setdefault("QDRANT_API_KEY", "not-a-key")

# pytest-xdist sets it. Without it, tables have their full width in a pipe.
os.environ.pop("COLUMNS", None)

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from recipekit.dataset import Dataset
from recipekit.records import SPLITS
from recipekit.tables import LABELS, PASSAGES, QUERIES, write_table

pytest_plugins = ["servers.uncovered", "servers.elasticsearch_fixtures", "servers.qdrant_fixtures"]

WORDS = (
    "river mountain valley ocean forest desert engine piston valve turbine gear wheel violin piano "
    "drum flute opera choir enzyme protein gene cell virus tissue planet comet orbit star galaxy "
    "moon bread cheese butter honey pepper salt"
).split()


SERVER_FIXTURES = {
    "elasticsearch_node",
    "elasticsearch_url",
    "secured_elasticsearch",
    "qdrant_server",
    "start_qdrant",
}
"""Fixtures that start a server or connect to one."""


LONGEST_GROUPS = ("servers", "ranks", "finished_run", "test_judge_killed", "test_machines")
"""Groups of tests that take minutes. They start first, so that no process waits for one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use a server as `server`, and say which tests one process runs.

    With `-n 2`, a file's tests run in one process. So do tests that share what takes long to start:
    servers, the process that ranks fork from, and a finished run.
    """
    places = {}
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        group = item.path.stem
        if fixtures & SERVER_FIXTURES:
            item.add_marker(pytest.mark.server)
            group = "servers"
        elif item.path.stem.endswith("_ranks"):
            group = "ranks"
        elif item.path.parent.name == "end_to_end" and "finished" in fixtures:
            group = "finished_run"
        item.add_marker(pytest.mark.xdist_group(group))
        long = group in LONGEST_GROUPS
        places[item] = LONGEST_GROUPS.index(group) if long else len(LONGEST_GROUPS)
    items.sort(key=places.__getitem__)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what is imported here out of garbage collections, of which a full one takes 0.3 s."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # what is frozen at the end counts as leaked
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files instead of comparing"
    )


@pytest.fixture
def compare_with_golden(request: pytest.FixtureRequest) -> Callable[[str, Path], None]:
    """Compare a text with a golden file; `--update-golden` writes the file instead."""

    def compare(text: str, golden: Path) -> None:
        if request.config.getoption("--update-golden"):
            golden.write_text(text)
        assert text == golden.read_text()

    return compare


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits before a request is repeated last a quarter of a second at most."""
    from recipekit import retries

    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retries, "LONGEST_WAIT", 0.25)


@pytest.fixture
def in_process() -> Iterator[None]:
    """Run the stages of runs in this process: see `helpers.in_process`."""
    from helpers.in_process import stages_in_process

    with stages_in_process():
        yield


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that one test reads from the environment are not redacted in the next."""
    from recipekit.recipe import environment

    monkeypatch.setattr(environment, "_expanded", {})


@pytest.fixture(scope="session", autouse=True)
def _figures_are_not_laid_out() -> Iterator[Callable[..., str]]:
    """Figures are built, and matplotlib writes none of them; tests of drawings use `drawn_figures`.

    Their layout is half of the CPU time of a run of a tiny recipe.
    """
    from recipekit.report import svg

    draw = svg._svg
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(svg, "_svg", lambda drawing: '<svg viewBox="0 0 480 230"></svg>')
        yield draw


@pytest.fixture(scope="module")
def drawn_figures(_figures_are_not_laid_out: Callable[..., str]) -> Iterator[None]:
    """Figures are whole drawings from here to the end of a file of tests."""
    from recipekit.report import svg

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(svg, "_svg", _figures_are_not_laid_out)
        yield


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make two more distributions, kitchen and rival, appear installed."""
    from recipekit import registry

    folder = Path(__file__).parent / "installed"
    monkeypatch.syspath_prepend(folder)
    every = registry.distributions
    # Messages list installed components, so plugins of this machine do not count.
    monkeypatch.setattr(
        registry,
        "distributions",
        lambda: (found for found in every() if found.name in ("recipekit", "kitchen", "rival")),
    )
    registry._installed.cache_clear()
    yield folder
    registry._installed.cache_clear()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with a random two-layer BERT of 32 dimensions."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_model")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?()[]{}<>=+-*/_\"'"
    vocab = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    (folder / "vocab.txt").write_text("\n".join(vocab))
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=128).save_pretrained(
        folder / "bert"
    )
    transformer = Transformer(str(folder / "bert"), max_seq_length=64)
    model = SentenceTransformer(
        modules=[transformer, Pooling(32, "mean"), Normalize()], device="cpu"
    )
    model.save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="session")
def tiny_cross_encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CrossEncoder folder: a small BERT that recognizes passages on food."""
    from helpers.tiny_cross_encoder import train_tiny_cross_encoder

    return train_tiny_cross_encoder(tiny_model, tmp_path_factory.mktemp("tiny_cross_encoder"))


@pytest.fixture(scope="session")
def words() -> list[str]:
    """The words in the vocabulary of the tiny model."""
    return WORDS


def write_dataset(
    folder: Path,
    queries: Sequence[tuple[str, str, str]],
    passages: Sequence[tuple[str, str]],
    labels: Mapping[tuple[int, int], float],
) -> Dataset:
    """Write a collected data set.

    Queries are (id, text, split), passages (id, text), and labels {(query, passage): grade}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids, texts, splits = zip(*queries, strict=True)
    write_table(
        folder / "queries.arrow",
        QUERIES,
        [
            pa.table(
                [ids, texts, [SPLITS.index(split) for split in splits], ["test"] * len(ids)],
                schema=QUERIES,
            )
        ],
    )
    ids, texts = zip(*passages, strict=True)
    write_table(
        folder / "passages.arrow",
        PASSAGES,
        [pa.table([ids, [""] * len(ids), texts, ["test"] * len(ids)], schema=PASSAGES)],
    )
    pairs = sorted(labels)
    columns = [[q for q, _ in pairs], [p for _, p in pairs], [labels[pair] for pair in pairs]]
    write_table(folder / "labels.arrow", LABELS, [pa.table(columns, schema=LABELS)])
    return Dataset(folder, "test-dataset")


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Dataset]:
    """`make_dataset(queries, passages, labels, folder="dataset")`: see `write_dataset`."""

    def make(*args: object, folder: str = "dataset") -> Dataset:
        return write_dataset(tmp_path / folder, *args)  # type: ignore[arg-type]

    return make


@pytest.fixture
def tiny_dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    """24 queries (12 train, 6 dev, 6 test) and 36 passages.

    A passage has four words. A query has the first two words of its only positive.
    """
    passages = [
        (f"p{i}", " ".join(WORDS[(i + j * 7) % len(WORDS)] for j in range(4))) for i in range(36)
    ]
    queries = [
        (
            f"q{i}",
            " ".join(passages[i][1].split()[:2]),
            "train" if i < 12 else "dev" if i < 18 else "test",
        )
        for i in range(24)
    ]
    return make_dataset(queries, passages, {(i, i): 1.0 for i in range(24)})
