"""`recipekit share`: what a bundle contains, and what it must not contain."""

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipekit import load_recipe
from recipekit.errors import StoreError
from recipekit.recipe.fill import filled
from recipekit.report.blocks import Example, Examples, ReportSection, Table, Text
from recipekit.reproduce.bundle import Bundle, changed_files, file_hashes, open_bundle
from recipekit.reproduce.bundle_card import _base_model, _licence
from recipekit.reproduce.licences import permission
from recipekit.reproduce.local_files import LocalFile, LocalFiles
from recipekit.reproduce.tolerances import trained_systems, with_tolerances
from recipekit.reproduce.write_bundle import _without_examples
from recipekit.yaml_format import parse

Cli = Callable[..., str]
TRAINED = {"trained"}
ROW = {"evaluator": "e", "split": "test", "system": "trained", "metric": "m"}


def with_licence(folder: Path, licence: str | None) -> None:
    file = next(folder.glob("runs/small/2*/recipe.resolved.yaml"))
    file.write_text(file.read_text().replace("license: cc0-1.0", f"license: {licence or 'null'}"))


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("cc-by-sa-4.0", "allowed"),
        ("CC0 1.0", "allowed"),
        ("apache-2.0", "allowed"),
        (None, "unknown"),
        ("other", "unknown"),
        ("proprietary", "forbidden"),
        ("All rights reserved", "forbidden"),
    ],
)
def test_a_licence_decides_whether_data_is_shared(licence: str | None, expected: str) -> None:
    assert permission(licence) == expected


def test_tolerances_follow_students_distribution_and_have_a_floor() -> None:
    rows = [
        {"evaluator": "e", "split": "test", "system": system, "metric": "m", "value": value}
        for system, value in (("trained", 0.50), ("bm25", 0.40))
    ]
    other = [{**rows[0], "value": 0.52}, {**rows[1], "value": 0.40}]
    trained, bm25 = with_tolerances(rows, [other], TRAINED)
    assert trained["tolerance"] == pytest.approx(12.706 * 2**0.5 * 0.0141421, rel=1e-3)
    assert trained["tolerance_basis"] == "spread over 2 runs"
    assert (bm25["tolerance"], bm25["repeated"]) == (0.001, [0.40])
    assert [row["tolerance"] for row in with_tolerances(rows, [], TRAINED)] == [0.005, 0.001]
    assert [row["tolerance"] for row in with_tolerances(rows, [other], TRAINED, 0.02)] == [
        0.02,
        0.02,
    ]


def test_baselines_that_search_with_the_trained_encoder_have_its_tolerance() -> None:
    bm25, dense = {"use": "bm25"}, {"use": "exact", "encoder": "trained"}
    recipe = load_recipe(
        {
            "recipe": 1,
            "name": "small",
            "encoders": {"student": {"use": "bi_encoder", "model": "owner/name"}},
            "collect": {"sources": {"own": {"use": "pairs", "file": "pairs.jsonl"}}},
            "mine": {"retrievers": {"lexical": bm25}},
            "train": {"phases": {"only": {"use": "in_batch"}}},
            "evaluate": {
                "evaluators": {"held_out": {"use": "retrieval"}},
                "baselines": {
                    "bm25": bm25,
                    "plain": {"use": "exact", "encoder": "student"},
                    "hybrid": {"use": "hybrid", "retrievers": {"lexical": bm25, "dense": dense}},
                },
            },
        }
    )
    trained = trained_systems(recipe)
    assert trained == {"trained", "hybrid"}
    rows = [
        {"system": "hybrid", "value": 0.5},
        {"system": "hybrid, reranked", "variant_of": "hybrid", "value": 0.5},
        {"system": "bm25, reranked", "variant_of": "bm25", "value": 0.5},
    ]
    found = with_tolerances(rows, [], trained)
    assert [row["tolerance"] for row in found] == [0.005, 0.005, 0.001]
    bases = ["not measured", "not measured", "rounding alone"]
    assert [row["tolerance_basis"] for row in found] == bases


@pytest.mark.parametrize("runs", [2, 4])
def test_a_tolerance_covers_95_percent_of_new_runs(runs: int) -> None:
    """Of figures that are normally distributed over seeds."""
    draw = random.Random(runs)
    covered = 0
    for _ in range(1000):
        first, *others = ({**ROW, "value": draw.gauss(0.5, 0.02)} for _ in range(runs))
        [row] = with_tolerances([first], [[other] for other in others], TRAINED)
        covered += abs(draw.gauss(0.5, 0.02) - row["value"]) <= row["tolerance"]
    assert 940 <= covered <= 985


JUDGE = """\
from recipekit.component import JudgeSpec, LocalPath

class Mine(JudgeSpec):
    paths: tuple[LocalPath, ...] = ()

    def build(self, context):
        raise NotImplementedError
"""
ENCODERS = "encoders: {student: {use: bi_encoder, model: owner/name}}\n"
COLLECT = "collect: {sources: {own: {use: pairs, license: mit, file: a/x.csv, delimiter: /}}}\n"


def local_files(folder: Path, sections: str) -> tuple[LocalFiles, dict[str, Any]]:
    """Return the local files of a recipe in a folder, and the rewritten recipe."""
    for name in ("a/x.csv", "b/x.csv", "model/config.json", "judge.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(JUDGE if name == "judge.py" else "{}")
    (folder / "model/README.md").write_text("---\nlicense: apache-2.0\n---\n")
    file = folder / "recipe.yaml"
    file.write_text(f"recipe: 1\nname: small\n{sections}")
    recipe = load_recipe(file, allow_local_code=True)
    local = LocalFiles()
    return local, local.rewritten(parse(filled(recipe)), recipe)


def test_local_paths_become_names_in_the_bundle(tmp_path: Path) -> None:
    sections = (
        "encoders: {student: {use: bi_encoder, model: ./model}}\n"
        f"{COLLECT}"
        "mine: {retrievers: {lexical: {use: bm25}}}\n"
        "judge: {judges: {mine: {use: ./judge.py:Mine, paths: [b/x.csv, a/x.csv]}}}\n"
    )
    local, recipe = local_files(tmp_path, sections)
    assert recipe["encoders"]["student"]["model"] == "./data/student/model"
    assert recipe["collect"]["sources"]["own"]["file"] == "./data/own/x.csv"
    judge = recipe["judge"]["judges"]["mine"]
    assert judge["use"] == "./code/judge.py:Mine"
    assert judge["paths"] == ["./data/mine/x.csv", "./data/own/x.csv"]
    assert [(file.key, file.licence, file.is_code) for file in local.files] == [
        ("encoders.student.model", "apache-2.0", False),
        ("collect.sources.own.file", "mit", False),
        ("judge.judges.mine.paths", None, False),
        ("judge.judges.mine.use", None, True),
    ]


def test_only_keys_that_are_paths_name_files(tmp_path: Path) -> None:
    """A delimiter and a value of a column can be the name of a folder, too."""
    sts = f"{{use: sts, file: b/x.csv, license: cc0-1.0, where: {{folder: {tmp_path}/a}}}}"
    evaluate = f"evaluate: {{encoder: student, evaluators: {{sts: {sts}}}}}\n"
    local, recipe = local_files(tmp_path, f"{ENCODERS}{COLLECT}{evaluate}")
    assert [file.path for file in local.files] == [tmp_path / "a/x.csv", tmp_path / "b/x.csv"]
    assert recipe["collect"]["sources"]["own"]["delimiter"] == "/"
    assert recipe["evaluate"]["evaluators"]["sts"]["where"] == {"folder": f"{tmp_path}/a"}


@pytest.mark.parametrize(
    ("source", "evaluator", "expected"),
    [("null", "mit", "mit"), ("mit", "null", "mit"), ("mit", "proprietary", "proprietary")],
)
def test_a_file_that_is_named_twice_has_the_stated_and_the_stricter_licence(
    source: str, evaluator: str, expected: str, tmp_path: Path
) -> None:
    sts = f"{{use: sts, file: a/x.csv, license: {evaluator}}}"
    sections = (
        f"{ENCODERS}"
        f"collect: {{sources: {{own: {{use: pairs, file: a/x.csv, license: {source}}}}}}}\n"
        f"evaluate: {{encoder: student, evaluators: {{sts: {sts}}}}}\n"
    )
    local, _ = local_files(tmp_path, sections)
    assert [each.licence for each in local.files] == [expected]


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_bundle_has_recipe_lock_figures_values_report_and_data(folder: Path, cli: Cli) -> None:
    results = folder / "runs/small/latest/stages/evaluate/rankings/english/results/trained"
    results.mkdir(parents=True)
    (results / "Task.json").write_text("{}")
    (results / "Task.per_query.json").write_text("[]")
    assert "not measured" not in cli("share", "small", "out"), "nothing is trained"
    bundle = open_bundle(folder / "out", folder / "unused")
    assert set(bundle.values["files"]) >= {
        "README.md", "recipe.yaml", "recipe.lock", "metrics.json", "report.md",
        "data/own/pairs.jsonl", "per_query/held_out.arrow", "per_query/english/trained/Task.json",
    }  # fmt: skip
    assert list(changed_files(bundle)) == []
    [row] = bundle.metrics()
    assert row["low"] <= row["value"] <= row["high"] and row["tolerance"] == 0.001
    text = "".join(
        file.read_text()
        for file in (folder / "out").rglob("*")
        if file.suffix != ".arrow" and file.is_file()
    )
    assert str(folder) not in text, "no path of this machine"
    card = (folder / "out/README.md").read_text()
    assert card.startswith("---\ntags: [recipekit]\nlicense: cc0-1.0\n---\n")
    assert "\nrecipekit reproduce out\n" in card and "| search ms/query |" in card
    assert "already exists" in cli("share", "small", "out", status=2)
    for archive in ("one.tar.gz", "one.TGZ"):
        refused = cli("share", "small", archive, status=2)
        assert f"{archive}: {Path(archive).suffix} files cannot be written" in refused
        assert not Path(archive).exists()
    for name in ("one.zip", "two.ZIP"):
        cli("share", "small", name)
        assert "recipe.lock" in zipfile.ZipFile(name).namelist()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_data_of_an_unknown_licence_needs_the_author_and_forbidden_data_is_never_included(
    folder: Path, cli: Cli
) -> None:
    with_licence(folder, None)
    assert "not included: data/own/pairs.jsonl (its licence is not stated" in cli(
        "share", "small", "without"
    )
    assert not (folder / "without/data").exists()
    assert "word3" not in (folder / "without/report.md").read_text()
    cli("share", "small", "with", "--include-data")
    assert (folder / "with/data/own/pairs.jsonl").read_bytes() == Path("pairs.jsonl").read_bytes()
    file = next(folder.glob("runs/small/2*/recipe.resolved.yaml"))
    file.write_text(file.read_text().replace("license: null", "license: proprietary"))
    assert "its licence forbids it" in cli("share", "small", "never", "--include-data")
    assert not (folder / "never/data").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_bundle_with_a_secret_is_not_written(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_files = {
        "data/own/pairs.jsonl": "word3 word4",
        "README.md": "Repeat it, and compare",
        "bundle.json": '"variables": []',
    }
    for file, secret in in_files.items():
        monkeypatch.setenv("MY_SERVICE_TOKEN", secret)
        printed = cli("share", "small", "out", status=1)
        assert f"{file}: contains the value of the variable MY_SERVICE_TOKEN" in printed
        assert secret not in printed and not Path("out").exists()


def test_without_texts_nothing_introduces_examples() -> None:
    examples = Examples([Example("query", "p1", "passage", ["rank 1"])])
    counts, table = Text("3 queries were won."), Table(["a"], [["1"]])
    found = _without_examples(
        [
            ReportSection("False negatives", [Text("A random sample, one per query."), examples]),
            ReportSection("Won", [counts, ReportSection("Most", [examples]), table]),
            Text("The end."),
        ]
    )
    assert found == [ReportSection("Won", [counts, table]), Text("The end.")]


def local_file(name: str, licence: str | None, *, is_code: bool = False) -> LocalFile:
    return LocalFile(Path(name), name, name, licence, is_code)


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (["CC BY-SA 4.0"], {"license": "cc-by-sa-4.0"}),
        (["mit", "mit"], {"license": "mit"}),
        (["psf-2.0"], {"license": "other", "license_name": "psf-2.0"}),
        (["mit", "cc0-1.0"], {}),
        (["mit", None], {}),
        ([], {}),
    ],
)
def test_a_card_has_the_licence_of_the_included_data(
    licences: list[str | None], expected: dict[str, str]
) -> None:
    files = [local_file(f"{number}.csv", licence) for number, licence in enumerate(licences)]
    assert _licence([*files, local_file("judge.py", None, is_code=True)]) == expected


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({}, {}),
        ({"untrained": None}, {}),
        ({"untrained": "a/b", "trained": "a/b"}, {"base_model": "a/b"}),
        ({"untrained": "a/b", "trained": "a/c"}, {"base_model": ["a/b", "a/c"]}),
    ],
)
def test_a_card_has_the_base_models_of_the_measured_systems(
    models: dict[str, str | None], expected: dict[str, object], tmp_path: Path
) -> None:
    if models:
        facts = {name: {"base_model": model} for name, model in models.items()}
        (tmp_path / "models.json").write_text(json.dumps(facts))
    assert _base_model(tmp_path) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_run_whose_data_changed_or_that_failed_is_not_shared(folder: Path, cli: Cli) -> None:
    with open("pairs.jsonl", "a") as file:
        file.write("\n")
    assert "collect.sources.own.file (pairs.jsonl) has changed since the run" in cli(
        "share", "small", "out", status=1
    )
    run = next(folder.glob("runs/small/2*/run.json"))
    (run.parent / "metrics.json").unlink()
    assert "measured nothing; the recipe needs an evaluate section" in cli(
        "share", "small", "out", status=1
    )
    evaluated = run.parent / "stages/evaluate"
    evaluated.unlink() if evaluated.is_symlink() else shutil.rmtree(evaluated)
    ended = cli("share", "small", "out", status=1)
    assert "this run ended before evaluate; run the recipe again without --until" in ended
    run.write_text(json.dumps({**json.loads(run.read_text()), "status": "failed"}))
    assert "this run is failed" in cli("share", "small", "out", status=1)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_seeds_of_a_recipe_without_training_are_refused(folder: Path, cli: Cli) -> None:
    assert "has no train section" in cli("share", "small", "out", "--seeds", "2", status=2)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_other_runs_widen_the_tolerances(folder: Path, cli: Cli) -> None:
    further_run(folder, "again")
    cli("share", "small", "out", "--spread", "again")
    [row] = json.loads(Path("out/metrics.json").read_text())
    assert row["tolerance_basis"] == "spread over 2 runs" and len(row["repeated"]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_runs_that_do_not_repeat_this_one_are_refused(folder: Path, cli: Cli) -> None:
    def refused(*runs: str) -> str:
        options = [word for run in runs for word in ("--spread", run)]
        return cli("share", "small", "out", *options, status=1)

    assert "since it is the same run" in refused("small")
    further_run(folder, "again")
    assert "again: has the same figures as again, since it is the same" in refused(*["again"] * 2)
    shutil.copytree("again", "copy")
    assert "copy: has the same figures as again, since evaluate was" in refused("again", "copy")
    further_run(folder, "baselines", evaluate=(("section", "untrained"), True))
    assert "does not repeat" in refused("baselines")
    assert "\n  evaluate.untrained: false → true" in refused("baselines")
    further_run(folder, "seed", evaluate=(("seed",), 14))
    assert "\n  seed: 13 → 14" in refused("seed")
    path = ("section", "sources", "own", "files")
    further_run(folder, "data", collect=(path, {"pairs.jsonl": "0" * 64}))
    assert "collect.sources.own.file (pairs.jsonl): the content changed" in refused("data")
    run = {**json.loads(Path("again/run.json").read_text()), "name": "another"}
    Path("again/run.json").write_text(json.dumps(run))
    assert "is a run of another recipe, 'another'" in refused("again")


def further_run(folder: Path, name: str, **changed: tuple[tuple[str, ...], object]) -> None:
    """Copy the run as if it had been computed again; change values of the identities of stages."""
    run = folder / name
    shutil.copytree(next(folder.glob("runs/small/2*")), run)
    for stage, (path, value) in {"evaluate": ((), None), **changed}.items():
        file = run / "stages" / stage / "manifest.json"
        manifest = json.loads(file.read_text())
        inside = manifest["identity"]
        for key in path[:-1]:
            inside = inside[key]
        if path:
            inside[path[-1]] = value
        file.write_text(json.dumps({**manifest, "created": name}))


def test_hidden_files_and_the_index_are_not_hashed(tmp_path: Path) -> None:
    for name in ("bundle.json", "recipe.yaml", ".cache/note"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(file_hashes(tmp_path)) == ["recipe.yaml"]


@pytest.mark.parametrize(
    "content",
    ["[{", '[{"value": 0.5}]', '{"value": 0.5}', "[1]", "[]", "{}", '[{"value": null}]'],
)
def test_no_figures_and_figures_without_tolerances_are_a_damaged_baseline(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(StoreError, match="has no figures with tolerances") as error:
        Bundle(tmp_path, {}).metrics()
    assert error.value.code == "RK531"
