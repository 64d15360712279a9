"""Counting tokens and cutting texts without the network."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from recipekit.errors import ModelError
from recipekit.llm.completion import Request
from recipekit.llm.token_counter import TokenCounter, _characters_prefix, token_counter

TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(["the ", "cat", "\n\n", "naïve", "日本語", "🙂", "  ", "9917"])).map(
        "".join
    ),
)


@pytest.mark.parametrize(
    ("model", "name", "exact"),
    [
        ("openai/gpt-5-nano", "o200k_base", True),
        ("gpt-4o-mini", "o200k_base", True),
        ("azure/gpt-4", "cl100k_base", True),
        ("openrouter/openai/gpt-4.1-nano", "o200k_base", True),
        ("hosted_vllm/openai/gpt-oss-20b", "o200k_harmony", True),
        ("anthropic/claude-haiku-4-5", "cl100k_base", False),
        ("ollama/llama3", "cl100k_base", False),
        ("hosted_vllm/gpt-4o", "cl100k_base", False),
    ],
)
def test_openais_tokenizers_are_installed_and_others_are_estimated(model, name, exact):
    tokens = token_counter(model)
    assert (tokens.name, tokens.exact) == (name, exact)


def test_tokens_are_counted_as_openai_counts_them():
    """See https://platform.openai.com/tokenizer."""
    assert token_counter("gpt-4").count("hello world") == 2
    assert token_counter("gpt-4").count("tiktoken is great!") == 6
    assert token_counter("gpt-4o").count("") == 0
    assert token_counter("gpt-4o").count("<|endoftext|>") > 1, (
        "the name of a special token is plain text"
    )


@settings(deadline=None, max_examples=150)
@given(text=TEXTS, limit=st.integers(0, 20), model=st.sampled_from(["gpt-4o", "gpt-4"]))
def test_a_cut_text_is_a_prefix_within_the_limit(text, limit, model):
    tokens = token_counter(model)
    prefix, was_cut = tokens.cut(text, limit)
    assert text.startswith(prefix)
    assert was_cut == (prefix != text)
    assert tokens.count(prefix) <= limit
    assert was_cut == (tokens.count(text) > limit)


@settings(deadline=None, max_examples=100)
@given(text=TEXTS, model=st.sampled_from(["gpt-4o", "gpt-4", "ollama/x"]))
def test_the_bound_holds_for_every_encoding(text, model):
    assert token_counter(model).count(text) <= token_counter(model).bound(text)


def test_a_cut_keeps_as_much_as_fits():
    assert token_counter("gpt-4o").cut("one two three four five", 3) == ("one two three", True)
    assert token_counter("gpt-4o").cut("one two three", 3) == ("one two three", False)


def test_an_incomplete_character_is_dropped():
    """Each of these takes several tokens, so that a limit can fall inside it."""
    tokens = token_counter("gpt-4")
    for limit in range(12):
        prefix, _ = tokens.cut("🜁🜂🜃🜄", limit)
        assert "🜁🜂🜃🜄".startswith(prefix)


def test_a_huge_passage_is_shortened_before_it_is_tokenized():
    prefix, was_cut = token_counter("gpt-4o").cut("a" * 3_000_000, 100)
    assert was_cut
    assert 0 < token_counter("gpt-4o").count(prefix) <= 100


def test_a_lone_surrogate_is_counted_like_any_text():
    tokens = token_counter("gpt-4o")
    assert 0 < tokens.count("a\ud800b") <= tokens.bound("a\ud800b")


def test_a_request_is_counted_with_its_frame_and_schema():
    tokens = token_counter("gpt-4o")
    messages = (
        {"role": "system", "content": "You judge."},
        {"role": "user", "content": "hello world"},
    )
    plain = Request("gpt-4o", messages, {"max_tokens": 5})
    assert tokens.prompt(plain) == tokens.count("You judge.") + 2 + 2 * 4 + 3
    schema = Request(
        "gpt-4o",
        messages,
        {
            "max_tokens": 5,
            "response_format": {"type": "json_schema", "json_schema": {"name": "verdicts"}},
        },
    )
    assert tokens.prompt(schema) > tokens.prompt(plain)
    assert tokens.prompt_bound(schema) > tokens.prompt(schema)


def test_a_tokenizer_file_is_used(tmp_path):
    vocabulary = {word: i for i, word in enumerate(("[UNK]", "river", "mountain", "valley"))}
    own = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    own.pre_tokenizer = Whitespace()
    own.enable_truncation(2)  # files often set it; counting must not stop there
    own.save(str(tmp_path / "tokenizer.json"))

    tokens = token_counter("hosted_vllm/tiny", tmp_path)
    assert tokens.exact
    assert tokens.count("river mountain valley") == 3
    assert tokens.cut("river mountain valley", 2) == ("river mountain", True)
    assert tokens.cut("river mountain valley", 0) == ("", True)
    assert tokens.cut("river \ud83d valley", 2) == ("river \ud83d", True)
    assert token_counter("hosted_vllm/tiny", tmp_path / "tokenizer.json").count("river") == 1


def test_a_missing_or_invalid_tokenizer_is_reported(tmp_path):
    with pytest.raises(ModelError, match="not found"):
        token_counter("ollama/x", tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(ModelError, match=r"is not a tokenizer\.json"):
        token_counter("ollama/x", tmp_path)


@pytest.mark.parametrize("text", ["", "abc", "abcd", "abcde" * 9])
def test_without_any_encoding_four_characters_count_as_one_token(text):
    tokens = TokenCounter("4 characters per token", False, _characters_prefix)
    assert tokens.count(text) == -(-len(text) // 4)
    assert tokens.cut(text, 2) == (text[:8], len(text) > 8)
