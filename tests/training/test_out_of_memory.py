"""Where memory is not enough, forward passes become smaller, and results stay the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers.ranks import FakeRanks
from helpers.train_inputs import (
    BOTH_HALVES,
    COORDINATE_ASCENT,
    IN_BATCH,
    train_inputs,
    train_section,
)
from recipekit.component import SingleProcess
from recipekit.encoding.embed import embed_tokens
from recipekit.encoding.out_of_memory import is_out_of_memory
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import RanksOutOfMemory, RunError
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.infonce_math import InfoNCE
from recipekit.losses.passage_softmax import PassageSoftmax
from recipekit.stages.train import dev_evaluation
from recipekit.stages.train.train import train
from recipekit.testing import RecordingProgress
from recipekit.training import coordinate_ascent, frozen_sides
from recipekit.training.forward import EncoderForward

pytestmark = pytest.mark.slow

PHASES = pytest.mark.parametrize(
    "phase", [IN_BATCH, BOTH_HALVES], ids=lambda phase: str(phase["use"])
)


MATRYOSHKA = {
    **COORDINATE_ASCENT,
    "loss": {"use": "matryoshka", "loss": {"use": "exact_softmax"}, "dimensions": [32, 8]},
}


class SmallMemory:
    """Refuses forward passes over more padded tokens than fit, as a device without memory does."""

    def __init__(self, encoder: Any, fits: int, training: bool = True, first: int = 0) -> None:
        self.fits, self.training, self.refused = fits, training, 0
        self.first = first
        """Passes that fit in any case."""
        encoder.register_forward_pre_hook(self.check)

    def check(self, module: Any, arguments: Any) -> None:
        features, _ = arguments
        in_step = torch.is_grad_enabled()
        if features["input_ids"].numel() > self.fits and in_step == self.training:
            self.first -= 1
            if self.first >= 0:
                return
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "encoder" / "model.safetensors")


@PHASES
def test_a_step_that_does_not_fit_is_repeated_with_smaller_passes_and_the_same_result(
    phase: dict[str, Any], tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    section = train_section(phase, keep_weights="last")
    train(train_inputs(tmp_path / "a", tiny_model, tiny_dataset), section, tmp_path / "a" / "out")
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path / "b", tiny_model, tiny_dataset, progress=progress)
    memory = SmallMemory(inputs.encoder("student"), fits=16)
    train(inputs, section, tmp_path / "b" / "out")
    assert memory.refused > 1, "several attempts halved the passes"
    (warning,) = [one for one in progress.warnings if "out of memory" in one]
    assert warning == (
        "out of memory with 16,384 tokens in a forward pass: training continues with 16, with the "
        "same result. `train.max_tokens_per_batch: 16` avoids the failed attempts"
    )
    training = json.loads((tmp_path / "b" / "out" / "training.json").read_text())
    assert training["max_tokens_per_batch"] == 16 and training["resumed_from"] == []
    one, other = weights(tmp_path / "a" / "out"), weights(tmp_path / "b" / "out")
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=2e-4, rtol=1e-3)


def test_passes_of_short_texts_become_smaller_next_to_one_long_text() -> None:
    lengths = [10] * 100 + [4096]
    offsets = np.cumsum([0, *lengths])
    texts = TokenizedTexts(np.zeros(offsets[-1], np.int32), offsets, truncated=0)
    forward = EncoderForward(None, {"query": texts}, SingleProcess(), "fp32", False, 4096)

    def largest_pass() -> int:
        forward.start_step()
        passes = [own for (own,) in forward.passes(np.arange(100), "query")]
        forward.embedded["query"] = passes
        return max(map(len, passes))

    sizes = [largest_pass()]
    while forward.halve():
        sizes.append(largest_pass())
    assert sizes == [100, 100, 100, 51, 25, 12, 6, 3, 1]


def test_passes_become_smaller_until_their_graphs_are_not_kept_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recipekit.training.forward.CPU_PADDING", 0)  # a pass for each text
    lengths = [40, 30, 20]
    offsets = np.cumsum([0, *lengths])
    texts = TokenizedTexts(np.zeros(offsets[-1], np.int32), offsets, truncated=0)
    forward = EncoderForward(None, {"query": texts}, SingleProcess(), "fp32", False, 100)
    rows = np.arange(3)
    kept = [forward.fit_together(rows, "query", forward.passes(rows, "query"))]
    forward.embedded["query"] = [rows[:1], rows[1:2], rows[2:]]
    while forward.halve():
        forward.keeps_graphs = False
        kept.append(forward.fit_together(rows, "query", forward.passes(rows, "query")))
    assert kept == [True, False]


def test_one_text_that_does_not_fit_ends_the_run_in_one_line(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    SmallMemory(inputs.encoder("student"), fits=2)
    with pytest.raises(RunError, match="out of memory with one text in a forward pass") as error:
        train(inputs, train_section(IN_BATCH), tmp_path / "out")
    assert error.value.code == "RK634"


@PHASES
def test_a_run_without_memory_resumes_with_what_its_error_advises(
    phase: dict[str, Any],
    tiny_model: Path,
    tiny_dataset: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = train_section(phase, keep_weights="last")
    train(train_inputs(tmp_path / "a", tiny_model, tiny_dataset), section, tmp_path / "whole")
    monkeypatch.setattr("recipekit.training.loop.CHECKPOINT_SECONDS", 0.0)
    inputs = train_inputs(tmp_path / "b", tiny_model, tiny_dataset)
    SmallMemory(inputs.encoder("student"), fits=2, first=4)
    with pytest.raises(RunError, match="gradient_checkpointing: true"):
        train(inputs, section, tmp_path / "resumed")
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path / "c", tiny_model, tiny_dataset, progress=progress)
    smaller = {"max_tokens_per_batch": 16, "gradient_checkpointing": True}
    train(inputs, section.model_copy(update=smaller), tmp_path / "resumed")
    (resumed,) = [event for event in progress.events if event["event"] == "resume"]
    assert resumed["step"] > 0
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=2e-4, rtol=1e-3)


def test_one_of_several_ranks_asks_for_smaller_passes_of_all(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    section = train_section(IN_BATCH, eval_every_epochs=None)

    def out_of_memory(ranks: FakeRanks, fits: int) -> RunError:
        inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, ranks=ranks)
        SmallMemory(inputs.encoder("student"), fits)
        with pytest.raises(RunError) as error:
            train(inputs, section, tmp_path / "out")
        assert error.value.code == "RK634"
        return error.value

    error = out_of_memory(FakeRanks(count=2), fits=16)
    assert isinstance(error, RanksOutOfMemory)
    assert str(error) == (
        "out of memory on rank 0 at step 1 of 6, with 16,384 tokens in a forward pass: set "
        "train.max_tokens_per_batch: 8192 or less, or train.gradient_checkpointing: true"
    )
    error = out_of_memory(FakeRanks(count=2, pass_divisor=256), fits=16)
    assert "with 64 tokens in a forward pass" in str(error)
    error = out_of_memory(FakeRanks(count=2, pass_divisor=2**14), fits=2)
    assert not isinstance(error, RanksOutOfMemory), "smaller passes do not help"
    assert "out of memory on rank 0 with one text in a forward pass" in str(error)


def refuse_call(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, refused: int) -> None:
    """Let one call of a function, counted from 1, run out of memory."""
    function, calls = getattr(owner, name), count(1)

    def call(*arguments: Any, **options: Any) -> Any:
        if next(calls) == refused:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 30.00 GiB.")
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("cause", ["measured", "refused"])
@pytest.mark.parametrize("phase", [COORDINATE_ASCENT, MATRYOSHKA], ids=["plain", "matryoshka"])
def test_frozen_passages_that_do_not_fit_are_read_from_disk_with_the_same_result(
    cause: str,
    phase: dict[str, Any],
    tiny_model: Path,
    tiny_dataset: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = train_section({**phase, "refresh_every_steps": 2}, keep_weights="last")

    def trained(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[str]]:
        progress, out = RecordingProgress(), tmp_path / name / "out"
        inputs = train_inputs(tmp_path / name, tiny_model, tiny_dataset, progress=progress)
        train(inputs, section, out)
        notices = [str(event) for event in progress.events if "frozen embeddings" in str(event)]
        return weights(out), json.loads((out / "training.json").read_text()), notices

    copied: list[int] = []

    def copy(self: FrozenMatrix, device: str) -> FrozenMatrix:
        copied.append(self.matrix.nbytes)
        return replace(self, matrix=self.matrix.clone())

    def refuse(self: FrozenMatrix, device: str) -> FrozenMatrix:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 30.00 GiB.")

    monkeypatch.setattr(FrozenMatrix, "to", copy)
    one, training, notices = trained("copied")
    assert not notices
    assert set(copied) == {36 * 32 * 4}
    if cause == "measured":
        copied.clear()
        monkeypatch.setattr(frozen_sides, "available_memory", lambda device: 5000)
    else:
        monkeypatch.setattr(FrozenMatrix, "to", refuse)
    other, streamed, notices = trained("streamed")
    if cause == "measured":
        assert not copied
    room = {"measured": "5 kB of free memory", "refused": "too little memory"}[cause]
    assert len(notices) == 1
    assert f"the frozen embeddings take 5 kB and cpu has {room}: every forward pass" in notices[0]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert training["parts"] == streamed["parts"]
    # Where it fits, nothing changes.
    if cause == "measured":
        monkeypatch.setattr(frozen_sides, "available_memory", lambda device: 6000)
        assert not trained("fits")[2]
        assert copied


PASSAGE_HALF = {**BOTH_HALVES, "query_epochs": 0, "cycles": 1, "measure_exact_loss": False}
SCORES = pytest.mark.parametrize(
    ("phase", "owner", "name", "advice"),
    [
        pytest.param(
            IN_BATCH,
            InfoNCE,
            "__call__",
            r"5 queries and \d+ passages.* a lower `batch_size` or `num_hard_negatives`",
            id="in_batch",
        ),
        pytest.param(
            PASSAGE_HALF,
            PassageSoftmax,
            "block",
            "7 passages.* a lower `passage_batch_size` for the phase, or a lower `tile_size`",
            id="passage-half",
        ),
    ],
)


@SCORES
def test_scores_that_do_not_fit_are_not_repeated_with_smaller_passes(
    phase: dict[str, Any],
    owner: Any,
    name: str,
    advice: str,
    tiny_model: Path,
    tiny_dataset: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_call(monkeypatch, owner, name, 2)
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    section = train_section(phase, max_tokens_per_batch=16, eval_every_epochs=None)
    with pytest.raises(RunError, match=f"out of memory: the scores of .*{advice}") as error:
        train(inputs, section, tmp_path / "out")
    assert error.value.code == "RK634"
    assert "max_length" not in str(error.value)


@SCORES
def test_scores_that_do_not_fit_next_to_kept_graphs_are_repeated_without_them(
    phase: dict[str, Any],
    owner: Any,
    name: str,
    advice: str,
    tiny_model: Path,
    tiny_dataset: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = train_section(phase, eval_every_epochs=None, max_tokens_per_batch=64)
    train(train_inputs(tmp_path / "a", tiny_model, tiny_dataset), section, tmp_path / "a")
    refuse_call(monkeypatch, owner, name, 2)
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path / "b", tiny_model, tiny_dataset, progress=progress)
    train(inputs, section, tmp_path / "b")
    assert "with 64 tokens in a forward pass: training continues with 32" in progress.warnings[0]
    one, other = weights(tmp_path / "a"), weights(tmp_path / "b")
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("phase", "owner", "name"),
    [
        pytest.param(COORDINATE_ASCENT, ExactSoftmax, "_losses", id="query-half"),
        pytest.param(
            {**PASSAGE_HALF, "passage_gradient": "corpus"}, PassageSoftmax, "block", id="corpus"
        ),
    ],
)
def test_a_tile_of_scores_that_does_not_fit_with_one_text_is_named(
    phase: dict[str, Any],
    owner: Any,
    name: str,
    tiny_model: Path,
    tiny_dataset: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_call(monkeypatch, owner, name, 1)
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    section = train_section(
        {**phase, "measure_exact_loss": False}, eval_every_epochs=None, max_tokens_per_batch=1
    )
    with pytest.raises(RunError, match="scores of one text: set a lower `tile_size`") as error:
        train(inputs, section, tmp_path / "out")
    assert error.value.code == "RK634"


REFRESHED = {**BOTH_HALVES, "refresh_every_steps": 2}
FROZEN = r"the frozen embeddings take .* [kM]B on cpu: `precision: bf16` of the encoder halves them"
EXACT_LOSS = "the exact loss.* `measure_exact_loss: false` of the phase"


@pytest.mark.parametrize(
    ("owner", "name", "refused", "message"),
    [
        pytest.param(coordinate_ascent, "exact_loss", 1, EXACT_LOSS, id="exact-loss"),
        pytest.param(PassageSoftmax, "compute", 2, FROZEN, id="refresh"),
        pytest.param(torch.optim.AdamW, "step", 1, "AdamW's two .* train.lora", id="optimizer"),
        pytest.param(dev_evaluation, "exact_top_k", 1, "train.dev_corpus_size", id="dev"),
        pytest.param(PassageSoftmax, "compute", 1, FROZEN, id="passage-half"),
    ],
)
def test_memory_that_a_step_does_not_need_is_named_when_it_is_not_there(
    owner: Any,
    name: str,
    refused: int,
    message: str,
    tiny_model: Path,
    tiny_dataset: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_call(monkeypatch, owner, name, refused)
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    with pytest.raises(RunError, match=f"out of memory.*{message}") as error:
        train(inputs, train_section(REFRESHED), tmp_path / "out")
    assert error.value.code == "RK634"


def test_another_error_is_not_repeated(tiny_model: Path, tiny_dataset: Any, tmp_path: Path) -> None:
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)

    def fail(*_: object) -> None:
        raise RuntimeError("a kernel failed")

    inputs.encoder("student").register_forward_pre_hook(fail)  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="a kernel failed"):
        train(inputs, train_section(IN_BATCH, eval_every_epochs=None), tmp_path / "out")


@pytest.mark.parametrize(
    "ranks", [SingleProcess(), FakeRanks(count=2)], ids=["alone", "whole-weights"]
)
def test_encoding_divides_a_batch_that_does_not_fit(
    ranks: SingleProcess, tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    progress = RecordingProgress()
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    encoder, tokens = inputs.encoder("student"), inputs.tokens("student", "passage")
    rows = np.arange(len(tokens))

    def embed() -> np.ndarray:
        return embed_tokens(encoder, tokens, rows, "passage", ranks, progress=progress)

    whole = embed()
    memory = SmallMemory(encoder, fits=60, training=False)
    np.testing.assert_allclose(embed(), whole, atol=1e-6)
    assert memory.refused
    assert "each batch is divided into 4 parts, with the same result" in progress.warnings[-1]


def test_the_main_rank_reports_that_another_divides_its_batches(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    class DividedElsewhere(FakeRanks):
        def max(self, values: torch.Tensor) -> torch.Tensor:
            return 2 * values

    progress = RecordingProgress()
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    encoder, tokens = inputs.encoder("student"), inputs.tokens("student", "query")
    ranks = DividedElsewhere(count=2)
    embed_tokens(encoder, tokens, np.arange(4), "query", ranks, progress=progress)
    (warning,) = progress.warnings
    assert "some ranks divide each batch into 2 parts, with the same result" in warning


@dataclass(frozen=True)
class ShardedRanks(FakeRanks):
    """One of two ranks that shard weights."""

    @property
    def shards_weights(self) -> bool:
        return True


def test_ranks_that_shard_weights_divide_all_batches_into_the_same_number_of_parts(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    encoder, tokens = inputs.encoder("student"), inputs.tokens("student", "passage")
    passes = []
    encoder.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda module, arguments: passes.append(len(arguments[0]["input_ids"]))
    )

    def embed(texts: int, divisor: int) -> np.ndarray:
        passes.clear()
        ranks = ShardedRanks(count=1, pass_divisor=divisor)
        return embed_tokens(encoder, tokens, np.arange(texts), "passage", ranks)

    whole = embed(6, divisor=1)
    assert passes == [6]
    np.testing.assert_allclose(embed(6, divisor=4), whole, atol=1e-6)
    assert sorted(passes) == [1, 1, 2, 2]
    embed(2, divisor=4)
    assert passes == [1, 1, 1, 1], "without a text of its own, a rank makes a pass over one"
    ranks = ShardedRanks(rank=1, count=2, pass_divisor=4)  # all texts are in the first rank's batch
    passes.clear()
    embed_tokens(encoder, tokens, np.arange(2), "passage", ranks)
    assert passes == [1, 1, 1, 1]


def test_a_rank_that_shards_weights_asks_for_smaller_passes_of_all_while_encoding(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    encoder, tokens = inputs.encoder("student"), inputs.tokens("student", "passage")
    SmallMemory(encoder, fits=2, training=False)
    rows = np.arange(4)
    with pytest.raises(RanksOutOfMemory, match="rank 0 while encoding passage texts: set a lower"):
        embed_tokens(encoder, tokens, rows, "passage", ShardedRanks(count=2))
    with pytest.raises(RunError, match="with one of the passage texts in a forward pass") as error:
        embed_tokens(encoder, tokens, rows, "passage", ShardedRanks(count=2, pass_divisor=4))
    assert not isinstance(error.value, RanksOutOfMemory)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "MPS backend out of memory (MPS allocated: 18.13 GB)",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000 bytes",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "NCCL error: unhandled cuda error, Cuda failure 2 'out of memory'",
    ],
)
def test_a_lack_of_memory_is_recognized(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(RunError(message))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
