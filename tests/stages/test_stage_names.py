"""`PIPELINE` is the only list of stages: no code outside a stage's folder names the stage."""

import ast
from collections.abc import Iterator
from pathlib import Path

import recipekit
from recipekit import stages

SOURCE = Path(recipekit.__file__).parent
NAMES = {stage.name for stage in stages.PIPELINE}

OTHER_MEANINGS = {
    "train": ("split of queries", {
        "component/phases.py", "evaluators/mteb.py", "evaluators/mteb_local_tasks.py",
        "evaluators/retrieval.py", "exporters/beir_folder.py", "judges/cross_encoder.py",
        "recipe/sections.py", "records.py", "sources/beir.py", "sources/hub.py",
        "sources/hub_tables.py", "sources/pair_reader.py", "starter/columns.py",
        "starter/data.py", "starter/template.py", "testing/datasets.py", "training/labels.py",
        "training/loop.py",
    }),
    "judge": ("kind of component, or column of the verdicts", {
        "component/judges.py", "exporters/beir_folder.py", "exporters/data_card.py",
        "exporters/dataset_writer.py", "judging/reliability.py", "judging/verdict_log.py",
        "starter/plugin.py", "starter/plugin_files.py", "tables.py", "testing/judges.py",
        "training/labels.py", "cli/judge.py", "cli/main.py",
    }),
    "evaluate": ("event of the log, or method of an evaluator", {
        "pipeline/trackers.py", "testing/results.py", "training/loop.py",
    }),
    "export": ("method of an exporter", {"testing/results.py"}),
}  # fmt: skip
"""Words that are also a stage's name, and the files in which they mean something else."""

IMPORTS = {
    "stages/__init__.py": NAMES,
    "cli/judge.py": {"judge"},
    "comparison/measure.py": {"evaluate"},
    "comparison/measured_data.py": {"evaluate"},
    "comparison/named_data.py": {"evaluate"},
    "comparison/published.py": {"evaluate"},
    "reproduce/published_models.py": {"evaluate"},
    "reproduce/tolerances.py": {"evaluate"},
    "starter/template.py": {"collect"},
}
"""Files outside a stage's folder that import from it: the pipeline, and commands about one stage.

`recipekit init` reads data as `collect` does, `compare` measures as `evaluate` does, and baselines
have the tolerances of its figures and the models that it measures.
"""


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield string literals, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def imported_stages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the stages from whose folders something is imported, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recipekit.stages."):
            yield node.lineno, str(node.module).split(".")[2]


def stage_names_in(file: str, code: str) -> Iterator[str]:
    """Yield the places of a file that name a stage: `file:line: name`."""
    tree = ast.parse(code)
    for line, name in literals(tree):
        if name in NAMES and file not in OTHER_MEANINGS.get(name, ("", set()))[1]:
            yield f"{file}:{line}: {name}"
    for line, name in imported_stages(tree):
        if name in NAMES - IMPORTS.get(file, set()):
            yield f"{file}:{line}: {name}"


def outside_stages() -> Iterator[tuple[str, str]]:
    """Yield the source files that belong to no stage, with their content."""
    for path in sorted(SOURCE.rglob("*.py")):
        file = path.relative_to(SOURCE)
        if not (file.parts[0] == "stages" and file.parts[1] in NAMES):
            yield file.as_posix(), path.read_text(encoding="utf-8")


def test_no_code_outside_a_stage_s_folder_names_the_stage() -> None:
    found = [place for file, code in outside_stages() for place in stage_names_in(file, code)]
    assert not found, (
        "declare what is needed in the stage's Stage(...), and look for it in PIPELINE"
    )


def test_a_name_in_a_literal_or_an_import_is_found() -> None:
    code = """
from recipekit.stages.mine.stage import MINE
found = artifacts["judge"]
split = "train"
"""
    assert sorted(stage_names_in("pipeline/new.py", code)) == [
        "pipeline/new.py:2: mine",
        "pipeline/new.py:3: judge",
        "pipeline/new.py:4: train",
    ]
    assert "pipeline/new.py:4: train" not in stage_names_in("records.py", code)


def test_every_exception_is_needed() -> None:
    trees = [(file, ast.parse(code)) for file, code in outside_stages()]
    words = {(name, file) for file, tree in trees for _, name in literals(tree)}
    imports = {(name, file) for file, tree in trees for _, name in imported_stages(tree)}
    assert {(name, file) for name, (_, files) in OTHER_MEANINGS.items() for file in files} <= words
    assert {(name, file) for file, names in IMPORTS.items() for name in names} <= imports


def test_no_two_stages_write_a_file_of_the_same_name() -> None:
    written = [name for stage in stages.PIPELINE for name in stage.writes]
    assert len(written) == len(set(written))
    assert all(name in stages.writer_of(name).writes for name in written)
