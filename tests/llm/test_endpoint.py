"""The address of a language model in messages."""

import pytest

from recipekit.llm.endpoint import Endpoint

URL = "http://user:secret@127.0.0.1:8000/v2?key=secret"
SHOWN = "http://127.0.0.1:8000/v2"


@pytest.fixture(autouse=True)
def no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "MISTRAL_API_BASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("model", ["openai/gpt-5-nano", "gpt-5-nano"])
@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
def test_an_address_of_the_environment_is_named_with_its_variable(model, name, monkeypatch):
    assert Endpoint().location(model) == "openai's own address"
    monkeypatch.setenv(name, URL)
    assert Endpoint().location(model) == f"{SHOWN} ({name})"
    assert Endpoint(api_base="http://other:1/v1").location(model) == "http://other:1/v1"


def test_another_provider_has_its_own_variable(monkeypatch):
    monkeypatch.setenv("OPENAI_API_BASE", URL)
    assert Endpoint().location("mistral/small") == "mistral's own address"
    monkeypatch.setenv("MISTRAL_API_BASE", URL)
    assert Endpoint().location("mistral/small") == f"{SHOWN} (MISTRAL_API_BASE)"
