"""Heads that predict masked tokens: the checkpoint's own, a new one, and models without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from helpers.tiny_models import WIDTH, write_tiny_model
from recipekit.component import MaskedTokens
from recipekit.encoders import language_model_head
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoders.language_model_head import CheckpointHead, TiedHead
from recipekit.errors import ModelError
from recipekit.testing import RecordingProgress, context

pytestmark = pytest.mark.slow

TEXTS = ["river mountain valley ocean", "violin piano", "bread cheese butter honey pepper salt"]
MASKED = ["bert", "mpnet", "xlm_roberta", "modernbert"]
HEADS = {
    "bert": "BertForMaskedLM",
    "mpnet": "MPNetForMaskedLM",
    "xlm_roberta": "XLMRobertaForMaskedLM",
    "modernbert": "ModernBertForMaskedLM",
}


def load(model: Path, tmp_path: Path) -> Any:
    spec = BiEncoderSpec(model=str(model), precision="fp32")
    return spec.build(context(tmp_path / "context", progress=RecordingProgress()))


def with_own_head(family: str, words: list[str], folder: Path) -> tuple[Path, Any]:
    """A checkpoint with a language-model head in a sentence-transformers folder, and the model."""
    plain = write_tiny_model(family, words, folder)
    torch.manual_seed(3)
    config = transformers.AutoConfig.from_pretrained(plain)
    whole = getattr(transformers, HEADS[family])(config).eval()
    for name, parameter in whole.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    (folder / "own").mkdir()
    whole.save_pretrained(folder / "own")
    transformers.AutoTokenizer.from_pretrained(plain).save_pretrained(folder / "own")
    modules = [Transformer(str(folder / "own"), max_seq_length=64), Pooling(WIDTH, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "saved"))
    # sentence-transformers saves the transformer alone; a folder from the Hub has the head too.
    whole.save_pretrained(folder / "saved")
    return folder / "saved", whole


def losses(encoder: Any, every: int = 2) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Losses of every second token, with the features and labels that transformers takes."""
    ids, _ = encoder.tokenize(TEXTS, "passage")
    features = encoder.collate(ids, "passage")
    real = features["attention_mask"].bool()
    tokens = features["input_ids"][real]
    positions = torch.arange(0, len(tokens), every)
    labels = torch.full_like(tokens, -100)
    labels[positions] = tokens[positions]
    padded = torch.full_like(features["input_ids"], -100)
    padded[real] = labels
    encoder.eval()
    masked = MaskedTokens(positions, tokens[positions])
    return encoder(features, "passage", masked), {**features, "labels": padded}


@pytest.mark.parametrize("family", MASKED)
def test_the_checkpoints_own_head_gives_the_loss_of_transformers(
    family: str, words: list[str], tmp_path: Path
) -> None:
    folder, whole = with_own_head(family, words, tmp_path)
    encoder = load(folder, tmp_path)
    warnings: list[str] = []
    head = encoder.add_language_model_head(warnings.append)
    assert isinstance(head.logits, CheckpointHead)
    assert warnings == []
    ours, inputs = losses(encoder)
    with torch.no_grad():
        theirs = whole(**inputs).loss
    assert float(ours.detach().mean()) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("family", [*MASKED, "gemma3"])
def test_another_checkpoint_gets_a_head_that_shares_the_token_embeddings(
    family: str, words: list[str], tmp_path: Path
) -> None:
    encoder = load(write_tiny_model(family, words, tmp_path), tmp_path)
    head = encoder.add_language_model_head(pytest.fail)
    assert isinstance(head.logits, TiedHead)
    assert not any(module.training for module in head.modules()), "it follows the encoder"
    assert [tuple(one.shape) for one in head.parameters()] == [(len(encoder_table(encoder)),)]
    ours, _ = losses(encoder)
    ours.mean().backward()
    gradient = encoder_table(encoder).grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    assert head.logits.bias.grad.abs().sum() > 0
    assert encoder.add_language_model_head(pytest.fail) is head
    encoder.remove_language_model_head()
    assert "head" not in " ".join(encoder.state_dict())


def encoder_table(encoder: Any) -> torch.nn.Parameter:
    return encoder.towers["passage"][0].model.get_input_embeddings().weight


def test_the_loss_in_parts_equals_the_loss_at_once(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(write_tiny_model("bert", words, tmp_path), tmp_path)
    encoder.add_language_model_head(pytest.fail)
    results = []
    for logits in (2**24, 300):
        monkeypatch.setattr(language_model_head, "LOGITS", logits)
        encoder.zero_grad()
        ours, _ = losses(encoder, every=1)
        ours.mean().backward()
        results.append((ours.detach().numpy(), encoder_table(encoder).grad.numpy().copy()))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("t5", "the tokenizer of its T5EncoderModel has no mask token"),
        ("qwen3", "the tokenizer of its Qwen3Model has no mask token"),
        ("static", "a StaticEmbedding has no context to predict a token from"),
    ],
)
def test_a_model_that_cannot_predict_masked_tokens_is_refused(
    family: str, reason: str, words: list[str], tmp_path: Path
) -> None:
    folder = write_tiny_model(family, words, tmp_path)
    spec = BiEncoderSpec(model=str(folder), precision="fp32")
    assert spec.known_mask_token() is False
    encoder = load(folder, tmp_path)
    with pytest.raises(ModelError, match=reason) as error:
        encoder.add_language_model_head(pytest.fail)
    assert error.value.code == "RK417"


def test_a_decoder_with_a_mask_token_is_refused(words: list[str], tmp_path: Path) -> None:
    encoder = load(write_tiny_model("qwen3", words, tmp_path), tmp_path)
    encoder.towers["query"][0].tokenizer.add_special_tokens({"mask_token": "a"})
    with pytest.raises(ModelError, match="does not see the tokens after a masked one"):
        encoder.add_language_model_head(pytest.fail)


@pytest.mark.parametrize("family", MASKED)
def test_files_state_that_there_is_a_mask_token(
    family: str, words: list[str], tmp_path: Path
) -> None:
    folder = write_tiny_model(family, words, tmp_path)
    assert BiEncoderSpec(model=str(folder)).known_mask_token() is True
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert BiEncoderSpec(model=str(folder)).known_mask_token() is None
