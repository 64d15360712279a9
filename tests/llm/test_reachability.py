"""What can be checked of an endpoint before a call."""

import socket

import pytest

from recipekit.errors import RunError
from recipekit.judges.llm import LlmJudgeSpec
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.reachability import check_reach


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in (
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "MISTRAL_API_KEY",
        "GROQ_API_KEY",
        "DEEPSEEK_API_KEY",
        "XAI_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed():
    """The URL of a port where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}/v1"


def test_a_server_that_listens_gets_no_request():
    with socket.create_server(("127.0.0.1", 0)) as server:
        LlmJudgeSpec(
            model="openai/own", api_base=f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        ).reach()
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b""


def test_a_port_where_nothing_listens_is_reported(closed):
    with pytest.raises(
        RunError,
        match=(
            rf"openai/own at {closed}: cannot be reached \(Connection refused\). "
            "Start the server"
        ),
    ) as raised:
        LlmJudgeSpec(model="openai/own", api_base=closed).reach()
    assert raised.value.code == "RK650"


def test_an_unknown_host_is_reported():
    with pytest.raises(
        RunError, match=r"http://no-host.invalid/v1: no such host \(.*\). Check `api_base`"
    ) as raised:
        check_reach("openai/own", Endpoint("http://no-host.invalid/v1"))
    assert raised.value.code == "RK653"


def test_a_user_name_in_the_url_is_rejected():
    with pytest.raises(
        RunError,
        match=(
            r"openai/own: `api_base` contains a user name, .* "
            r"Give `headers: {Authorization: ...}` instead"
        ),
    ) as raised:
        check_reach("openai/own", Endpoint("http://user:secret-word@127.0.0.1:1/v1"))
    assert raised.value.code == "RK651"
    assert "secret-word" not in str(raised.value)


def test_a_host_behind_a_proxy_is_not_checked(closed, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    check_reach("openai/own", Endpoint(closed))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(RunError, match="cannot be reached"):
        check_reach("openai/own", Endpoint(closed))


@pytest.mark.parametrize("model", ["my-model", "nobody/my-model"])
def test_a_model_without_a_provider_is_reported(model):
    with pytest.raises(
        RunError, match=rf"model '{model}': has no provider. Write it as litellm does"
    ) as raised:
        check_reach(model, Endpoint())
    assert raised.value.code == "RK652"


@pytest.mark.parametrize(
    ("model", "missing"),
    [
        ("openai/gpt-5-nano", "OPENAI_API_KEY is not set. Set OPENAI_API_KEY"),
        ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY is not set"),
        (
            "gemini/gemini-2.5-flash",
            "GOOGLE_API_KEY and GEMINI_API_KEY are not set. Set GEMINI_API_KEY",
        ),
        ("mistral/mistral-large-latest", "MISTRAL_API_KEY is not set"),
        ("groq/llama-3.3-70b-versatile", "GROQ_API_KEY is not set"),
        ("deepseek/deepseek-chat", "DEEPSEEK_API_KEY is not set"),
        ("xai/grok-4", "XAI_API_KEY is not set"),
    ],
)
def test_a_missing_key_is_reported(model, missing, monkeypatch):
    with pytest.raises(RunError, match=f"model {model}: no key for it: {missing}") as raised:
        check_reach(model, Endpoint())
    assert raised.value.code == "RK651"
    check_reach(model, Endpoint(api_key="given"))
    check_reach(model, Endpoint(headers={"Authorization": "Bearer given"}))
    monkeypatch.setenv(missing.split(" is")[0].split(" ")[0], "given")
    check_reach(model, Endpoint())


OTHER_CREDENTIALS = [
    "bedrock/anthropic.claude-3",
    "vertex_ai/gemini-2.5-pro",
    "azure/mine",
    "ollama/llama3",
]
OTHER_NAMES = [
    "together_ai/m",
    "huggingface/m",
    "cohere/command-r",
    "openrouter/m",
    "perplexity/sonar",
    "replicate/m",
]


@pytest.mark.parametrize("model", OTHER_CREDENTIALS + OTHER_NAMES)
def test_providers_with_other_credentials_are_not_checked(model):
    """litellm reads HF_TOKEN, CO_API_KEY, OR_API_KEY and others, but does not list them."""
    check_reach(model, Endpoint())
