"""The elasticsearch retriever on a real server; its failures are in another file."""

import json
from pathlib import Path

import elasticsearch
import numpy as np
import pyarrow as pa
import pytest

from helpers.ranks import FakeRanks
from recipekit.artifacts.key import FileHashes
from recipekit.component import QueryBatch
from recipekit.dataset import Dataset
from recipekit.errors import ComponentError
from recipekit.evaluators.metrics import per_query_metrics
from recipekit.retrievers.bm25 import Bm25Spec
from recipekit.retrievers.elasticsearch import ElasticsearchRetrieverSpec
from recipekit.tables import LABELS, PASSAGES, write_table
from recipekit.testing import RecordingProgress, check_retriever, context

DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def client(elasticsearch_url):
    with elasticsearch.Elasticsearch(elasticsearch_url) as client:
        yield client


@pytest.fixture
def build(elasticsearch_url, elasticsearch_owner, tmp_path):
    """`build(dataset, **fields)`: the retriever over an index of the data set."""

    def make(dataset, progress=None, **fields):
        spec = ElasticsearchRetrieverSpec(**{"url": elasticsearch_url, **fields})
        return spec.build(
            context(
                tmp_path,
                dataset=dataset,
                owner=elasticsearch_owner,
                progress=progress or RecordingProgress(),
            )
        )

    return make


def corpus(make_dataset, *texts) -> Dataset:
    return make_dataset(
        [("q", "a query", "train")],
        [(f"p{i}", text) for i, text in enumerate(texts)],
        {(0, 0): 1.0},
    )


def search(retriever, *texts, depth=10):
    return retriever.search(QueryBatch(np.arange(len(texts)), texts), depth)


def own_indices(url, owner):
    return [
        index
        for index in ElasticsearchRetrieverSpec(url=url).remote().indices()
        if index.owner == owner
    ]


# recipekit's own index
# ------------------------------------------------------------------------------------------


def test_the_retriever_conforms(elasticsearch_url, elasticsearch_owner, tiny_dataset, tmp_path):
    check_retriever(
        ElasticsearchRetrieverSpec(url=elasticsearch_url, query_batch_size=7),
        context(tmp_path, dataset=tiny_dataset, owner=elasticsearch_owner),
    )


def test_scores_equal_bm25(make_dataset, build, tmp_path):
    """Up to a factor of k1 + 1, with passages so short that Lucene's one-byte lengths are exact."""
    dataset = corpus(
        make_dataset,
        "red fox red",
        "red hen",
        "blue whale in the deep blue sea",
        "hen",
        "the foxes",
    )
    queries = QueryBatch(np.arange(3), ["red hen red", "the deep fox", "blue"])
    own = build(dataset).search(queries, 4)
    embedded = (
        Bm25Spec(stemmer="porter")
        .build(context(tmp_path / "bm25", dataset=dataset))
        .search(queries, 4)
    )
    np.testing.assert_array_equal(own.rows, embedded.rows)
    np.testing.assert_allclose(own.scores, embedded.scores * 1.9, rtol=1e-5)


def test_k1_b_and_analyzer_configure_the_index(make_dataset, build):
    dataset = corpus(make_dataset, "running runs", "run over a long road that never ends", "the")
    plain = search(build(dataset, language="none"), "run", "the")
    assert plain.rows[:, :2].tolist() == [[1, -1], [2, -1]], "no stemmer and no stop words"
    assert search(build(dataset), "run", "the").rows[:, :2].tolist() == [[0, 1], [-1, -1]]
    assert (
        search(build(dataset, k1=0), "run").scores[0, 0]
        == search(build(dataset, k1=0), "run").scores[0, 1]
    )
    with pytest.raises(
        ComponentError,
        match=r"cannot use this `analyzer` \(.*smartcn.*\): name one that the server has",
    ):
        build(dataset, analyzer="smartcn")


def test_scores_of_title_and_text_are_added(tmp_path, build):
    passages = [["a", "b", "c"], ["red fox", "", "red"], ["hen", "red fox", "red"], ["s"] * 3]
    write_table(tmp_path / "passages.arrow", PASSAGES, [pa.table(passages, schema=PASSAGES)])
    dataset = Dataset(tmp_path, "titles")
    added = search(build(dataset, fields="title_and_text"), "red", depth=3)
    assert added.rows[0, 0] == 2, "red in both fields"
    assert added.scores[0, 0] > search(build(dataset), "red", depth=3).scores[0, 0]


def test_ties_go_to_the_lower_row_on_any_number_of_shards(make_dataset, build):
    dataset = corpus(make_dataset, *["same text here"] * 40)
    for shards in (1, 3):
        hits = search(build(dataset, number_of_shards=shards), "text", depth=7)
        assert hits.rows.tolist() == [list(range(7))]


def test_statistics_cover_all_shards(tiny_dataset, build):
    queries = tiny_dataset.queries.texts(range(24))
    whole, divided = (
        search(build(tiny_dataset, number_of_shards=shards), *queries) for shards in (1, 4)
    )
    np.testing.assert_array_equal(whole.rows, divided.rows)
    np.testing.assert_allclose(whole.scores, divided.scores, rtol=1e-6)


ANY_TEXT = [
    "red AND NOT (fox OR hen)", '"red fox"~3', "text:red^5 +fox -hen", "red*  ?ed /re[d]/",
    'a "quote', "\\ red \\", "🦊 red", "{}[]:!", "\x00red\t\n", "the of and", "", "   ",
    '{"match_all": {}}', "red " * 3000, "x" * 100_000, "赤い狐",
]  # fmt: skip


def test_any_query_is_plain_text(make_dataset, build):
    dataset = corpus(make_dataset, "red fox", "blue hen", "quote a NOT or", "match all")
    retriever = build(dataset, query_batch_size=5)
    hits = search(retriever, *ANY_TEXT)
    found = [set(row[row >= 0].tolist()) for row in hits.rows]
    assert found == [
        {0, 1},
        {0},
        {0, 1},
        {0},
        {2},
        {0},
        {0},
        set(),
        {0},
        set(),
        set(),
        set(),
        {3},
        {0},
        set(),
        set(),
    ]
    alone = [search(retriever, text) for text in ANY_TEXT]
    np.testing.assert_array_equal(hits.rows, np.concatenate([one.rows for one in alone]))


def test_a_query_beyond_the_clause_limit_is_truncated_with_a_warning(make_dataset, build):
    """5,000 words are searched whole; 30,000 words are truncated at the end, with a warning."""
    dataset = corpus(make_dataset, "needle", "thread", "haystack")
    progress = RecordingProgress()
    retriever = build(dataset, progress)
    noise = [f"w{i}" for i in range(30_000)]
    assert search(retriever, " ".join([*noise[:5000], "needle"])).rows[0, :2].tolist() == [0, -1]
    assert not progress.warnings
    hits = search(retriever, "thread", " ".join(["needle", *noise, "haystack"]))
    assert hits.rows[:, :2].tolist() == [[1, -1], [0, -1]]
    assert (
        "1 of 2 queries have more words than the server accepts in one query and were truncated"
        in progress.warnings[0]
    )


def test_a_second_run_reuses_the_index(
    make_dataset, elasticsearch_proxy, elasticsearch_owner, build
):
    dataset = corpus(make_dataset, "red fox", "blue hen")
    first = search(build(dataset, url=elasticsearch_proxy.url), "fox")
    sent = len(elasticsearch_proxy.requests("PUT", "_bulk"))
    again = search(build(dataset, url=elasticsearch_proxy.url), "fox")
    assert sent == len(elasticsearch_proxy.requests("PUT", "_bulk")) == 1
    np.testing.assert_array_equal(first.rows, again.rows)
    (index,) = own_indices(elasticsearch_proxy.url, elasticsearch_owner)
    assert (index.corpus, index.rows) == (FileHashes().of(dataset.files("passage")[0]), 2)
    assert index.bytes > 0
    retriever = build(dataset, url=elasticsearch_proxy.url)
    assert retriever.index_bytes > 0


def test_only_the_main_rank_creates_an_index(
    make_dataset, elasticsearch_url, elasticsearch_owner, tmp_path
):
    dataset = corpus(make_dataset, "red fox")
    ElasticsearchRetrieverSpec(url=elasticsearch_url).build(
        context(
            tmp_path,
            dataset=dataset,
            owner=elasticsearch_owner,
            ranks=FakeRanks(rank=1, count=2),
        )
    )
    assert own_indices(elasticsearch_url, elasticsearch_owner) == []


def test_only_tagged_indices_are_listed_and_removed(
    make_dataset, build, client, elasticsearch_url, elasticsearch_owner, foreign_index
):
    build(corpus(make_dataset, "red fox"))
    theirs = foreign_index({"1": {"text": "red"}})
    client.indices.create(
        index="recipekit-untagged", mappings={"_meta": {"recipekit": {"made_by": "someone"}}}
    )
    try:
        remote = ElasticsearchRetrieverSpec(url=elasticsearch_url).remote()
        names = [index.name for index in remote.indices()]
        assert theirs not in names
        assert "recipekit-untagged" not in names
        for name in (theirs, "recipekit-untagged", "recipekit-*", "_all", "recipekit-gone"):
            with pytest.raises(
                ComponentError, match="was not made by recipekit, and is not removed"
            ):
                remote.remove(name)
        (own,) = own_indices(elasticsearch_url, elasticsearch_owner)
        remote.remove(own.name)
        assert own_indices(elasticsearch_url, elasticsearch_owner) == []
        assert client.indices.exists(index=theirs)
        assert ElasticsearchRetrieverSpec(index=theirs).remote() is None
    finally:
        client.indices.delete(index="recipekit-untagged")


def test_a_damaged_index_is_created_again(
    make_dataset, build, client, elasticsearch_url, elasticsearch_owner
):
    dataset = corpus(make_dataset, "red fox", "red hen")
    build(dataset)
    (index,) = own_indices(elasticsearch_url, elasticsearch_owner)
    client.delete(index=index.name, id="1", refresh=True)
    progress = RecordingProgress()
    assert search(build(dataset, progress), "red").rows[0, :2].tolist() == [0, 1]
    assert "was changed by someone else: it is created again" in progress.warnings[0]


# An existing index
# ------------------------------------------------------------------------------------------


def test_an_existing_index_is_searched_and_not_changed(make_dataset, build, foreign_index, client):
    dataset = corpus(make_dataset, "red fox", "blue hen", "red hen")
    index = foreign_index(
        {
            "x": {"isbn": "p2", "body": "red hen"},
            "y": {"isbn": "p0", "body": "red red"},
            "z": {"isbn": "p9", "body": "green"},
        },
        isbn={"type": "keyword"},
        body={"type": "text"},
    )
    retriever = build(dataset, index=index, id_field="isbn", text_field="body")
    before = client.indices.stats(index=index, level="shards").body["indices"][index]["shards"][
        "0"
    ][0]["seq_no"]
    assert search(retriever, "red", "hen").rows[:, :3].tolist() == [[0, 2, -1], [2, -1, -1]]
    assert (
        client.indices.stats(index=index, level="shards").body["indices"][index]["shards"]["0"][0][
            "seq_no"
        ]
        == before
    )
    client.indices.put_alias(index=index, name=f"{index}-alias")
    through = build(dataset, index=f"{index}-alias", id_field="isbn", text_field="body")
    np.testing.assert_array_equal(search(through, "red").rows, search(retriever, "red").rows)
    assert through.index_bytes == retriever.index_bytes > 0


def test_title_and_text_of_an_existing_index_are_searched(make_dataset, build, foreign_index):
    dataset = corpus(make_dataset, "red fox", "blue hen")
    index = foreign_index(
        {"p0": {"title": "red", "text": "fox"}, "p1": {"title": "red", "text": "red"}}
    )
    assert search(build(dataset, index=index, title_field="title"), "red").rows[0, :2].tolist() == [
        1,
        0,
    ]
    assert search(build(dataset, index=index), "red").rows[0, :2].tolist() == [1, -1]


def test_unknown_hits_are_dropped_and_counted(make_dataset, build, foreign_index):
    dataset = corpus(make_dataset, "red fox", "blue hen")
    index = foreign_index(
        {**{f"p{i}": {"text": "red"} for i in range(2)}, "stranger": {"text": "red"}}
    )
    retriever = build(dataset, index=index, max_unknown_ids=0.5)
    assert search(retriever, "red").rows[0, :3].tolist() == [0, 1, -1]
    assert retriever.counts == {"hits": 3, "unknown": 1}
    with pytest.raises(
        ComponentError,
        match=f"index '{index}': 1 of 3 hits are passages that were not collected, for example "
        "'stranger'",
    ):
        search(build(dataset, index=index), "red")


def test_an_index_has_the_ids_of_one_source_among_several(tmp_path, build, foreign_index):
    columns = [["books/1", "wiki/1"], ["", ""], ["red", "red"], ["books", "wiki"]]
    write_table(tmp_path / "passages.arrow", PASSAGES, [pa.table(columns, schema=PASSAGES)])
    dataset, index = Dataset(tmp_path, "two sources"), foreign_index({"1": {"text": "red"}})
    assert search(build(dataset, index=index, source="wiki"), "red").rows[0, 0] == 1
    with pytest.raises(
        ComponentError, match="source 'wikis' has no passages; there are: books, wiki"
    ):
        build(dataset, index=index, source="wikis")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"text_field": "txt"},
            r"has no field 'txt' \(`text_field`\). Did you mean 'text'\? "
            r"Its fields: text, title, year",
        ),
        ({"text_field": "year"}, r"field 'year' \(`text_field`\) has type long, not text"),
        ({"id_field": "isbn"}, r"has no field 'isbn' \(`id_field`\)"),
        (
            {"id_field": "year"},
            r"document 'p0': field 'year' \(`id_field`\) has 0 values instead of one",
        ),
    ],
)
def test_fields_that_do_not_fit_are_an_error(make_dataset, build, foreign_index, fields, message):
    dataset = corpus(make_dataset, "red fox")
    index = foreign_index({"p0": {"text": "red"}}, year={"type": "long"})
    with pytest.raises(ComponentError, match=message):
        search(build(dataset, index=index, **fields), "red")


def test_a_depth_beyond_the_result_window_is_an_error(make_dataset, build, foreign_index):
    dataset = corpus(make_dataset, "red fox")
    index = foreign_index({"p0": {"text": "red"}})
    with pytest.raises(
        ComponentError,
        match=r"cannot return so many hits per query \(.*\[10000\].*\): lower `depth`",
    ):
        search(build(dataset, index=index), "red", depth=10_001)


def test_a_batch_without_queries_has_no_hits(make_dataset, build):
    assert search(build(corpus(make_dataset, "red fox"))).rows.shape == (0, 10)


def test_a_depth_beyond_the_default_window_is_searched(make_dataset, build):
    dataset = corpus(make_dataset, *["red"] * 10_500)
    hits = search(build(dataset), "red", depth=10_600)
    np.testing.assert_array_equal(hits.rows[0, :10_500], np.arange(10_500))
    assert (hits.rows[0, 10_500:] == -1).all()


# Real data
# ------------------------------------------------------------------------------------------


def beir(folder: Path, name: str) -> tuple[Dataset, QueryBatch, pa.Table]:
    """A BEIR data set as collected, its test queries and their labels."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no {DATA / name}")
    passages, queries = (
        [json.loads(line) for line in (DATA / name / f"{part}.jsonl").read_text().splitlines()]
        for part in ("corpus", "queries")
    )
    columns = [
        [p["_id"] for p in passages],
        [p["title"] for p in passages],
        [p["text"] for p in passages],
        ["beir"] * len(passages),
    ]
    write_table(folder / "passages.arrow", PASSAGES, [pa.table(columns, schema=PASSAGES)])
    judged = [
        line.split("\t")
        for line in (DATA / name / "qrels" / "test.tsv").read_text().splitlines()[1:]
    ]
    wanted = {query for query, _, _ in judged}
    queries = [query for query in queries if query["_id"] in wanted]
    row_of = {query["_id"]: row for row, query in enumerate(queries)}
    passage_row = {passage["_id"]: row for row, passage in enumerate(passages)}
    pairs = sorted(
        (row_of[query], passage_row[passage], float(grade))
        for query, passage, grade in judged
        if passage in passage_row
    )
    labels = pa.table(list(map(list, zip(*pairs, strict=True))), schema=LABELS)
    return (
        Dataset(folder, name),
        QueryBatch(np.arange(len(queries)), [query["text"] for query in queries]),
        labels,
    )


ANSERINI = {
    ("nfcorpus", "text"): 0.322,
    ("nfcorpus", "title_and_text"): 0.325,
    ("scifact", "text"): 0.679,
    ("scifact", "title_and_text"): 0.665,
}
"""nDCG@10 of its regressions `beir-v1.0.0-*.flat` and `.multifield`, with k1 0.9 and b 0.4."""


@pytest.mark.parametrize("name", ["nfcorpus", "scifact"])
def test_quality_equals_anserini_and_bm25(name, tmp_path, build):
    dataset, queries, labels = beir(tmp_path, name)

    def ndcg(retriever):
        hits = retriever.search(queries, 100)
        return float(np.mean(per_query_metrics(hits, queries.rows, labels, ["ndcg@10"])["ndcg@10"]))

    lucene = {
        fields: ndcg(build(dataset, fields=fields, tokenization="analyzer"))
        for fields in ("text", "title_and_text")
    }
    assert lucene == {fields: pytest.approx(ANSERINI[name, fields], abs=0.006) for fields in lucene}
    own = ndcg(build(dataset))
    assert own == pytest.approx(ANSERINI[name, "text"], abs=0.006)
    assert own == pytest.approx(
        ndcg(Bm25Spec().build(context(tmp_path / "bm25", dataset=dataset))), abs=0.01
    )


def test_identifiers_are_split_into_words_as_in_bm25(tmp_path, make_dataset, build):
    passages = [
        ("p0", "def read_table(path): return os.path.join(path)"),
        ("p1", "a chair and a lamp"),
        ("p2", "table, as in furniture"),
    ]
    dataset = make_dataset(
        [("q", "read table", "test"), ("q2", "path join", "test")], passages, {(0, 0): 1.0}
    )
    queries = QueryBatch(np.array([0, 1]), ["read table", "path join"])
    assert build(dataset).search(queries, 3).rows[:, 0].tolist() == [0, 0]
    assert build(dataset, tokenization="analyzer").search(queries, 3).rows[:, 0].tolist() == [2, 0]
