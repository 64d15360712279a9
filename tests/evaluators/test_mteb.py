"""mteb with local data, without a network."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recipekit.component import Hits, QueryBatch, System
from recipekit.dataset import Dataset
from recipekit.errors import ComponentError, DataError, RunError
from recipekit.evaluators.mteb import MtebSpec
from recipekit.evaluators.mteb_rows import MainScore, mteb_rows
from recipekit.evaluators.mteb_tasks import named_tasks
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.search.topk import exact_top_k
from recipekit.testing import RecordingProgress, context

pytestmark = pytest.mark.slow

Rows = Sequence[Mapping[str, Any]]


class Words:
    """Embeds a text as a fixed random vector per word, counts the texts, and keeps the prompts."""

    def __init__(self) -> None:
        self.texts = 0
        self.prompts: set[tuple[str, str | None]] = set()

    def __call__(self, texts: Sequence[str], side: str, prompt: str | None = None) -> Any:
        self.texts += len(texts)
        self.prompts.add((side, prompt))
        vectors = [sum(map(self._word, text.split()), np.zeros(16)) for text in texts]
        matrix = np.array(vectors, dtype=np.float32)
        return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)

    @staticmethod
    def _word(word: str) -> Any:
        return np.random.default_rng(sum(map(ord, word))).normal(size=16)


def system(embed: Words, name: str = "trained", key: str = "weights") -> System:
    return System(name, lambda: None, lambda: None, "cosine", embed, key)  # type: ignore[arg-type, return-value]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Rows], str]:
    def written(name: str, rows: Rows) -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return written


def measured(spec: MtebSpec, folder: Path, *systems: System, **fields: Any) -> dict[str, float]:
    made = context(folder / "scratch", **fields)
    rows = spec.build(made).evaluate(systems)
    return {row["metric"]: row["value"] for row in rows}


def test_retrieval_through_mteb_equals_our_retrieval(tiny_dataset: Dataset, tmp_path: Path):
    embed = Words()

    class Exact:
        def search(self, queries: QueryBatch, depth: int) -> Hits:
            passages = list(tiny_dataset.passages.texts(range(len(tiny_dataset.passages))))
            vectors = embed(list(queries.texts), "query"), embed(passages, "passage")
            return exact_top_k(*vectors, depth, similarity="cosine")

    (tmp_path / "own").mkdir()
    made = context(tmp_path / "own", dataset=tiny_dataset)
    ours = RetrievalSpec(metrics=("ndcg@10",), bootstrap_samples=100, exclude_own_text=False)
    expected = ours.build(made).evaluate([System("trained", Exact)])[0]["value"]  # type: ignore[arg-type]
    spec = MtebSpec(retrieval={"tiny": {"split": "test"}})

    found = measured(spec, tmp_path, system(embed), dataset=tiny_dataset)

    assert found == pytest.approx({"tiny ndcg_at_10": expected}, abs=1e-4)
    assert 0 < expected < 1


def test_differences_of_retrieval_are_tested_and_those_of_sts_are_not(
    tiny_dataset: Dataset, write: Callable[[str, Rows], str], tmp_path: Path
):
    class Noise(Words):
        def __call__(self, texts: Sequence[str], side: str, prompt: str | None = None) -> Any:
            return super().__call__([f"{side} {len(text)}" for text in texts], side)

    scored = [{"sentence1": "river", "sentence2": word, "score": n}
              for n, word in enumerate(("violin", "gear", "river"))]  # fmt: skip
    spec = MtebSpec(
        retrieval={"tiny": {"split": "test"}},
        sts={"similar": {"file": write("sts.jsonl", scored)}},
        bootstrap_samples=200,
    )
    embed = Words()
    systems = [system(Noise(), "untrained", "noise"), system(embed)]

    def rows(folder: str) -> dict[tuple[str, str], Mapping[str, Any]]:
        made = context(tmp_path / folder, dataset=tiny_dataset, library_cache=tmp_path / "cache")
        found = spec.build(made).evaluate(systems)
        return {(row["system"], row["metric"]): row for row in found}

    found = rows("first")
    trained = found["trained", "tiny ndcg_at_10"]
    file = tmp_path / "first" / "results" / "trained" / "tiny.per_query.json"
    (entry,) = json.loads(file.read_text())
    assert np.mean(list(entry["values"].values())) == pytest.approx(trained["value"], abs=1e-4)
    assert trained["low"] <= trained["value"] <= trained["high"]
    test = trained["differences"]["untrained"]
    assert test["difference"] == pytest.approx(
        trained["value"] - found["untrained", "tiny ndcg_at_10"]["value"]
    )
    assert test["low"] <= test["difference"] <= test["high"]
    assert test["p_adjusted"] < 0.05
    for metric in ("mean", "similar cosine_spearman"):
        assert found["trained", metric]["low"] is None
        assert "differences" not in found["trained", metric]

    texts = embed.texts
    assert rows("second") == found
    assert embed.texts == texts
    for kept in (tmp_path / "cache").rglob("*.per_query.json"):
        kept.unlink()
    assert rows("third") == found, "results without values of queries are computed again"


def test_queries_are_resampled_within_their_subset():
    def entries(*scores: float) -> list[MainScore]:
        parts = {"test en": (1.0, 0.0), "test de": scores}
        return [
            MainScore(label, float(np.mean(values)), {str(n): v for n, v in enumerate(values)})
            for label, values in parts.items()
        ]

    spec = MtebSpec(retrieval={"any": {}}, bootstrap_samples=500)
    scores = {
        "a": {"task": entries(0.0, 0.5), "other": [MainScore("test", 0.5)]},
        "b": {"task": entries(0.5, 1.0), "other": [MainScore("test", 0.7)]},
    }
    rows = {(row["system"], row["metric"]): row for row in mteb_rows(spec, scores, 13)}
    assert [metric for system, metric in rows if system == "b"] == [
        "mean",
        "task",
        "task test en",
        "task test de",
        "other",
    ]
    assert rows["b", "task"]["value"] == pytest.approx(0.625)
    tests = {metric: row["differences"]["a"] for (_, metric), row in rows.items()
             if "differences" in row}  # fmt: skip
    assert set(tests) == {"task", "task test en", "task test de"}
    assert tests["task"]["difference"] == pytest.approx(0.25)
    assert tests["task"]["low"] == tests["task"]["high"] == pytest.approx(0.25)
    assert tests["task test en"]["difference"] == 0.0


def test_every_type_of_local_data_is_a_task(
    tiny_dataset: Dataset, write: Callable[[str, Rows], str], tmp_path: Path
):
    near = [("river valley", "river ocean"), ("gear wheel", "gear piston"), ("violin", "drum")]
    scored = [{"sentence1": a, "sentence2": b, "score": n} for n, (a, b) in enumerate(near)]
    labelled = [{"sentence1": a, "sentence2": b, "label": n % 2} for n, (a, b) in enumerate(near)]
    parallel = [{"english": a, "german": a} for a, _ in near]
    split = ("train", "test")
    classes = [
        {"split": split[n % 2], "text": f"{word} number {n}", "label": word}
        for n in range(16)
        for word in ("river", "violin")
    ]
    ranked = [{"query": "river", "positive": ["river valley"], "negative": ["drum", "gear"]}]
    file = write("classes.jsonl", classes)
    spec = MtebSpec(
        sts={"similar": {"file": write("sts.jsonl", scored)}},
        pair_classification={"same": {"file": write("pairs.jsonl", labelled)}},
        bitext_mining={
            "translated": {
                "file": write("parallel.jsonl", parallel),
                "languages": {"en": "english", "de": "german"},
            }
        },
        classification={"topic": {"file": file, "where": {"split": "test"}}},
        clustering={"groups": {"file": file}},
        reranking={"answers": {"file": write("ranked.jsonl", ranked)}},
    )

    found = measured(spec, tmp_path, system(Words()), dataset=tiny_dataset)

    assert set(found) == {
        "mean",
        "similar cosine_spearman",
        "same max_ap",
        "translated f1",
        "topic accuracy",
        "groups v_measure",
        "answers map_at_1000",
    }
    assert found["translated f1"] == 1.0
    assert found["topic accuracy"] == 1.0
    assert found["answers map_at_1000"] == 1.0
    kept = tmp_path / "scratch" / "results" / "trained" / "similar.json"
    assert json.loads(kept.read_text())["task_name"] == "similar"


def test_results_are_cached_by_weights_and_content(
    write: Callable[[str, Rows], str], tmp_path: Path
):
    def rows(last: int) -> Rows:
        texts = [("river", "ocean", 1), ("river", "drum", 0), ("gear", "gear wheel", last)]
        return [{"sentence1": a, "sentence2": b, "score": score} for a, b, score in texts]

    spec = MtebSpec(sts={"similar": {"file": write("sts.jsonl", rows(5))}})
    embed = Words()
    once = partial(measured, library_cache=tmp_path / "cache")

    first = once(spec, tmp_path / "a", system(embed))
    texts = embed.texts
    assert once(spec, tmp_path / "b", system(embed, "untrained")) == first
    assert embed.texts == texts, "the same weights are not measured again"
    assert (tmp_path / "b" / "scratch" / "results" / "untrained" / "similar.json").is_file()
    once(spec, tmp_path / "c", system(embed, key="other weights"))
    assert embed.texts > texts
    texts = embed.texts
    write("sts.jsonl", rows(-1))
    assert once(spec, tmp_path / "d", system(embed)) != first
    assert embed.texts > texts


class Prompted:
    """An encoder with prompts for types of tasks."""

    named_prompts = {"query": "find: ", "STS": "same: ", "Clustering": "about: "}  # noqa: RUF012

    def prompted(self, side: str, prompt: str) -> Any:
        raise NotImplementedError


def test_prompts_of_the_recipe_come_before_those_of_the_models_files(
    tiny_dataset: Dataset, write: Callable[[str, Rows], str], tmp_path: Path
):
    progress = RecordingProgress()
    scored = [{"sentence1": "river", "sentence2": word, "score": n}
              for n, word in enumerate(("violin", "gear", "river"))]  # fmt: skip
    spec = MtebSpec(
        retrieval={"tiny": {"split": "test"}}, sts={"similar": {"file": write("sts.jsonl", scored)}}
    )

    def prompts(**own: str) -> set[tuple[str, str | None]]:
        embed, folder = Words(), tmp_path / "-".join(["prompts", *own])
        cache = tmp_path / "cache"
        made = context(folder, dataset=tiny_dataset, library_cache=cache, progress=progress)
        tested = System("trained", lambda: None, Prompted, "cosine", embed, "weights")  # type: ignore[arg-type, return-value]
        spec.model_copy(update={"prompts": own}).build(made).evaluate([tested])
        return embed.prompts

    of_sides = {("query", None), ("passage", None)}
    assert prompts() == {*of_sides, ("query", "same: ")}
    own = {"STS": "alike: ", "tiny-query": "ask: "}
    assert prompts(**own) == {("passage", None), ("query", "alike: "), ("query", "ask: ")}
    assert prompts(similar="", Retrieval="any: ") == {
        ("query", ""),
        ("query", "any: "),
        ("passage", "any: "),
    }
    assert not progress.warnings
    prompts(**{"SICK-R": "alike: ", "STS-query": "same: "})
    assert progress.warnings == [
        "mteb: no task that is evaluated has the name or type of the prompts for SICK-R"
    ]


def test_the_encoder_is_not_loaded_for_its_prompts_of_queries_and_documents(
    tiny_dataset: Dataset, tmp_path: Path
):
    def load() -> Any:
        raise AssertionError("the encoder is not needed")

    spec = MtebSpec(retrieval={"tiny": {"split": "test"}})
    tested = System("trained", lambda: None, load, "cosine", Words(), "weights")  # type: ignore[arg-type, return-value]
    assert measured(spec, tmp_path, tested, dataset=tiny_dataset)


def test_prompts_of_an_unknown_task_are_refused(write: Callable[[str, Rows], str]):
    own = {"similar": {"file": write("sts.jsonl", [])}}
    MtebSpec(sts=own, prompts={"similar": "a", "STS": "b", "NFCorpus-query": "c"})
    with pytest.raises(ValidationError, match="the encoder has `query_prompt` for all"):
        MtebSpec(sts=own, prompts={"query": "a"})
    with pytest.raises(ValidationError, match=r"'Clusterin'. Did you mean 'Clustering'\?"):
        MtebSpec(sts=own, prompts={"Clusterin-document": "a"})


def test_an_unknown_task_and_benchmark_suggest_near_misses():
    with pytest.raises(ValidationError, match=r"no task 'NFCorpuss'. Did you mean 'NFCorpus'\?"):
        MtebSpec(tasks=("NFCorpuss",))
    with pytest.raises(
        ValidationError, match=r'a benchmark: write it as `benchmark: "MTEB\(eng, v2'
    ):
        MtebSpec(tasks=("MTEB(eng, v2)",))
    with pytest.raises(ValidationError, match=r"no benchmark 'MTEB\(eng, v3\)'. Did you mean"):
        MtebSpec(benchmark="MTEB(eng, v3)")
    with pytest.raises(ValidationError, match=r"no type 'Retreival'. Did you mean 'Retrieval'"):
        MtebSpec(tasks=("NFCorpus",), task_types=("Retreival",))


def test_every_task_type_and_benchmark_of_mteb_is_found_in_its_files():
    import mteb

    tasks = mteb.get_tasks(exclude_superseded=False)
    names = tuple(task.metadata.name for task in tasks)
    types = tuple({task.metadata.type for task in tasks})
    MtebSpec(tasks=names, task_types=types)
    for benchmark in mteb.get_benchmarks():
        MtebSpec(benchmark=benchmark.name)


def test_names_are_checked_without_importing_mteb():
    program = (
        "import sys; from recipekit.evaluators.mteb import MtebSpec; "
        "MtebSpec(tasks=('NFCorpus', 'CQADupstackRetrieval'), benchmark='MTEB(eng, v2)'); "
        "print(*{'mteb', 'torch', 'numpy', 'pyarrow'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.stdout.strip(), ended.stderr) == ("", "")


def test_a_selection_that_leaves_no_task_ends_a_run_before_it_starts():
    spec = MtebSpec(tasks=("NFCorpus",), task_types=("STS",))
    with pytest.raises(ComponentError, match="no task has these languages and task_types"):
        spec.reach()
    assert set(MtebSpec(tasks=("NFCorpus",)).fingerprint()["tasks"]) == {"NFCorpus"}


def test_a_benchmark_is_run_with_its_own_languages_and_splits():
    spec = MtebSpec(benchmark="MTEB(eng, v2)", task_types=("Classification", "STS"))
    tasks = {task.metadata.name: task for task in named_tasks(spec)}

    assert tasks["MassiveIntentClassification"].hf_subsets == ["en"]
    assert tasks["MassiveIntentClassification"].eval_splits == ["test"]
    assert tasks["STS17"].hf_subsets == ["en-en"]


def test_a_benchmark_is_restricted_to_languages():
    spec = MtebSpec(benchmark="MTEB(Multilingual, v2)", task_types=("STS",), languages=("deu",))
    subsets = {task.metadata.name: task.hf_subsets for task in named_tasks(spec)}

    assert subsets["GermanSTSBenchmark"] == ["default"]
    assert subsets["STS17"] == ["en-de"]
    assert "STSES" not in subsets


def test_languages_and_types_alone_select_from_all_tasks():
    spec = MtebSpec(languages=("deu",), task_types=("STS",))
    names = {task.metadata.name for task in named_tasks(spec)}

    assert {"GermanSTSBenchmark", "STS22.v2"} <= names
    assert "STS12" not in names


def test_a_named_task_without_the_language_or_with_images_is_refused():
    spec = MtebSpec(tasks=("NFCorpus", "STS17"), languages=("deu",))
    with pytest.raises(ComponentError, match="NFCorpus has none of the languages deu"):
        spec.reach()
    spec = MtebSpec(benchmark="MIEB(lite)")
    with pytest.raises(ComponentError, match="encoders embed only text, and these tasks need"):
        spec.reach()


@pytest.mark.parametrize(("code", "right"), [("german", "deu"), ("de", "deu"), ("DE-Latn", "deu")])
def test_an_unknown_language_suggests_its_code(code: str, right: str):
    with pytest.raises(ValidationError, match=f"no language '{code}'. Did you mean '{right}'"):
        MtebSpec(tasks=("STS17",), languages=(code,))


def test_other_languages_of_a_task_are_another_result(tmp_path: Path):
    made = MtebSpec(tasks=("STS17",)).build(context(tmp_path))
    german, english = (
        named_tasks(MtebSpec(tasks=("STS17",), languages=(code,)))[0] for code in ("deu", "eng")
    )
    assert made._cache(german).cache_path != made._cache(english).cache_path


def test_mistakes_in_local_data_are_found_before_anything_is_trained(
    make_dataset: Callable[..., Dataset], write: Callable[[str, Rows], str]
):
    dataset = make_dataset([("q", "river", "train")], [("p", "river")], {(0, 0): 1.0})
    rows = [{"split": "test", "text": word, "label": word} for word in ("river", "drum")]
    keys = {"file": write("classes.jsonl", rows), "where": {"split": "test"}}
    with pytest.raises(DataError, match="no row with split: train"):
        MtebSpec(classification={"topic": keys}).check(dataset)
    with pytest.raises(DataError, match="split 'test' has no query with a positive"):
        MtebSpec(retrieval={"own": {}}).check(dataset)


def test_a_failure_on_local_data_does_not_blame_the_network(
    write: Callable[[str, Rows], str], tmp_path: Path
):
    def broken(texts: Sequence[str], side: str, prompt: str | None = None) -> Any:
        raise ValueError("broken")

    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (0, 1)]
    spec = MtebSpec(sts={"similar": {"file": write("sts.jsonl", rows)}})
    with pytest.raises(RunError, match=r"'similar' cannot be run: ValueError: broken$"):
        measured(spec, tmp_path, system(broken))  # type: ignore[arg-type]


def test_source_needs_retrieval():
    with pytest.raises(ValidationError, match="source: only retrieval reads it"):
        MtebSpec(tasks=("NFCorpus",), source="general")


def test_without_a_network_a_run_ends_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    spec = MtebSpec(tasks=("NFCorpus", "CQADupstackRetrieval"))
    with pytest.raises(RunError, match=r"the data of NFCorpus and 12 other tasks .*reached"):
        spec.reach()

    (tmp_path / "datasets--mteb--nfcorpus" / "snapshots").mkdir(parents=True)
    MtebSpec(tasks=("NFCorpus",)).reach()


def test_a_task_of_the_hub_without_a_network_is_one_clear_line(tmp_path: Path):
    with pytest.raises(RunError, match=r"mteb task 'NFCorpus' cannot be run: .*without a network"):
        measured(MtebSpec(tasks=("NFCorpus",)), tmp_path, system(Words()))
