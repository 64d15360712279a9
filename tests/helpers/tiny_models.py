"""Tiny random models of the architectures that people bring, in sentence-transformers folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertTokenizer

WIDTH = 32
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
}
DECODER_SIZES: dict[str, Any] = {**SIZES, "num_key_value_heads": 1, "head_dim": 16}
T5_SIZES: dict[str, Any] = {
    "d_model": WIDTH,
    "d_ff": 48,
    "d_kv": 16,
    "num_layers": 2,
    "num_heads": 2,
}
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


# Tokenizers of each family's own class
# -------------------------------------------------------------------------------------------------


def words_of(words: list[str], *special: str) -> dict[str, int]:
    """A vocabulary of special tokens, words and letters."""
    letters = [*ALPHABET, *(f"##{letter}" for letter in ALPHABET)]
    return {token: number for number, token in enumerate([*special, *words, *letters])}


def pieces_of(words: list[str], *special: str) -> list[tuple[str, float]]:
    """A unigram vocabulary of special tokens, words and letters, with log-probabilities."""
    pieces = [*(f"▁{word}" for word in words), "▁", *ALPHABET]
    return [(token, 0.0) for token in special] + [(piece, -len(piece)) for piece in pieces]


def bytes_of(*special: str) -> dict[str, int]:
    """A byte-level BPE vocabulary without merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return {token: number for number, token in enumerate([*special, *alphabet])}


def letters_of(*special: str) -> dict[str, int]:
    """A SentencePiece BPE vocabulary of letters, without merges."""
    return {token: number for number, token in enumerate([*special, "▁", *ALPHABET])}


# Families
# -------------------------------------------------------------------------------------------------


def bert(words: list[str], folder: Path, **_: Any) -> SentenceTransformer:
    """BERT with mean pooling."""
    tokenizer = BertTokenizer(words_of(words, "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
    return assembled(folder, "Bert", tokenizer, "mean", SIZES)


def mpnet(words: list[str], folder: Path, **_: Any) -> SentenceTransformer:
    """MPNet with mean pooling."""
    special = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
    tokenizer = transformers.MPNetTokenizer(words_of(words, *special))
    return assembled(folder, "MPNet", tokenizer, "mean", SIZES)


def xlm_roberta(words: list[str], folder: Path, **_: Any) -> SentenceTransformer:
    """XLM-R with CLS pooling and Normalize."""
    pieces = pieces_of(words, "<s>", "<pad>", "</s>", "<unk>", "<mask>")
    tokenizer = transformers.XLMRobertaTokenizer(pieces)
    return assembled(folder, "XLMRoberta", tokenizer, "cls", SIZES, Normalize())


def modernbert(words: list[str], folder: Path, **_: Any) -> SentenceTransformer:
    """ModernBERT with CLS pooling and local attention."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer = BertTokenizer(words_of(words, *special))
    tokens = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2}
    tokens |= {"sep_token_id": 3, "eos_token_id": 3}
    sizes = {**SIZES, **tokens, "local_attention": 8}
    return assembled(folder, "ModernBert", tokenizer, "cls", sizes)


def t5(words: list[str], folder: Path, **_: Any) -> SentenceTransformer:
    """The encoder of T5 with mean pooling, Dense and Normalize, as sentence-T5 and GTR have."""
    tokenizer = transformers.T5Tokenizer(pieces_of(words, "<pad>", "</s>", "<unk>"), extra_ids=0)
    dense = Dense(WIDTH, 24, bias=False, activation_function=torch.nn.Identity())
    return assembled(folder, "T5", tokenizer, "mean", T5_SIZES, dense, Normalize())


def qwen3(words: list[str], folder: Path, **_: Any) -> SentenceTransformer:
    """Qwen3 with last-token pooling and padding on the left, as Qwen3-Embedding has."""
    tokenizer = transformers.Qwen2Tokenizer(bytes_of("<|endoftext|>"), [], padding_side="left")
    return assembled(folder, "Qwen3", tokenizer, "lasttoken", DECODER_SIZES, Normalize())


def llama(words: list[str], folder: Path, **_: Any) -> SentenceTransformer:
    """Llama with last-token pooling, padding on the left and no padding token."""
    tokenizer = transformers.LlamaTokenizer(
        letters_of("<unk>", "<s>", "</s>"), [], padding_side="left"
    )
    model = assembled(folder, "Llama", tokenizer, "lasttoken", DECODER_SIZES)
    assert tokenizer.pad_token is None
    return model


def gemma3(words: list[str], folder: Path, **_: Any) -> SentenceTransformer:
    """Gemma3 with bidirectional attention, mean pooling and two Dense, as EmbeddingGemma has."""
    vocabulary = letters_of("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    tokenizer = transformers.GemmaTokenizer(vocabulary, [], padding_side="right")
    sizes = {**DECODER_SIZES, "use_bidirectional_attention": True, "sliding_window": 16}
    sizes |= {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    dense = [
        Dense(here, there, bias=False, activation_function=torch.nn.Identity())
        for here, there in ((WIDTH, 64), (64, WIDTH))
    ]
    return assembled(folder, "Gemma3Text", tokenizer, "mean", sizes, *dense, Normalize())


def static(words: list[str], folder: Path, **_: Any) -> SentenceTransformer:
    """A StaticEmbedding: the mean of one vector per token, without a transformer."""
    tokenizer = Tokenizer(models.WordLevel(words_of(words, "[UNK]"), unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    embedding = StaticEmbedding(tokenizer, embedding_dim=WIDTH)
    torch.nn.init.normal_(embedding.embedding.weight, std=0.02)
    return SentenceTransformer(modules=[embedding], device="cpu")


FAMILIES: dict[str, Callable[..., SentenceTransformer]] = {
    function.__name__: function
    for function in (bert, mpnet, xlm_roberta, modernbert, t5, qwen3, llama, gemma3, static)
}


def assembled(
    folder: Path, family: str, tokenizer: Any, pooling: str, sizes: dict[str, Any], *rest: Any
) -> SentenceTransformer:
    """A model of a family with the tokenizer, as sentence-transformers loads it from files."""
    config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), **sizes)
    getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    transformer = Transformer(str(folder), max_seq_length=64)
    modules = [transformer, Pooling(WIDTH, pooling), *rest]
    return SentenceTransformer(modules=modules, device="cpu")


def write_tiny_model(
    family: str, words: list[str], folder: Path, *, dtype: torch.dtype = torch.float32
) -> Path:
    """Save a random model of a family, with its weights in a dtype, and return its folder."""
    torch.manual_seed(11)
    model = FAMILIES[family](words, folder / "parts")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)  # differences between texts are visible
    model.to(dtype).save(str(folder / "model"), create_model_card=False)
    return folder / "model"
