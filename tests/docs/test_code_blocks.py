"""Every code block in the pages is right.

YAML blocks are recipes, or parts of one: they are merged into a small recipe and loaded. Shell
blocks name commands, options and targets that exist. Python blocks run, unless they are marked
`no-run`; those are compiled. A block marked `continues` runs after the one before it. A block that
follows `<!-- file: PATH -->` equals that file.
"""

import copy
import re
import shlex
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from helpers.markdown import ROOT, CodeBlock, code_blocks
from recipekit import load_recipe
from recipekit.cli.main import COMMANDS, app_for
from recipekit.stages import PIPELINE

SECTIONS = [stage.name for stage in PIPELINE]

BASE: dict[str, Any] = {
    "recipe": 1,
    "name": "docs",
    "encoders": {"student": {"use": "bi_encoder", "model": "sentence-transformers/any"}},
    "collect": {"sources": {"code": {"use": "python_code"}}},
    "mine": {"retrievers": {"lexical": {"use": "bm25"}}},
    "judge": {"judges": {"model": {"use": "llm", "model": "openai/any"}}},
    "train": {
        "phases": {"contrastive": {"use": "coordinate_ascent", "loss": {"use": "exact_softmax"}}}
    },
}
"""What the parts of recipes in the pages are completed with."""


def ids(block: CodeBlock) -> str:
    return str(block)


@pytest.mark.usefixtures("example_plugin")
@pytest.mark.parametrize("block", code_blocks("yaml"), ids=ids)
def test_yaml_blocks_are_valid_recipes(block, tmp_path, monkeypatch):
    for name in re.findall(r"\$\{env:(\w+)\}", block.text):
        monkeypatch.setenv(name, "http://127.0.0.1:9" if "URL" in name else "value")
    for file in (ROOT / "docs" / "examples").glob("*.py"):
        shutil.copy(file, tmp_path)
    written = yaml.safe_load(block.text)
    unknown = set(written) - {"recipe", "name", "description", "seed", "encoders", *SECTIONS}
    assert not unknown - set(TOP_KEYS), f"{block}: not keys at the top of a recipe: {unknown}"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(completed(written), sort_keys=False))
    load_recipe(recipe, allow_local_code=True)


def test_the_readme_shows_the_quickstart_recipe(tmp_path):
    block = next(block for block in code_blocks("yaml") if block.page == ROOT / "README.md")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(block.text)
    shown, shipped = load_recipe(recipe), load_recipe("quickstart")
    assert shown.model_copy(update={"description": shipped.description}) == shipped


def test_the_readme_lists_every_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"| `recipekit {name}" not in readme]


TOP_KEYS = ("spending",)


def completed(written: Mapping[str, Any]) -> dict[str, Any]:
    """A whole recipe from a part of one; sections that the part has replace keys of the base."""
    if "recipe" in written:
        return dict(written)
    merged = copy.deepcopy(BASE)
    for key, value in written.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


@pytest.mark.parametrize("block", code_blocks("bash", "console"), ids=ids)
def test_shell_blocks_name_commands_options_and_targets_that_exist(block):
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":  # what follows a command is its output
        lines = [line for line in lines if line.startswith("$ ")]
    for line in lines:
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        words = words[2:] if words[:1] == ["export"] else words
        if words[:1] == ["recipekit"]:
            parse(words[1:])
        elif words[:1] == ["make"]:
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) <= set(targets), f"{block}: {line}"
        for word in words:
            if word.startswith(("tests/", "docs/", "src/", "plugins/", "recipes/")):
                assert (ROOT / word).exists(), f"{block}: {line}"


def parse(args: list[str]) -> None:
    """Parse a command line of recipekit without running it."""
    if not args or args[0].startswith("-"):
        return
    assert args[0] in COMMANDS
    command = typer.main.get_command(app_for(args))
    context = command.make_context("recipekit", list(args))
    rest = [*context._protected_args, *context.args]
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)
        rest = [*getattr(context, "_protected_args", ()), *context.args]


def python_blocks() -> list[Any]:
    """Every Python block with those that continue it; those that run a recipe are slow."""
    joined: list[CodeBlock] = []
    for block in code_blocks("python"):
        if "continues" in block.options:
            assert joined[-1].page == block.page
            joined[-1] = replace(joined[-1], text=f"{joined[-1].text}\n{block.text}")
        else:
            joined.append(block)
    return [
        pytest.param(block, marks=pytest.mark.slow if "recipekit.run(" in block.text else ())
        for block in joined
    ]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("block", python_blocks(), ids=ids)
def test_python_blocks_run(block, tmp_path, monkeypatch, tiny_model):
    code = compile(block.text, str(block), "exec")
    if "no-run" in block.options:
        return
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(SMALL_RECIPE.format(model=tiny_model))
    (tmp_path / "pairs.jsonl").write_text(
        "".join(f'{{"query": "question {n}", "positive": "answer {n}"}}\n' for n in range(40))
    )
    exec(code, {"__name__": "example"})


SMALL_RECIPE = """\
recipe: 1
name: small
encoders:
  student: {{use: bi_encoder, model: {model}}}
collect:
  sources:
    pairs: {{use: pairs, file: pairs.jsonl}}
train:
  phases:
    contrastive: {{use: in_batch, loss: {{use: infonce}}, epochs: 1}}
  batch_size: 16
evaluate:
  evaluators:
    held_out: {{use: retrieval, metrics: [ndcg@10], bootstrap_samples: 100}}
export:
  exporters:
    model: {{use: sentence_transformers}}
"""


@pytest.mark.parametrize("block", code_blocks("toml"), ids=ids)
def test_toml_blocks_parse(block):
    tomllib.loads(block.text)


@pytest.mark.parametrize("block", code_blocks("python", "yaml", "toml"), ids=ids)
def test_a_block_that_shows_a_file_equals_the_file(block):
    before = block.page.read_text(encoding="utf-8").splitlines()[: block.line - 1]
    marker = next((line for line in reversed(before) if line.strip()), "")
    if match := re.fullmatch(r"<!-- file: (\S+) -->", marker.strip()):
        assert block.text == Path(ROOT / match[1]).read_text(encoding="utf-8")
