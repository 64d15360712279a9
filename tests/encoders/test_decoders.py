"""Decoders as encoders and cross-encoders: no padding token, padding on the left, last tokens."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from recipekit.encoding.pair_scores import load_scorer
from recipekit.errors import ModelError
from recipekit.judges.cross_encoder import CrossEncoderSpec
from recipekit.testing import RecordingProgress

pytestmark = pytest.mark.slow

SIZES: dict[str, dict[str, Any]] = {
    "GPT2": {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "Llama": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
    },
    "Qwen2": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
    },
}
TEXTS = ["salt of the sea", "a", "the tide rises and falls with the moon " * 3, "ice"]


def write_tokenizer(folder: Path, *, eos: bool, appends_eos: bool = False, side: str) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.train_from_iterator(
        ["salt of the sea"],
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<end>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if appends_eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A <end>", pair="$A $B <end>", special_tokens=[("<end>", 0)]
        )
    named = {"eos_token": "<end>"} if eos else {}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=128, padding_side=side, **named
    ).save_pretrained(folder)


def write_model(folder: Path, family: str, head: str, vocab_size: int = 300, **fields: Any) -> None:
    torch.manual_seed(3)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=vocab_size, bos_token_id=0, eos_token_id=0, **SIZES[family], **fields
    )
    model = getattr(transformers, f"{family}{head}")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # differences between scores are visible
    model.save_pretrained(folder)


@pytest.mark.parametrize(
    ("family", "side", "eos"),
    [
        ("GPT2", "left", True),
        ("GPT2", "right", False),
        ("Llama", "left", False),
        ("Llama", "right", True),
        ("Qwen2", "left", True),
        ("Qwen2", "right", False),
    ],
)
def test_a_decoder_encodes_each_text_as_if_it_were_alone(
    family: str, side: str, eos: bool, build, progress, tmp_path: Path
) -> None:
    write_tokenizer(tmp_path / "bare", eos=eos, side=side)
    write_model(tmp_path / "bare", family, "Model")
    encoder = build(model=tmp_path / "bare", pooling="lasttoken")
    token = "<end>" if eos else "[PAD]"
    notice = (
        f"the tokenizer of model '{tmp_path / 'bare'}' has no padding token, so '{token}' is used"
    )
    informed = notice in [event.get("message") for event in progress.events]
    assert informed or family == "Qwen2", "its tokenizer adds a padding token by itself"
    ids, _ = encoder.tokenize([*TEXTS, ""], "passage")
    with torch.no_grad():
        together = encoder(encoder.collate(ids, "passage"), "passage").numpy()
        alone = [encoder(encoder.collate([one], "passage"), "passage").numpy()[0] for one in ids]
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)

    encoder.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(theirs.encode(TEXTS, batch_size=1), together[:4], atol=1e-5)
    again = build(model=tmp_path / "saved")
    with torch.no_grad():
        ids, _ = again.tokenize(TEXTS, "passage")
        reloaded = again(again.collate(ids, "passage"), "passage").numpy()
    np.testing.assert_allclose(reloaded, together[:4], atol=1e-5)


def test_a_chat_model_embeds_texts_without_its_template(build, progress, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "bare", eos=True, side="left")
    write_model(tmp_path / "bare", "Llama", "Model")
    expected = embedded(build(model=tmp_path / "bare", pooling="lasttoken"))
    template = "{% for m in messages %}<end>{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
    (tmp_path / "bare" / "chat_template.jinja").write_text(template)

    encoder = build(model=tmp_path / "bare", pooling="lasttoken")

    np.testing.assert_array_equal(embedded(encoder), expected)
    notices = [event.get("message") for event in progress.events]
    assert any("texts are embedded as they are" in str(notice) for notice in notices)
    encoder.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(theirs.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_array_equal(embedded(build(model=tmp_path / "saved")), expected)


def test_an_encoder_that_reads_messages_is_refused(build, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "bare", eos=True, side="left")
    write_model(tmp_path / "bare", "Llama", "Model")
    (tmp_path / "bare" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    theirs = SentenceTransformer(str(tmp_path / "bare"), device="cpu")
    theirs.save(str(tmp_path / "chat"), create_model_card=False)
    with pytest.raises(ModelError, match="messages of a chat template") as caught:
        build(model=tmp_path / "chat")
    assert caught.value.code == "RK413"


def embedded(encoder: Any) -> Any:
    ids, _ = encoder.tokenize(TEXTS, "passage")
    with torch.no_grad():
        return encoder(encoder.collate(ids, "passage"), "passage").numpy()


def test_an_added_token_changes_no_weight_of_the_model(build, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "bare", eos=False, side="right")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "bare")
    size = len(tokenizer)
    write_model(tmp_path / "bare", "GPT2", "Model", vocab_size=size)
    first, second = (build(model=tmp_path / "bare", pooling="mean") for _ in range(2))
    tables = [one.towers["query"][0].model.get_input_embeddings().weight for one in (first, second)]
    assert len(tables[0]) == size + 1 and not tables[0][size].any()
    torch.testing.assert_close(tables[0], tables[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("side", "eos", "appends_eos"),
    [("left", True, False), ("right", False, False), ("right", True, True), ("left", False, True)],
)
@pytest.mark.parametrize("family", list(SIZES))
def test_a_decoder_scores_each_pair_as_if_it_were_alone(
    family: str, side: str, eos: bool, appends_eos: bool, tmp_path: Path
) -> None:
    write_tokenizer(tmp_path / "cross", eos=eos, appends_eos=appends_eos, side=side)
    write_model(tmp_path / "cross", family, "ForSequenceClassification", num_labels=1)
    progress = RecordingProgress()
    spec = CrossEncoderSpec(
        model=str(tmp_path / "cross"),
        positive_threshold=0.9,
        negative_threshold=0.1,
        precision="fp32",
    )
    scorer = load_scorer(spec, "cpu", progress)
    token = "<end>" if eos and not appends_eos else "[PAD]"
    notice = (
        f"the tokenizer of model '{tmp_path / 'cross'}' has no padding token, so '{token}' is used"
    )
    notices = [event["message"] for event in progress.events]
    assert notices == ([] if family == "Qwen2" else [notice])
    together = scorer.score(["tide"] * len(TEXTS), TEXTS)
    alone = [scorer.score(["tide"], [text])[0] for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    tokenizer, model = scorer.model[0].tokenizer, scorer.model[0].model
    with torch.no_grad():
        raw = [
            torch.sigmoid(model(**tokenizer("tide", text, return_tensors="pt")).logits)[0, 0]
            for text in TEXTS
        ]
    np.testing.assert_allclose(together, np.array(raw), atol=1e-5)
    assert len(np.unique(together.round(4))) > 1


def test_positions_of_a_bert_padded_on_the_left_count_from_its_first_token(
    build, tiny_model: Path, tmp_path: Path
) -> None:
    bert = Transformer(str(tiny_model), max_seq_length=64)
    SentenceTransformer(modules=[bert, Pooling(32)], device="cpu").save(
        str(tmp_path / "left"), create_model_card=False
    )
    config = json.loads((tmp_path / "left" / "tokenizer_config.json").read_text())
    (tmp_path / "left" / "tokenizer_config.json").write_text(
        json.dumps({**config, "padding_side": "left"})
    )
    left, right = build(model=tmp_path / "left"), build(model=tiny_model)
    vectors = []
    for encoder in (left, right):
        ids, _ = encoder.tokenize(TEXTS, "query")
        with torch.no_grad():
            vectors.append(encoder(encoder.collate(ids, "query"), "query").numpy())
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
