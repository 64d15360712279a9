"""What a model's card states."""

from pathlib import Path

import pytest

from recipekit.encoding.model_card import licence_of


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\nText", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: own\n---\n", "own"),
        ("---\ntags: [x]\n---\n", None),
        ("---\nlicense: [\n---\n", None),
        ("---\nlicense: mit", None),
        ("# No front matter", None),
    ],
)
def test_the_licence_is_that_of_the_card(card: str, licence: str | None, tmp_path: Path) -> None:
    assert licence_of(tmp_path) is None
    (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence
