"""How an argument of `compare` is taken apart, and what it is called."""

import json
from pathlib import Path

import pytest

from recipekit.comparison.arguments import Argument, parse_argument
from recipekit.comparison.model_kinds import kind_of
from recipekit.encoding.compression_keys import CompressionKeys
from recipekit.errors import RunError

INT8 = CompressionKeys(precision="int8")
FIRST_8 = CompressionKeys(dimensions=8)
BITS = CompressionKeys(precision="binary", pca=2)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("tiny", Argument("", "tiny")),
        ("tiny:before", Argument("", "tiny", before=True)),
        (
            "runs/tiny/latest:before,dimensions=8",
            Argument("", "runs/tiny/latest", True, FIRST_8),
        ),
        (
            "OWNER/NAME:precision=int8",
            Argument("", "OWNER/NAME", False, INT8),
        ),
        ("package:name/model", Argument("", "package:name/model")),
        ("package:name", Argument("", "package:name")),
        ("baseline.zip:bm25", Argument("", "baseline.zip", system="bm25")),
        ("hf://OWNER/NAME:my-hybrid", Argument("", "hf://OWNER/NAME", system="my-hybrid")),
        (
            "package:name/model:dimensions=8",
            Argument("", "package:name/model", compression=FIRST_8),
        ),
        (
            "e5:query_prompt=query: ,max_length=64",
            Argument("", "e5", model_options={"query_prompt": "query: ", "max_length": "64"}),
        ),
        (
            "e5:precision=fp32,precision=binary,pca=2",
            Argument("", "e5", False, BITS, {"precision": "fp32"}),
        ),
        ("bm25:k1=1.2,b=0.75", Argument("", "bm25", bm25_options={"k1": "1.2", "b": "0.75"})),
        ("C:/models/mine", Argument("", "C:/models/mine")),
        ("hf://datasets/OWNER/NAME:before", Argument("", "hf://datasets/OWNER/NAME", before=True)),
    ],
)
def test_options_follow_the_last_part_that_is_not_an_option(text: str, parsed: Argument) -> None:
    found = parse_argument(text)
    assert found.text == text
    assert Argument(**{**vars(found), "text": ""}) == parsed


def test_a_name_in_tables_states_the_options() -> None:
    text = "tiny:before,max_length=64,dimensions=128,precision=int8"
    assert parse_argument(text).suffix == " before max_length=64 first-128-int8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:dimensions=0", ": dimensions: Input should be greater than or equal to 1"),
        ("a:pca=2,dimensions=2", ": dimensions and pca both reduce the dimensions: choose one"),
        ("a:rescore=2", ": nothing is compressed: set dimensions, pca, or a precision"),
        (
            "a:precision=int4",
            ": precision is int8 or binary for stored vectors, or bf16 or fp32 for the encoder's "
            "arithmetic, found 'int4'",
        ),
        ("a:dimension=4", ": unknown option 'dimension'. Did you mean 'dimensions'?"),
    ],
)
def test_a_wrong_option_is_one_line(text: str, message: str) -> None:
    with pytest.raises(RunError) as error:
        parse_argument(text)
    assert error.value.message == text + message


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


def test_models_of_the_same_name_are_called_as_they_were_typed() -> None:
    from recipekit.comparison.candidates import _names

    typed = ["../a/tiny", "./../a/tiny", "b/tiny", "big"]
    assert _names(["tiny", "tiny", "tiny", "big"], typed) == ["a-tiny", "a-tiny 2", "b-tiny", "big"]
