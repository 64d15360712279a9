"""What can be seen of an endpoint before anything is asked of it."""

import socket

import pytest

from recipekit.errors import RunError
from recipekit.judges.llm import LlmJudgeSpec
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.reach import check_reach


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
    """The url of a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}/v1"


def test_a_server_that_listens_is_asked_nothing():
    with socket.create_server(("127.0.0.1", 0)) as server:
        LlmJudgeSpec(
            model="openai/own", api_base=f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        ).reach()
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b""


def test_nobody_listens(closed):
    with pytest.raises(
        RunError,
        match=rf"openai/own at {closed}: cannot be reached \(Connection refused\). Start the server",
    ) as told:
        LlmJudgeSpec(model="openai/own", api_base=closed).reach()
    assert told.value.code == "RK650"


def test_there_is_no_such_host():
    with pytest.raises(
        RunError, match=r"http://no-host.invalid/v1: no such host \(.*\). Check `api_base`"
    ) as told:
        check_reach("openai/own", Endpoint("http://no-host.invalid/v1"))
    assert told.value.code == "RK653"


def test_a_user_in_the_url_leaves_no_room_for_a_key():
    with pytest.raises(
        RunError,
        match=r"openai/own: `api_base` holds a user, .* Give `headers: {Authorization: ...}` instead",
    ) as told:
        check_reach("openai/own", Endpoint("http://user:secret-word@127.0.0.1:1/v1"))
    assert told.value.code == "RK651"
    assert "secret-word" not in str(told.value)


def test_behind_a_proxy_this_machine_need_not_reach_it(closed, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    check_reach("openai/own", Endpoint(closed))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(RunError, match="cannot be reached"):
        check_reach("openai/own", Endpoint(closed))


@pytest.mark.parametrize("model", ["my-model", "nobody/my-model"])
def test_a_model_without_provider(model):
    with pytest.raises(
        RunError, match=rf"model '{model}': names no provider. Write it as litellm does"
    ) as told:
        check_reach(model, Endpoint())
    assert told.value.code == "RK652"


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
def test_a_key_that_is_missing(model, missing, monkeypatch):
    with pytest.raises(RunError, match=f"model {model}: no key for it: {missing}") as told:
        check_reach(model, Endpoint())
    assert told.value.code == "RK651"
    check_reach(model, Endpoint(api_key="given"))
    check_reach(model, Endpoint(headers={"Authorization": "Bearer given"}))
    monkeypatch.setenv(missing.split(" is")[0].split(" ")[0], "given")
    check_reach(model, Endpoint())


WAYS = ["bedrock/anthropic.claude-3", "vertex_ai/gemini-2.5-pro", "azure/mine", "ollama/llama3"]
NAMES = [
    "together_ai/m",
    "huggingface/m",
    "cohere/command-r",
    "openrouter/m",
    "perplexity/sonar",
    "replicate/m",
]


@pytest.mark.parametrize("model", WAYS + NAMES)
def test_of_providers_with_ways_or_names_of_their_own_nothing_is_claimed(model):
    """litellm reads HF_TOKEN, CO_API_KEY, OR_API_KEY and others, and does not tell of them."""
    check_reach(model, Endpoint())
