"""Names in inline code exist: keys of recipes, dotted paths, and identifiers of the source."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from inspect import signature
from typing import Any

import pytest

import recipekit
from helpers.markdown import PAGES, ROOT, prose
from recipekit.cli.main import COMMANDS, invoke
from recipekit.comparison.result import ModelFacts
from recipekit.component import KINDS
from recipekit.pipeline.run_events import EVENTS
from recipekit.recipe.schema import recipe_schema
from recipekit.registry import find
from recipekit.stages import PIPELINE, Stage
from recipekit.stages.recipe import recipe_model

INLINE = re.compile(r"`([^`]+)`")
SNAKE_CASE = re.compile(r"\w*[a-z]_[a-z]\w*(?=$|[:. ({\[])")
KEY_VALUE = re.compile(r"([a-z_]+): \S.*")
SECTIONS = [stage.name for stage in PIPELINE]
DOTTED = re.compile(rf"(?:{'|'.join(SECTIONS)})(?:\.[a-z_]+)+(?!\w)")
OUTSIDE = {
    "encode_query",
    "num_train_epochs",
    "tensorboard",
    "truncate_dim",
    "wandb",
    "parallel_bulk",
    "upload_collection",
    "query_batch_points",
    "node_modules",
    "dense_vector",
    "distributed_type",
    "dynamo_backend",
    "dynamo_config",
    "srun",
    "torchrun",
    "fsdp_transformer_layer_cls_to_wrap",
    "mixed_precision",
    "parallelism_config",
    "parallelism_config_dp_replicate_size",
    "fsdp_version",
    "fsdp_reshard_after_forward",
    "fsdp_offload_params",
    "fsdp_activation_checkpointing",
    "gpu_ids",
    "machine_rank",
    "mini_batch_size",
    "projection_dim",
    "main_process_ip",
    "main_process_port",
    "num_machines",
    "num_processes",
    "use_cpu",
}
"""Names of other libraries."""


OTHER_WORDS = set(
    "area file human changed code column line message problems config env docs gc ls try sample "
    "install load_recipe miss unknown read_table refresh references reply rules scale system user "
    "stored_fields msearch true false trained version verdict package servers char_ngrams overlap "
    "shared_words continues weights initial until runs start export_to"
    " head state hit failed finished interrupted where before dumb hf auth login"
    " python versions cpu cuda mps files revisions indices mit proprietary".split()
)
"""Words that pages show as code and that are neither keys, commands, components nor modules."""


def inline_code() -> Iterator[tuple[str, str]]:
    """The pieces of inline code of all pages, each with its place."""
    for page in PAGES:
        for number, line in prose(page):
            for match in INLINE.finditer(line):
                yield f"{page.relative_to(ROOT)}:{number}", match[1]


@pytest.fixture(scope="module")
def source() -> str:
    """All source text, and what the tests and recipes bring along."""
    files = [*(ROOT / "src").rglob("*"), *(ROOT / "docs" / "examples").glob("*")]
    files += [*(ROOT / "plugins").rglob("*.py"), ROOT / "pyproject.toml"]
    files += [path for path in (ROOT / "tests").rglob("*")]
    readable = [file for file in files if file.suffix in {".py", ".toml", ".yaml", ".jinja"}]
    names = " ".join(path.name for path in files)
    return names + "\n".join(
        file.read_text(encoding="utf-8", errors="replace") for file in readable
    )


def keys_of(schema: Any) -> Iterator[str]:
    """Every property name in a JSON Schema."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from keys_of(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from keys_of(part)


def test_keys_with_a_value_in_inline_code_exist():
    known = set(keys_of(recipe_schema(recipe_model()))) | {"area", "file", "human"} | OUTSIDE
    unknown = [
        f"{place}: {code}"
        for place, code in inline_code()
        if (match := KEY_VALUE.fullmatch(code)) and match[1] not in known
    ]
    assert not unknown, "\n".join(unknown)


def test_identifiers_in_inline_code_occur_in_the_source(source):
    words = set(re.findall(r"\w+", source)) | OUTSIDE
    unknown = [
        f"{place}: {code}"
        for place, code in inline_code()
        for name in SNAKE_CASE.findall(code)
        if "/" not in code and name not in words
    ]
    assert not unknown, "\n".join(unknown)


def test_plain_words_in_inline_code_are_keys_commands_or_modules(source):
    known = set(re.findall(r'"(\w+)"', json.dumps(recipe_schema(recipe_model())))) | OTHER_WORDS
    known |= set(COMMANDS) | {path.stem for path in (ROOT / "src").rglob("*")}
    known |= {path.stem for path in (ROOT / "recipes").glob("*")} | OUTSIDE
    known |= {entry.name for kind in KINDS for entry in find(kind)}
    known |= {field.name for field in (*fields(Stage), *fields(ModelFacts))}
    known |= set(signature(recipekit.compare).parameters)
    known |= {"event", "time", *EVENTS, *(name for event in EVENTS.values() for name in event)}
    unknown = [
        f"{place}: {code}"
        for place, code in inline_code()
        for word in re.findall(r"(?<![\w./-])([a-z][a-z_]+)(?=$|:)", code)
        if word not in known and not place.startswith(("docs/recipes/", "docs/plugins.md"))
    ]
    assert not unknown, "\n".join(unknown)


def test_the_page_of_the_architecture_describes_every_part_of_a_stage():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| part of `Stage` | meaning |\n")
    rows = itertools.takewhile(lambda line: line.startswith("|"), table.splitlines())
    parts = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(parts) == sorted(field.name for field in fields(Stage))


def test_dotted_keys_in_inline_code_exist(capsys):
    paths = {path for _, code in inline_code() for path in DOTTED.findall(code)}
    paths = {path for path in paths if not path.endswith((".tsv", ".md", ".py"))}
    assert paths
    unknown = [path for path in sorted(paths) if invoke(["keys", path]) != 0]
    capsys.readouterr()
    assert not unknown, json.dumps(unknown)


def test_source_files_in_inline_code_exist():
    missing = [
        f"{place}: {code}"
        for place, code in inline_code()
        if re.fullmatch(r"[a-z_]+/[\w/]*(\.py)?", code)
        and (code.endswith(".py") or (ROOT / "src/recipekit" / code.split("/")[0]).is_dir())
        and not any(
            (base / code).exists() for base in (ROOT, ROOT / "src/recipekit", ROOT / "docs")
        )
        and not place.startswith("plugins/")
    ]
    assert not missing, "\n".join(missing)


def test_commands_in_inline_code_exist():
    unknown = [
        f"{place}: {code}"
        for place, code in inline_code()
        if (match := re.match(r"recipekit ([a-z][a-z-]*)", code)) and match[1] not in COMMANDS
    ]
    assert not unknown, "\n".join(unknown)


def test_a_reply_reaches_the_training_mask_through_at_most_twelve_files():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## From an LLM reply to the training mask")
    assert len(re.findall(r"^\| `\S+\.py` \|", section, re.MULTILINE)) <= 12


def test_no_two_classes_of_the_package_share_a_name():
    files: dict[str, list[str]] = {}
    for file in sorted((ROOT / "src").rglob("*.py")):
        for name in re.findall(r"^class (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            files.setdefault(name, []).append(str(file.relative_to(ROOT)))
    assert {name: found for name, found in files.items() if len(found) > 1} == {}
