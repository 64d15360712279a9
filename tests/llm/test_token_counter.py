import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from recipekit.errors import ModelError
from recipekit.llm.calls import Request
from recipekit.llm.tokens import TokenCounter, _by_characters, counter

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
def test_openais_tokenizers_are_at_hand_and_others_are_estimated(model, name, exact):
    tokens = counter(model)
    assert (tokens.name, tokens.exact) == (name, exact)


def test_counting():
    """As OpenAI counts: https://platform.openai.com/tokenizer."""
    assert counter("gpt-4").count("hello world") == 2
    assert counter("gpt-4").count("tiktoken is great!") == 6
    assert counter("gpt-4o").count("") == 0
    assert counter("gpt-4o").count("<|endoftext|>") > 1, (
        "a special token's name in a passage is plain text"
    )


@settings(deadline=None, max_examples=150)
@given(text=TEXTS, limit=st.integers(0, 20), model=st.sampled_from(["gpt-4o", "gpt-4"]))
def test_a_cut_text_is_a_beginning_within_the_limit(text, limit, model):
    tokens = counter(model)
    beginning, was_cut = tokens.cut(text, limit)
    assert text.startswith(beginning)
    assert was_cut == (beginning != text)
    assert tokens.count(beginning) <= limit
    assert was_cut == (tokens.count(text) > limit)


@settings(deadline=None, max_examples=100)
@given(text=TEXTS, model=st.sampled_from(["gpt-4o", "gpt-4", "ollama/x"]))
def test_the_bound_holds_for_every_encoding(text, model):
    assert counter(model).count(text) <= counter(model).at_most(text)


def test_a_cut_takes_as_much_as_fits():
    assert counter("gpt-4o").cut("one two three four five", 3) == ("one two three", True)
    assert counter("gpt-4o").cut("one two three", 3) == ("one two three", False)


def test_half_a_character_is_left_off():
    """Each of these takes several tokens, so that a limit can fall inside it."""
    tokens = counter("gpt-4")
    for limit in range(12):
        beginning, _ = tokens.cut("🜁🜂🜃🜄", limit)
        assert "🜁🜂🜃🜄".startswith(beginning)


def test_a_passage_that_would_choke_the_tokenizer_is_shortened_first():
    beginning, was_cut = counter("gpt-4o").cut("a" * 3_000_000, 100)
    assert was_cut
    assert 0 < counter("gpt-4o").count(beginning) <= 100


def test_half_a_surrogate_pair_is_counted_as_any_text():
    tokens = counter("gpt-4o")
    assert 0 < tokens.count("a\ud800b") <= tokens.at_most("a\ud800b")


def test_a_request_is_counted_with_its_frame_and_schema():
    tokens = counter("gpt-4o")
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
    assert tokens.prompt_at_most(schema) > tokens.prompt(schema)


def test_a_tokenizer_of_ones_own(tmp_path):
    vocabulary = {word: i for i, word in enumerate(("[UNK]", "river", "mountain", "valley"))}
    own = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    own.pre_tokenizer = Whitespace()
    own.enable_truncation(2)  # as files often have it: counting must not stop there
    own.save(str(tmp_path / "tokenizer.json"))

    tokens = counter("hosted_vllm/tiny", tmp_path)
    assert tokens.exact
    assert tokens.count("river mountain valley") == 3
    assert tokens.cut("river mountain valley", 2) == ("river mountain", True)
    assert tokens.cut("river mountain valley", 0) == ("", True)
    assert tokens.cut("river \ud83d valley", 2) == ("river \ud83d", True)
    assert counter("hosted_vllm/tiny", tmp_path / "tokenizer.json").count("river") == 1


def test_a_tokenizer_that_is_none(tmp_path):
    with pytest.raises(ModelError, match="no tokenizer is there"):
        counter("ollama/x", tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(ModelError, match=r"is no tokenizer\.json"):
        counter("ollama/x", tmp_path)


@pytest.mark.parametrize("text", ["", "abc", "abcd", "abcde" * 9])
def test_without_any_encoding_four_characters_are_a_token(text):
    tokens = TokenCounter("4 characters a token", False, _by_characters)
    assert tokens.count(text) == -(-len(text) // 4)
    assert tokens.cut(text, 2) == (text[:8], len(text) > 8)
