"""An unexpected error in a plugin's method is one line that names the plugin and the method."""

from pathlib import Path

import pytest

from recipekit.cli.main import invoke

LOCAL = """\
from recipekit.component import RetrieverSpec

class Faulty(RetrieverSpec):
    \"\"\"Fails.\"\"\"

    def {method}(self, *args):
        raise KeyError("oops")

    def build(self, context):
        return None

class Unfinished(RetrieverSpec):
    \"\"\"Has no build().\"\"\"
"""
RECIPE = """\
recipe: 1
name: tiny
collect:
  sources:
    own: {{use: pairs, file: pairs.jsonl}}
  expected_size: {{passages: 10, queries: {{train: 10}}}}
mine: {{retrievers: {{own: {{use: "./own.py:{name}"}}}}}}
"""


def outcome(
    method: str, name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    Path("own.py").write_text(LOCAL.format(method=method))
    Path("recipe.yaml").write_text(RECIPE.format(name=name))
    Path("pairs.jsonl").write_text('{"query": "what is salt", "positive": "a mineral"}\n')
    status = invoke([command, "recipe.yaml", "--allow-local-code"])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


@pytest.mark.parametrize("method", ["files", "fingerprint", "estimate"])
def test_an_error_in_a_method_is_one_line(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, text = outcome(method, "Faulty", "plan", capsys)
    assert f"Faulty.{method}() failed: KeyError: 'oops'" in text
    assert "Traceback" not in text


def test_a_component_without_build_is_refused_when_the_recipe_is_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, text = outcome("files", "Unfinished", "validate", capsys)
    assert status == 2
    assert "does not define build() [RK206]" in text
