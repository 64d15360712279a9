"""An LLM judge that calls the real test server."""

from types import SimpleNamespace

import pytest

from recipekit.component import Account, Spending
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
    """The grades by (query, passage) text."""
    queries, passages = (side.texts(range(len(side))) for side in (data.queries, data.passages))
    return {
        (query, passage): (q + p) % 4
        for q, query in enumerate(queries)
        for p, passage in enumerate(passages)
    }


@pytest.fixture
def run(tmp_path, data):
    """`run(server, batch(), max_calls=..., **fields)`: judge the pairs.

    Returns the verdicts by pair, the counts, the judge and its progress.
    """

    def judge(
        server,
        batch,
        *,
        scratch="scratch",
        max_calls=None,
        max_cost_usd=None,
        seed=13,
        calls="calls.sqlite",
        **fields,
    ):
        defaults = {
            "model": "openai/test-model",
            "api_base": f"{server.url}/v1",
            "canary_share": 0.0,
            "concurrency": 8,
            "max_attempts": 2,
        }
        spec = LlmJudgeSpec(**{**defaults, **fields})
        progress = RecordingProgress()
        spending = Spending((Account(scratch, max_cost_usd, max_calls),), tmp_path / calls)
        built = spec.build(
            context(
                tmp_path / scratch, dataset=data, seed=seed, progress=progress, spending=spending
            )
        )
        pairs = {}
        for part in built.judge([batch]):
            for row, pair in enumerate(
                zip(part.query.tolist(), part.passage.tolist(), strict=True)
            ):
                pairs[pair] = SimpleNamespace(
                    verdict=Verdict(int(part.verdict[row])),
                    grade=float(part.grade[row]),
                    confidence=float(part.confidence[row]),
                    reason=part.reason and part.reason[row],
                    ungraded=bool(part.ungraded[row]),
                )
        return SimpleNamespace(pairs=pairs, counts=built.counts, progress=progress, judge=built)

    return judge
