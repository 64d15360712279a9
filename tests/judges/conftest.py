"""A judge that asks the real test server."""

from types import SimpleNamespace

import pytest

from recipekit.component import Spending
from recipekit.judges.llm import LlmJudgeSpec
from recipekit.records import Verdict
from recipekit.testing import RecordingProgress, context


@pytest.fixture
def data(make_dataset):
    """6 queries and 30 passages; the grade of query q and passage p is (q + p) % 4."""
    queries = [(f"q{row}", f"question number {row}", "train") for row in range(6)]
    passages = [(f"p{row}", f"passage number {row} says something") for row in range(30)]
    return make_dataset(queries, passages, {(row, row): 1.0 for row in range(6)})


@pytest.fixture
def truths(data):
    texts = [side.texts(range(len(side))) for side in (data.queries, data.passages)]
    return {
        (query, passage): (q + p) % 4
        for q, query in enumerate(texts[0])
        for p, passage in enumerate(texts[1])
    }


@pytest.fixture
def run(tmp_path, data):
    """`run(server, batch(), max_calls=..., **fields)`: what the judge says, by pair, with the judge
    and its progress.
    """

    def go(
        server,
        pairs,
        *,
        scratch="scratch",
        max_calls=None,
        max_cost_usd=None,
        seed=13,
        calls="calls.sqlite",
        **fields,
    ):
        usual = {
            "model": "openai/test-model",
            "api_base": f"{server.url}/v1",
            "canaries": 0.0,
            "concurrency": 8,
            "attempts": 2,
        }
        spec = LlmJudgeSpec(**{**usual, **fields})
        progress = RecordingProgress()
        spending = Spending(scratch, max_cost_usd, max_calls, tmp_path / calls)
        built = spec.build(
            context(
                tmp_path / scratch, dataset=data, seed=seed, progress=progress, spending=spending
            )
        )
        said = {}
        for some in built.judge([pairs]):
            for place, pair in enumerate(
                zip(some.query.tolist(), some.passage.tolist(), strict=True)
            ):
                said[pair] = SimpleNamespace(
                    verdict=Verdict(int(some.verdict[place])),
                    grade=float(some.grade[place]),
                    confidence=float(some.confidence[place]),
                    reason=some.reason and some.reason[place],
                    ungraded=bool(some.ungraded[place]),
                )
        return SimpleNamespace(said=said, counts=built.counts, progress=progress, judge=built)

    return go
