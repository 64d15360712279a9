"""How an argument of `compare` is taken apart, and what it is called."""

import json
from pathlib import Path

import pytest

from recipekit.compare.arguments import Argument, parse_argument
from recipekit.compare.model_kinds import kind_of, licence_of
from recipekit.errors import RunError


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("tiny", Argument("", "tiny")),
        ("tiny:before", Argument("", "tiny", before=True)),
        ("runs/tiny/latest:before,dimensions=8", Argument("", "runs/tiny/latest", True, 8)),
        ("OWNER/NAME:vectors=int8", Argument("", "OWNER/NAME", vectors="int8")),
        ("package:name/model", Argument("", "package:name/model")),
        ("package:name/model:dimensions=2", Argument("", "package:name/model", dimensions=2)),
        (
            "e5:query_prompt=query: ,max_length=64",
            Argument("", "e5", model_options={"query_prompt": "query: ", "max_length": "64"}),
        ),
        ("C:/models/mine", Argument("", "C:/models/mine")),
        ("hf://datasets/OWNER/NAME:before", Argument("", "hf://datasets/OWNER/NAME", before=True)),
    ],
)
def test_options_follow_the_last_part_that_is_not_an_option(text: str, parsed: Argument) -> None:
    found = parse_argument(text)
    assert found.text == text
    assert Argument(**{**vars(found), "text": ""}) == parsed


def test_a_name_in_tables_states_the_options() -> None:
    text = "tiny:before,max_length=64,dimensions=128,vectors=int8"
    assert parse_argument(text).suffix == " before max_length=64 128d int8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:dimensions=0", "dimensions is a positive whole number, found '0'"),
        ("a:dimensions=x", "dimensions is a positive whole number, found 'x'"),
        ("a:vectors=int4", "vectors is one of float32, int8, binary, found 'int4'"),
        ("a:dimension=4", "unknown option 'dimension'. Did you mean 'dimensions'?"),
    ],
)
def test_a_wrong_option_is_one_line(text: str, message: str) -> None:
    with pytest.raises(RunError) as error:
        parse_argument(text)
    assert error.value.message == f"{text}: {message}"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"config_sentence_transformers.json": {"model_type": "CrossEncoder"}}, "cross-encoder"),
        ({"config.json": {"architectures": ["XForSequenceClassification"]}}, "cross-encoder"),
        ({"config.json": {"architectures": ["BertModel"]}}, "bi-encoder"),
        ({"modules.json": [{"type": "sentence_transformers.SpladePooling"}]}, "sparse encoder"),
        ({"modules.json": [], "config.json": []}, "bi-encoder"),
    ],
)
def test_the_kind_of_a_model_follows_from_its_files(
    files: dict[str, object], kind: str, tmp_path: Path
) -> None:
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    assert kind_of(tmp_path) == kind


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\nText", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: own\n---\n", "own"),
        ("---\ntags: [x]\n---\n", None),
        ("---\nlicense: [\n---\n", None),
        ("---\nlicense: mit", None),
        ("# No front matter", None),
    ],
)
def test_the_licence_is_that_of_the_card(card: str, licence: str | None, tmp_path: Path) -> None:
    assert licence_of(tmp_path) is None
    (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence
