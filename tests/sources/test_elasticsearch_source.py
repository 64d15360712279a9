"""The elasticsearch source on a real server."""

import json

import pytest
from pydantic import ValidationError

from recipekit.errors import ComponentError, DataError
from recipekit.records import Label, Passage, Query
from recipekit.sources.elasticsearch import ElasticsearchSourceSpec
from recipekit.testing import check_source, context
from servers.proxy import Answer, Rewrite

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("short_waits")]


@pytest.fixture
def files(tmp_path):
    """Two queries and their judgments, as the fields of a source."""
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "test.tsv"
    queries.write_text(
        "".join(
            json.dumps({"_id": id, "text": text}) + "\n"
            for id, text in (("q1", "red"), ("q2", "hen"))
        )
    )
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\n")
    return {"queries": queries, "qrels": {"test": qrels}}


def documents(n):
    return {f"d{i}": {"title": f"title {i}", "text": f"text of {i}"} for i in range(n)}


def read(spec, tmp_path):
    return list(spec.build(context(tmp_path / "scratch")).load())


def test_the_source_conforms(elasticsearch_url, foreign_index, files, tmp_path):
    spec = ElasticsearchSourceSpec(
        url=elasticsearch_url, index=foreign_index(documents(5)), title_field="title", **files
    )
    check_source(spec, context(tmp_path / "scratch"))


@pytest.mark.parametrize(("page_size", "concurrency"), [(7, 1), (7, 3), (50, 2), (1000, 4)])
def test_every_document_is_read_once_with_any_page_size(
    elasticsearch_url, foreign_index, files, tmp_path, page_size, concurrency
):
    index = foreign_index(documents(100))
    spec = ElasticsearchSourceSpec(
        url=elasticsearch_url,
        index=index,
        title_field="title",
        page_size=page_size,
        concurrency=concurrency,
        **files,
    )
    records = read(spec, tmp_path)
    passages = [record for record in records if isinstance(record, Passage)]
    assert sorted(passages, key=lambda passage: int(passage.id[1:])) == [
        Passage(f"d{i}", f"text of {i}", f"title {i}") for i in range(100)
    ]
    assert records[100:] == [
        Query("q1", "red", "test"),
        Query("q2", "hen", "test"),
        Label("q1", "d1", 2.0),
        Label("q2", "d2", 1.0),
    ]


def test_fields_and_a_filter_are_applied(elasticsearch_url, foreign_index, files, tmp_path):
    books = {
        "x": {"isbn": 1, "book": {"body": "red"}, "lang": "en"},
        "y": {"isbn": 2, "book": {"body": "rot"}, "lang": "de"},
        "z": {"isbn": 3, "lang": "en"},
    }
    index = foreign_index(books, isbn={"type": "long"}, lang={"type": "keyword"})
    spec = ElasticsearchSourceSpec(
        url=elasticsearch_url,
        index=index,
        id_field="isbn",
        text_field="book.body",
        filter={"term": {"lang": "en"}},
        **files,
    )
    assert [record for record in read(spec, tmp_path) if isinstance(record, Passage)] == [
        Passage("1", "red"),
        Passage("3", ""),
    ]


def test_writes_during_the_read_are_not_seen(elasticsearch_url, foreign_index, files, tmp_path):
    import elasticsearch

    index = foreign_index(documents(30))
    spec = ElasticsearchSourceSpec(
        url=elasticsearch_url, index=index, page_size=10, concurrency=1, **files
    )
    before = spec.fingerprint()
    records = spec.build(context(tmp_path)).load()
    read = [next(records)]
    with elasticsearch.Elasticsearch(elasticsearch_url) as client:
        client.index(index=index, id="late", document={"text": "late"}, refresh=True)
        client.delete(index=index, id="d29", refresh=True)
    read += [record for record in records if isinstance(record, Passage)]
    assert {record.id for record in read} == set(documents(30))
    assert spec.fingerprint() != before


def test_an_index_that_does_not_fit_is_an_error(elasticsearch_url, foreign_index, files, tmp_path):
    index = foreign_index(
        {"a": {"text": ["red", "hen"]}, "b": {"text": "x"}}, year={"type": "long"}
    )
    for fields, error, message in (
        (
            {"index": "not-there"},
            ComponentError,
            "index 'not-there' does not exist .*correct `index`",
        ),
        (
            {"text_field": "txt"},
            ComponentError,
            r"has no field 'txt' \(`text_field`\). Did you mean 'text'\?",
        ),
        ({"title_field": "name"}, ComponentError, r"has no field 'name' \(`title_field`\)"),
        ({}, DataError, f"{index}/a: 'text' has 2 values instead of one"),
        ({"filter": {"nonsense": 1}}, ComponentError, "rejects the request .*nonsense"),
        ({"filter": {"match": {"text": "zebra"}}}, DataError, f"index '{index}': no passages"),
    ):
        with pytest.raises(error, match=message):
            read(
                ElasticsearchSourceSpec(
                    **{"url": elasticsearch_url, "index": index, **files, **fields}
                ),
                tmp_path,
            )
    with pytest.raises(ValidationError, match="queries"):
        ElasticsearchSourceSpec(index=index)


def with_a_failed_shard(reply):
    return {**reply, "_shards": {**reply["_shards"], "failed": 1}}


def test_a_missing_page_is_an_error(elasticsearch_proxy, foreign_index, files, tmp_path):
    spec = ElasticsearchSourceSpec(
        url=elasticsearch_proxy.url,
        index=foreign_index(documents(30)),
        page_size=10,
        concurrency=1,
        **files,
    )
    elasticsearch_proxy.rule("POST", "/_search", Rewrite(with_a_failed_shard), after=2)
    elasticsearch_proxy.rule("POST", "/_search", Answer(503, {"Retry-After": "0"}))
    assert sum(isinstance(record, Passage) for record in read(spec, tmp_path)) == 30, "retried"
    elasticsearch_proxy.rule(
        "POST",
        "/_search",
        Rewrite(lambda reply: {**reply, "hits": {**reply["hits"], "hits": []}}),
        after=2,
    )
    with pytest.raises(ComponentError, match="returned 10 of 30 documents: run again"):
        read(spec, tmp_path)


def test_a_dropped_point_in_time_is_an_error(elasticsearch_proxy, foreign_index, files, tmp_path):
    spec = ElasticsearchSourceSpec(
        url=elasticsearch_proxy.url, index=foreign_index(documents(3)), **files
    )
    cause = {"type": "search_context_missing_exception", "reason": "No search context found"}
    error = {
        "type": "search_phase_execution_exception",
        "reason": "all shards failed",
        "root_cause": [],
        "caused_by": cause,
    }
    gone = {"error": error, "status": 404}
    elasticsearch_proxy.rule("POST", "/_search", Answer(404, body=gone))
    with pytest.raises(ComponentError, match="dropped the point in time of this read"):
        read(spec, tmp_path)
