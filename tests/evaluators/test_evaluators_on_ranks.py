"""Evaluators that embed texts, on several ranks."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from helpers.ranks import run_on_cpu_ranks
from recipekit.component import System
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.embed_texts import embed_texts
from recipekit.evaluators.sts import StsSpec
from recipekit.testing import context


@pytest.mark.slow
def test_all_ranks_encode_and_the_main_one_has_the_figures(
    tiny_model: Path, words: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "sts.jsonl"
    rows = (
        {"sentence1": a, "sentence2": f"{b} {a}", "score": number % 5}
        for number, (a, b) in enumerate(pairwise(words))
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    run_on_cpu_ranks(2, "evaluate_on_ranks", [tmp_path, tiny_model])

    main, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert main["passes"] == other["passes"] > 10
    assert other["figures"] == {"sts": {}, "mteb": {}, "again": {}}
    figures = main["figures"]
    assert figures["mteb"] == figures["again"]
    spearman = figures["sts"]["spearman_cosine"]
    assert figures["mteb"]["own cosine_spearman"] == pytest.approx(spearman, abs=1e-4)

    made = context(tmp_path / "alone")
    encoder = BiEncoderSpec(model=str(tiny_model), precision="fp32").build(made)
    alone = System(
        "trained", lambda: None, lambda: encoder, "cosine",  # type: ignore[arg-type, return-value]
        lambda texts, side: embed_texts(encoder, texts, side, made.ranks, made.progress),
    )  # fmt: skip
    rows_alone = StsSpec(file=file, bootstrap_samples=100).build(made).evaluate([alone])
    assert spearman == pytest.approx(rows_alone[0]["value"], abs=1e-5)
