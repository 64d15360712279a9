"""Which tokens are masked, and by what they are replaced."""

from __future__ import annotations

import numpy as np
import pytest

from recipekit.component import Vocabulary
from recipekit.training.masking import count_masked, mask_text

VOCABULARY = Vocabulary(
    mask_token=4,
    special=np.array([0, 2, 3, 4], dtype=np.int32),
    replacements=np.arange(5, 50, dtype=np.int32),
    prompt_length=3,
)
TEXT = np.array([2, 10, 11, *range(5, 45), 3], dtype=np.int32)
"""An opening token, two tokens of a prompt, forty others, and a closing token."""


def test_special_tokens_and_the_prompt_are_never_masked():
    seen = set()
    for seed in range(100):
        masked = mask_text(TEXT, VOCABULARY, 0.15, [7, seed])
        seen |= set(masked.positions.tolist())
        assert (masked.tokens == TEXT[masked.positions]).all()
        untouched = np.delete(np.arange(len(TEXT)), masked.positions)
        assert (masked.ids[untouched] == TEXT[untouched]).all()
    assert seen == set(range(3, 43))


def test_the_share_of_masked_tokens_is_exact_and_at_least_one():
    assert len(mask_text(TEXT, VOCABULARY, 0.15, [1]).positions) == 6
    assert count_masked(TEXT, VOCABULARY, 0.15) == 6
    short = np.array([2, 10, 11, 30, 3], dtype=np.int32)
    assert mask_text(short, VOCABULARY, 0.15, [1]).positions.tolist() == [3]
    empty = np.array([2, 10, 11, 3], dtype=np.int32)
    assert count_masked(empty, VOCABULARY, 0.15) == 0
    assert mask_text(empty, VOCABULARY, 0.15, [1]).ids.tolist() == empty.tolist()


def test_four_fifths_become_the_mask_token_and_a_tenth_another_token():
    fates = []
    for seed in range(300):
        masked = mask_text(TEXT, VOCABULARY, 0.5, [seed])
        altered = masked.ids[masked.positions]
        fates.append([(altered == 4).mean(), ((altered != 4) & (altered != masked.tokens)).mean()])
    mask, other = np.mean(fates, axis=0)
    assert mask == pytest.approx(0.8, abs=0.02)
    assert other == pytest.approx(0.1, abs=0.02)


def test_a_mask_depends_on_its_seed_alone_and_leaves_the_text_unchanged():
    before = TEXT.copy()
    one, again, other = (mask_text(TEXT, VOCABULARY, 0.3, [5, n]) for n in (1, 1, 2))
    assert one.ids.tolist() == again.ids.tolist()
    assert one.positions.tolist() != other.positions.tolist()
    assert (before == TEXT).all()
