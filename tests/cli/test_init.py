"""`recipekit init`: a recipe that validates and runs on the data that it is given."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recipekit.cli.main import invoke
from recipekit.phases.coordinate_ascent import CoordinateAscentSpec
from recipekit.phases.in_batch import InBatchSpec
from recipekit.stages.recipe import load_recipe

ROWS = [
    {"question": f"how do I {verb} the {noun}", "answer": f"Open {noun}, then press {verb} now."}
    for verb in ("reset", "delete", "create", "rename", "export", "import")
    for noun in ("password", "account", "invoice", "project", "report", "team")
]


def write_delimited(file: Path, delimiter: str, **options: Any) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["question", "answer"], delimiter=delimiter, **options)
        writer.writeheader()
        writer.writerows(ROWS)


def write_beir(folder: Path, *splits: str) -> None:
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as corpus, (folder / "queries.jsonl").open("w") as q:
        for number, row in enumerate(ROWS):
            corpus.write(json.dumps({"_id": f"p{number}", "text": row["answer"]}) + "\n")
            q.write(json.dumps({"_id": f"q{number}", "text": row["question"]}) + "\n")
    for start, split in enumerate(splits):
        lines = [f"q{n}\tp{n}\t1\n" for n in range(start, len(ROWS), len(splits))]
        (folder / "qrels" / f"{split}.tsv").write_text(
            "query-id\tcorpus-id\tscore\n" + "".join(lines)
        )


def write_code(folder: Path) -> None:
    folder.mkdir()
    functions = [
        f'def {verb}_it_{n}(values):\n    """Return the {verb} of all values in {n} steps."""\n'
        f"    total = {n}\n    for value in values:\n        total += value * {n}\n"
        "    return total\n"
        for n in range(5)
        for verb in ("sum", "mean", "product", "median", "spread")
    ]
    (folder / "code.py").write_text("\n\n".join(functions))


WRITERS: dict[str, Callable[[Path], object]] = {
    "faq.csv": lambda file: write_delimited(file, ","),
    "semicolon.csv": lambda file: write_delimited(file, ";"),
    "tab.csv": lambda file: write_delimited(file, "\t"),
    "faq.tsv": lambda file: write_delimited(file, "\t"),
    "quoted.tsv": lambda file: write_delimited(file, "\t", quoting=csv.QUOTE_ALL),
    "excel.csv": lambda file: file.write_text(
        "sep=;\nquestion;answer\n" + "".join(f"{r['question']};{r['answer']}\n" for r in ROWS)
    ),
    "faq.json": lambda file: file.write_text(json.dumps(ROWS)),
    "faq.jsonl": lambda file: file.write_text("".join(json.dumps(row) + "\n" for row in ROWS)),
    "faq.jsonl.gz": lambda file: file.write_bytes(
        gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    ),
    "faq.parquet": lambda file: pq.write_table(pa.Table.from_pylist(ROWS), file),
    "beir": lambda folder: write_beir(folder, "train", "dev", "test"),
    "beir-train-test": lambda folder: write_beir(folder, "train", "test"),
    "beir-test": lambda folder: write_beir(folder, "test"),
    "beir-dev-test": lambda folder: write_beir(folder, "dev", "test"),
    "beir-other": lambda folder: write_beir(folder, "all-of-it"),
    "code": write_code,
}


def softmaxes(recipe: Any) -> list[str]:
    """The passages of each softmax of a recipe's phases."""
    phases = [slot.spec for slot in recipe.train.phases.values()]
    return [phase.passages for phase in phases if isinstance(phase, CoordinateAscentSpec)]


def schedule(recipe: Any) -> list[tuple[int, int, int | None]]:
    """After an in-batch epoch, each phase's epochs of queries and passages, and its blocks."""
    phases = [slot.spec for slot in recipe.train.phases.values()]
    warm, passages, queries = phases
    assert isinstance(warm, InBatchSpec) and warm.epochs == 1
    assert not passages.separate_towers and queries.separate_towers
    return [(one.query_epochs, one.passage_epochs, one.passage_batch_size) for one in phases[1:]]


@pytest.mark.parametrize("name", list(WRITERS))
def test_init_writes_a_valid_recipe_for_every_kind_of_data(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file = tmp_path / "data: of mine" / name, tmp_path / "my first" / "recipe.yaml"
    data.parent.mkdir()
    WRITERS[name](data)
    assert invoke(["init", str(file), "--data", str(data)]) == 0
    assert capsys.readouterr().err == ""
    recipe: Any = load_recipe(file)
    assert recipe.name == "my-first"
    [slot] = recipe.collect.sources.values()
    expected = "python_code" if name == "code" else "beir" if "beir" in name else "pairs"
    assert slot.use == expected
    if expected == "pairs":
        assert (slot.spec.query, slot.spec.positive) == ("question", "answer")
        assert slot.spec.file == data
    assert max(map(len, file.read_text().splitlines())) <= 100
    assert softmaxes(recipe) == ["positives", "positives"]
    assert schedule(recipe) == [(0, 1, None), (1, 0, None)]


@pytest.mark.parametrize(
    ("name", "dev"), [("beir", None), ("beir-train-test", 0.1), ("beir-dev-test", 0.1)]
)
def test_data_without_dev_queries_takes_some_from_train(
    name: str, dev: float | None, tmp_path: Path
) -> None:
    WRITERS[name](tmp_path / "data")
    assert invoke(["init", str(tmp_path / "r.yaml"), "--data", str(tmp_path / "data")]) == 0
    recipe: Any = load_recipe(tmp_path / "r.yaml")
    assert recipe.collect.split.dev == dev
    assert recipe.evaluate.evaluators["held_out"].spec.split == "test"


@pytest.mark.parametrize(
    ("splits", "dev"),
    [(["train", "test"], 0.1), (["train", "validation", "test"], None), (["train", "val"], None)],
)
def test_a_split_column_without_dev_takes_some_from_train(
    splits: list[str], dev: float | None, tmp_path: Path
) -> None:
    rows = [{**row, "split": splits[n % len(splits)]} for n, row in enumerate(ROWS)]
    (tmp_path / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "r.yaml"
    assert invoke(["init", str(file), "--data", str(tmp_path / "faq.jsonl")]) == 0
    recipe: Any = load_recipe(file)
    assert recipe.collect.split.dev == dev


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", ["beir-dev-test", "code"])
def test_what_init_writes_runs_as_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    WRITERS[name](tmp_path / name)
    assert invoke(["init", "--data", name]) == 0
    assert invoke(["run", "recipe.yaml", "--cpu"]) == 0
    [metrics] = tmp_path.glob("runs/*/latest/metrics.json")
    assert "held_out" in metrics.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", ["semicolon.csv", "faq.parquet"])
def test_what_init_writes_for_a_table_collects_its_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    WRITERS[name](tmp_path / name)
    assert invoke(["init", "--data", name]) == 0
    assert invoke(["run", "recipe.yaml", "--until", "collect"]) == 0
    [collected] = tmp_path.glob("runs/*/latest/stages/collect/manifest.json")
    assert json.loads(collected.read_text())["summary"]["passages"] == len(ROWS)


@pytest.mark.slow
def test_init_without_data_reads_the_standard_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["init", str(tmp_path / "1st.yaml")]) == 0
    assert "python_code from the standard library" in capsys.readouterr().out
    assert invoke(["validate", str(tmp_path / "1st.yaml")]) == 0
    assert load_recipe(tmp_path / "1st.yaml").name == "recipe-1st"


def test_init_overwrites_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_delimited(tmp_path / "faq.csv", ",")
    file = tmp_path / "recipe.yaml"
    file.write_text("mine\n")
    command = ["init", str(file), "--data", str(tmp_path / "faq.csv")]
    assert invoke(command) == 2
    assert "already exists; --force replaces it" in capsys.readouterr().err
    assert file.read_text() == "mine\n"
    assert invoke([*command, "--force"]) == 0
    assert load_recipe(file)


@pytest.mark.parametrize("options", [[], ["--force"]])
@pytest.mark.parametrize("name", ["faq.csv", "faq.jsonl.gz", "faq.parquet", "beir", "code"])
def test_init_writes_no_recipe_over_data(
    name: str,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    WRITERS[name](Path(name))
    before = {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}
    assert invoke(["init", name, *options]) == 2
    assert capsys.readouterr().err == f"{name} is data: recipekit init --data {name} [RK508]\n"
    assert before == {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}


def test_a_folder_with_a_table_is_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    WRITERS["faq.csv"](Path("data/faq.csv"))
    assert invoke(["init", "data"]) == 2
    assert "data is data: recipekit init --data data/faq.csv" in capsys.readouterr().err


def test_force_replaces_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_delimited(tmp_path / "faq.csv", ",")
    (tmp_path / "notes.txt").write_text("mine\n")
    command = ["init", str(tmp_path / "notes.txt"), "--data", str(tmp_path / "faq.csv")]
    assert invoke([*command, "--force"]) == 2
    assert "notes.txt: already exists; name a .yaml file [RK503]" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "none.csv: no such file or folder"),
        ("empty.csv", "", "empty.csv: no rows"),
        ("header.csv", "question,answer\n", "header.csv: no rows"),
        ("blank.csv", "question,answer\na b,\nc d,\n", "cannot tell which column holds"),
        ("one.csv", "question,answer\na b,c d\n", "too few queries (1)"),
        ("faq.txt", "a b,c d\n", "faq.txt: not a table that recipekit reads"),
        ("faq.xlsx", "PK", "faq.xlsx: not a table that recipekit reads"),
        ("faq.csv", "question,answer\na,b,c\n", "faq.csv:2: 3 fields, but the header has 2"),
        ("faq.jsonl", "{]\n", "faq.jsonl:1:2: invalid JSON"),
        ("faq.parquet", "no", "faq.parquet: not a Parquet file"),
        ("faq.csv.gz", "no", "faq.csv.gz: no rows"),
    ],
)
def test_data_that_cannot_be_read_is_one_line_and_nothing_is_written(
    name: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_text(content)
    assert invoke(["init", "--data", name]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not Path("recipe.yaml").exists()


def test_a_folder_that_no_source_reads_names_the_file_to_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "faq.csv").write_text("question,answer\n")
    assert invoke(["init", str(tmp_path / "r.yaml"), "--data", str(tmp_path / "data")]) == 1
    assert f"to use one of its files: --data {tmp_path}/data/faq.csv" in capsys.readouterr().err


def test_columns_that_cannot_be_guessed_are_named_with_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("a,b,c\nsome words,more words,other words\n")
    command = ["init", "--data", "x.csv"]
    assert invoke(command) == 1
    assert capsys.readouterr().err == (
        "x.csv: cannot tell which column holds the queries and which the passages that answer "
        "them; columns: a, b, c; use --query COLUMN and --positive COLUMN [RK305]\n"
    )
    assert invoke([*command, "--query", "a"]) == 1
    assert capsys.readouterr().err == (
        "x.csv: cannot tell which column holds the passages that answer them; columns: a, b, c; "
        "use --positive COLUMN [RK305]\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "nope"], "Invalid value for '--source': 'nope' is not a source"),
        (["--source", "pair"], "Did you mean 'pairs'?"),
        (["--source", "pairs"], "--source pairs needs --data"),
        (["--source", "beir"], "--source beir needs --data"),
        (["--api-base", "http://localhost:1"], "needs --llm"),
    ],
)
def test_options_that_contradict_each_other_are_usage_errors(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["init", str(tmp_path / "r.yaml"), *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Value error" not in err
    assert not (tmp_path / "r.yaml").exists()


def test_the_wrong_kind_of_source_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_delimited(tmp_path / "faq.csv", ",")
    command = ["init", str(tmp_path / "r.yaml"), "--data", str(tmp_path / "faq.csv")]
    assert invoke([*command, "--source", "beir"]) == 1
    assert "is a file; expected the folder that holds corpus.jsonl" in capsys.readouterr().err
    assert invoke([*command, "--source", "python_code"]) == 1
    assert "is a file; expected a folder" in capsys.readouterr().err


def test_a_label_that_is_no_grade_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"a text {n}\tanother text {n}\t{n / 9:.2f}\n" for n in range(20))
    (tmp_path / "sts.tsv").write_text(f"sentence1\tsentence2\tscore\n{rows}")
    assert invoke(["init", str(tmp_path / "r.yaml"), "--data", str(tmp_path / "sts.tsv")]) == 0
    err = capsys.readouterr().err
    assert "note: every row counts as relevant: the column 'score'" in err


@pytest.mark.parametrize(
    ("model", "spending"),
    [
        ("openai/gpt-5-nano", {"max_cost_usd": 5}),
        ("hosted_vllm/my-model", {"max_calls": 10_000}),
    ],
)
def test_a_language_model_judges_within_a_budget(
    model: str, spending: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    write_delimited(tmp_path / "faq.csv", ",")
    file = tmp_path / "r.yaml"
    assert invoke(["init", str(file), "--data", str(tmp_path / "faq.csv"), "--llm", model]) == 0
    written = yaml.safe_load(file.read_text())
    assert written["judge"]["judges"]["llm"]["model"] == model
    assert written["spending"] == spending
    assert softmaxes(load_recipe(file)) == ["all", "all"]
    assert schedule(load_recipe(file)) == [(0, 1, 32), (3, 0, None)]


def test_a_missing_key_is_a_note_and_a_model_without_provider_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write_delimited(tmp_path / "faq.csv", ",")
    command = ["init", str(tmp_path / "r.yaml"), "--data", str(tmp_path / "faq.csv"), "--llm"]
    assert invoke([*command, "no-such-model"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "has no provider" in line
    assert not (tmp_path / "r.yaml").exists()
    assert invoke([*command, "openai/gpt-5-nano"]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ") and "OPENAI_API_KEY" in line


def test_the_commented_language_model_is_valid_without_its_comment_signs(tmp_path: Path) -> None:
    write_delimited(tmp_path / "faq.csv", ",")
    file = tmp_path / "r.yaml"
    assert invoke(["init", str(file), "--data", str(tmp_path / "faq.csv")]) == 0
    text = file.read_text()
    before, _, rest = text.partition("    # llm:")
    block, _, after = rest.partition("\ntrain:")
    file.write_text(f"{before}    llm:{block.replace('# ', '', 4)}\ntrain:{after}")
    recipe: Any = load_recipe(file)
    assert list(recipe.judge.judges) == ["margin", "llm"]
    assert recipe.spending.max_cost_usd == 5


@pytest.mark.parametrize("count", [2, 3, 7, 25, 80, 400])
def test_every_split_that_is_used_has_queries(count: int, tmp_path: Path) -> None:
    from recipekit.stages.collect.read_sources import query_uniform

    rows = "".join(f"what is number {n},It is {n} or {n + 1}\n" for n in range(count))
    (tmp_path / "faq.csv").write_text(f"question,answer\n{rows}")
    file = tmp_path / "r.yaml"
    assert invoke(["init", str(file), "--data", str(tmp_path / "faq.csv")]) == 0
    recipe: Any = load_recipe(file)
    share = recipe.collect.split
    uniforms = [query_uniform(f"what is number {n}", recipe.seed) for n in range(count)]
    test = sum(uniform < share.test for uniform in uniforms)
    assert 0 < test < count
    if share.dev:
        assert any(share.test <= uniform < share.test + share.dev for uniform in uniforms)
