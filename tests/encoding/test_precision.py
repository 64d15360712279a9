"""bf16 is used on devices that support it; others compute in fp32 instead of emulating it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recipekit.component import SingleProcess
from recipekit.encoding import precision
from recipekit.encoding.embed import embed_tokens
from recipekit.encoding.precision import computes_in_bf16, name_device, recorded_precisions
from recipekit.encoding.tokens import TokenizedTexts, tokenize_table
from recipekit.testing import RecordingProgress


@pytest.fixture
def cpu_with_bf16(monkeypatch: pytest.MonkeyPatch):
    """`cpu_with_bf16(supported)`: make this CPU appear to support bf16 or not."""

    def pretend(supported: bool) -> None:
        precision._has_bf16.cache_clear()
        monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: supported)

    yield pretend
    precision._has_bf16.cache_clear()


@pytest.mark.parametrize(
    ("requested", "supported", "used"),
    [("bf16", True, True), ("bf16", False, False), ("fp32", True, False)],
)
def test_bf16_is_used_where_it_is_requested_and_supported(
    cpu_with_bf16, requested: str, supported: bool, used: bool
) -> None:
    cpu_with_bf16(supported)
    assert computes_in_bf16(requested, torch.device("cpu")) is used


def test_without_bf16_support_embeddings_equal_those_of_fp32(
    cpu_with_bf16, make_encoder, table, tmp_path: Path
) -> None:
    tokenize_table(make_encoder(), table, "passage", tmp_path / "tokens", RecordingProgress())
    tokens = TokenizedTexts.open(tmp_path / "tokens")

    def embeddings(precision: str) -> np.ndarray:
        return embed_tokens(
            make_encoder(precision=precision), tokens, np.arange(50), "passage", SingleProcess()
        )

    cpu_with_bf16(False)
    np.testing.assert_array_equal(embeddings("bf16"), embeddings("fp32"))
    cpu_with_bf16(True)
    rounding = np.abs(embeddings("bf16") - embeddings("fp32")).max()
    assert 1e-5 < rounding < 0.05, "bf16 keeps 8 bits; fp32 in other batches differs by 1e-7"


@pytest.mark.parametrize(
    ("requested", "supported", "named"),
    [
        ("bf16", True, "CPU, bf16"),
        ("bf16", False, "CPU, bf16 in fp32"),
        ("fp32", True, "CPU, fp32"),
        ("fp32", False, "CPU, fp32"),
    ],
)
def test_the_device_name_states_the_precision_that_was_used(
    cpu_with_bf16, make_encoder, table, tmp_path: Path, requested: str, supported: bool, named: str
) -> None:
    cpu_with_bf16(supported)
    encoder = make_encoder(precision=requested)
    tokenize_table(encoder, table, "passage", tmp_path / "tokens", RecordingProgress())
    tokens = TokenizedTexts.open(tmp_path / "tokens")
    with recorded_precisions() as used:
        assert name_device("cpu", used) == "CPU"
        for _ in range(2):
            embed_tokens(encoder, tokens, np.arange(5), "passage", SingleProcess())
    with recorded_precisions() as later:
        pass
    assert (name_device("cpu", used), name_device("cpu", later)) == (named, "CPU")


def test_bf16_support_of_this_cpu_is_detected() -> None:
    """torch detects the instruction that Linux lists in /proc/cpuinfo."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if "avx2" not in flags:
        pytest.skip("needs Linux on x86")
    assert precision._cpu_has_bf16() == ("avx512_bf16" in flags)
