"""An error about a loss that is not finite names the texts behind it, on any rank."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.ranks import join_cpu_group, start_ranks
from helpers.train_inputs import COORDINATE_ASCENT, IN_BATCH, train_inputs, train_section
from recipekit.component import MaskedTokens, Ranks, SingleProcess
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.pipeline.worker import leave
from recipekit.stages.train.train import train
from recipekit.training.forward import EncoderForward
from recipekit.training.non_finite import NonFiniteTexts, non_finite_texts

COUNT = 2
PHASES = {
    "in_batch": IN_BATCH,
    "query half-phase": {**COORDINATE_ASCENT, "measure_exact_loss": False},
}
QUERIES = (1, 2, 6)
"""The queries whose embeddings are NaN in turn."""
CASES = ("embedding", "loss", "gradient", "none")


def error_of(phase: str, query: int, model: Path, dataset: Path, out: Path, ranks: Ranks) -> str:
    """The error of a phase in which a query's embedding is NaN."""
    inputs = train_inputs(out, model, Dataset(dataset, "test-dataset"), ranks=ranks)
    ids = inputs.tokens("student", "query").take(np.array([query]))[0].tolist()

    def spoil(module: Any, arguments: Any, embeddings: torch.Tensor) -> torch.Tensor:
        features, _ = arguments
        lengths = features["attention_mask"].sum(1).tolist()
        texts = [row[:n].tolist() for row, n in zip(features["input_ids"], lengths, strict=True)]
        is_spoiled = torch.tensor([text == ids for text in texts])
        return embeddings.masked_fill(is_spoiled[:, None], torch.nan)

    encoder: Any = inputs.unprepared_encoder("student")
    encoder.register_forward_hook(spoil)
    section = train_section(PHASES[phase], eval_every_epochs=None, max_tokens_per_batch=24)
    with pytest.raises(RunError) as error:
        train(inputs, section, out / "out")
    assert error.value.code == "RK632"
    return str(error.value)


def errors_of(model: Path, dataset: Path, out: Path, ranks: Ranks) -> dict[str, str]:
    """The errors of all phases and queries."""
    return {
        f"{phase} {query}": error_of(phase, query, model, dataset, out / f"{phase}-{query}", ranks)
        for phase in PHASES
        for query in QUERIES
    }


def found(case: str, ranks: Ranks) -> NonFiniteTexts:
    """What is found where the last rank has the fault."""
    forward = EncoderForward(None, {}, ranks, "fp32", False, 64)  # type: ignore[arg-type]
    is_last = ranks.rank == ranks.count - 1
    rows = np.array([10, 20]) + ranks.rank
    forward.embedded = {"query": [rows, rows]}
    is_finite = torch.tensor([True, not (is_last and case == "embedding")])
    forward.is_finite = {"query": [is_finite, is_finite]}
    loss = torch.tensor(torch.inf if is_last and case == "loss" else 1.0)
    gradient_is_finite = torch.tensor(not (is_last and case == "gradient"))
    return non_finite_texts(forward, loss, gradient_is_finite, ranks)


def on_a_rank(rank: int, folder: Path, model: Path, dataset: Path) -> None:
    torch.set_num_threads(1)
    ranks = join_cpu_group(rank, COUNT, folder)
    described = {
        case: found(case, ranks).describe(lambda rows: str(rows["query"].tolist()), COUNT)
        for case in CASES
    }
    errors = errors_of(model, dataset, folder / "ranks", ranks)
    (folder / f"{rank}.json").write_text(json.dumps([described, errors]))
    leave(0)


@pytest.mark.slow
def test_every_rank_names_the_text_whose_embedding_is_not_finite(
    tmp_path: Path, tiny_model: Path, tiny_dataset: Dataset
) -> None:
    start_ranks(on_a_rank, COUNT, tmp_path, tiny_model, tiny_dataset.path)
    (described, errors), other = (
        json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(COUNT)
    )
    assert other == [described, errors], "the runner shows that of any rank"
    alone = errors_of(tiny_model, tiny_dataset.path, tmp_path / "alone", SingleProcess())
    steps, ranks = set(), set()
    for name, error in errors.items():
        query = name.split()[-1]
        one = re.fullmatch(
            r"training failed at step (\d) in phase first on rank (\d) \(embeddings that are not "
            rf"finite: queries 'q{query}'\): the loss is nan, learning rate .*",
            error,
        )
        assert one, error
        steps.add(int(one[1]))
        ranks.add(int(one[2]))
        assert error.replace(f" on rank {one[2]}", "") == alone[name]
    assert min(steps) == 1, "steps count from 1"
    assert ranks == {0, 1}
    assert described == {
        "embedding": " on rank 1 (embeddings that are not finite: [21])",
        "loss": " on rank 1 (batch: [11, 21])",
        "gradient": " on rank 1 (batch: [11, 21])",
        "none": " (batch: [10, 20, 11, 21])",
    }


def test_a_text_whose_masked_tokens_have_a_loss_that_is_not_finite_is_found() -> None:
    class Encoder:
        def collate(self, ids: Any, side: Any) -> dict[str, torch.Tensor]:
            return {}

        def __call__(self, features: Any, side: Any, masked: MaskedTokens) -> torch.Tensor:
            return torch.tensor([1.0, 2.0, torch.nan, 3.0])

    forward = EncoderForward(Encoder(), {}, SingleProcess(), "fp32", False, 64)  # type: ignore[arg-type]
    ids = [np.arange(3), np.arange(2), np.arange(4)]
    positions = torch.tensor([0, 4, 5, 8])  # one in the first, one in the second, two in the third
    rows = np.array([7, 8, 9])
    forward.masked(ids, MaskedTokens(positions, positions), rows, "passage", [0])
    texts = non_finite_texts(forward, torch.tensor(1.0), torch.tensor(True), SingleProcess())
    assert texts.are_at_fault
    assert {side: rows.tolist() for side, rows in texts.rows.items()} == {"passage": [9]}
