import pytest

from recipekit.retrievers.segmentation import bigrams, normalized, unspaced_share, words


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Vitamin D, type-2.", ["vitamin", "d", "type", "2"]),
        ("read_table(path)", ["read", "table", "path"]),
        ("Zu\u0308rich cafe\u0301", ["zürich", "café"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"],
        ),
        ("\uff46\uff55\uff4c\uff4c \ufb01nd", ["full", "find"]),
        ("", []),
        ("?!", []),
    ],
)
def test_texts_are_split_into_words(text, terms):
    assert words(text) == terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("我爱北京", ["我爱", "爱北", "北京"]),
        ("猫", ["猫"]),
        ("使用Python 3编程", ["使用", "python", "3", "编程"]),
        ("東京。タワー", ["東京", "タワ", "ワー"]),
        ("ｶﾞｽ", ["ガス"]),
        ("ที่นี่", ["ที่นี่"]),
        ("\u0e19\u0e49\u0e33\u0e15", ["\u0e19\u0e49\u0e4d\u0e32", "\u0e32\u0e15"]),
        ("한국어 검색", ["한국", "국어", "검색"]),
        ("plain english", ["plain", "english"]),
    ],
)
def test_scripts_without_spaces_are_split_into_bigrams(text, terms):
    assert bigrams(text) == terms


def test_texts_are_normalized():
    assert normalized("\uff21\uff22_c") == "ab c"


def test_the_share_of_unspaced_scripts_is_counted():
    assert unspaced_share(["日本 ab"]) == 0.5
    assert unspaced_share(["한국어 plain"]) == 0.0
    assert unspaced_share([]) == 0.0
