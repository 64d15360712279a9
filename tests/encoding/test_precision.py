"""bf16 where the device has arithmetic for it, and fp32 where it would only be imitated."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recipekit.component import SingleProcess
from recipekit.encoding import precision
from recipekit.encoding.embed import embed_tokens
from recipekit.encoding.precision import computes_in_bf16, name_device
from recipekit.encoding.tokens import TokenizedTexts, tokenize_table
from recipekit.testing import RecordingProgress


@pytest.fixture
def on_a_cpu_that(monkeypatch: pytest.MonkeyPatch):
    """`on_a_cpu_that(has_bf16)`: as if this CPU had, or had not, arithmetic for it."""

    def pretend(has_bf16: bool) -> None:
        precision._has_bf16.cache_clear()
        monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: has_bf16)

    yield pretend
    precision._has_bf16.cache_clear()


@pytest.mark.parametrize(
    ("asked", "has", "computes"),
    [("bf16", True, True), ("bf16", False, False), ("fp32", True, False)],
)
def test_bf16_is_computed_where_it_is_asked_for_and_there(
    on_a_cpu_that, asked: str, has: bool, computes: bool
) -> None:
    on_a_cpu_that(has)
    assert computes_in_bf16(asked, torch.device("cpu")) is computes


def test_without_bf16_the_embeddings_are_those_of_fp32(
    on_a_cpu_that, make_encoder, table, tmp_path: Path
) -> None:
    tokenize_table(make_encoder(), table, "passage", tmp_path / "tokens", RecordingProgress())
    tokens = TokenizedTexts.open(tmp_path / "tokens")

    def embeddings(asked: str) -> np.ndarray:
        return embed_tokens(
            make_encoder(precision=asked), tokens, np.arange(50), "passage", SingleProcess()
        )

    on_a_cpu_that(False)
    np.testing.assert_array_equal(embeddings("bf16"), embeddings("fp32"))
    on_a_cpu_that(True)
    rounding = np.abs(embeddings("bf16") - embeddings("fp32")).max()
    assert 1e-5 < rounding < 0.05, "8 bits of a number; float32 in other batches gives 1e-7"


def test_a_report_says_what_was_computed_on(on_a_cpu_that) -> None:
    on_a_cpu_that(True)
    assert name_device("cpu") == "CPU"
    on_a_cpu_that(False)
    assert name_device("cpu") == "CPU, bf16 in fp32"


def test_this_cpu_is_asked_what_it_has() -> None:
    """Linux tells the instructions; what torch makes of them must agree with it on x86."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if "avx2" not in flags:
        pytest.skip("needs Linux on x86")
    assert precision._cpu_has_bf16() == ("avx512_bf16" in flags)
