"""The keys of the elasticsearch retriever, without a server."""

import pytest
from pydantic import ValidationError

from recipekit.retrievers.bm25 import Bm25Spec
from recipekit.retrievers.elasticsearch import LANGUAGES, ElasticsearchRetrieverSpec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"language": "englisch"}, "unknown 'englisch'. Did you mean 'english'"),
        ({"language": "klingon"}, "or name an `analyzer` that your server has"),
        (
            {"index": "books", "k1": 1.2},
            "`k1` configures an index that recipekit creates, but 'books' exists",
        ),
        (
            {"text_field": "body"},
            "`text_field` describes an existing index: name the index as `index`",
        ),
        ({"k1": -1}, "greater than or equal to 0"),
    ],
)
def test_contradictory_keys_are_rejected(fields, message):
    with pytest.raises(ValidationError, match=message):
        ElasticsearchRetrieverSpec(**fields)


def test_keys_and_defaults_equal_those_of_bm25():
    for name in ("k1", "b", "language", "depth"):
        server = ElasticsearchRetrieverSpec.model_fields[name]
        embedded = Bm25Spec.model_fields[name]
        assert (server.default, server.annotation) == (embedded.default, embedded.annotation)
    assert {"english", "none"} <= set(LANGUAGES)


def test_importing_the_specs_imports_no_client(assert_light):
    assert_light("recipekit.retrievers.elasticsearch", "elasticsearch", "torch")
    assert_light("recipekit.sources.elasticsearch", "elasticsearch", "torch")
