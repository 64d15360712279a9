"""The retry policy and the errors of a connection, without a server."""

import pytest

from recipekit.engines.connection import Connection
from recipekit.engines.remedies import Remedy
from recipekit.engines.retry import Failure, PartialFailure
from recipekit.errors import ComponentError

REMEDIES = {
    "busy": Remedy("RK262", "rejects requests ({text}): wait"),
    "missing": Remedy("RK264", "does not exist ({text})"),
}


class Client:
    """A client that fails some times before it answers."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.calls = 0

    def answer(self):
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"

    def close(self):
        """Close nothing."""


def connect(client, max_retries=7, warn=lambda message: None):
    def failure_of(error):
        return error.args[0] if isinstance(error, OSError) else None

    return Connection(
        client, "numpy", "Server", "index", failure_of, REMEDIES, max_retries, warn=warn
    )


def busy(seconds=0.0):
    return OSError(Failure("busy", "429", seconds))


@pytest.mark.usefixtures("short_waits")
def test_a_temporary_failure_is_retried_and_the_third_one_warned_about_once():
    warnings = []
    client = Client(*(busy() for _ in range(5)))
    assert connect(client, warn=warnings.append).call(Client.answer, "books") == "answer"
    assert client.calls == 6
    assert warnings == ["Server, index 'books': 429; retrying"]


@pytest.mark.usefixtures("short_waits")
def test_retries_end_with_the_remedy():
    client = Client(*(busy() for _ in range(5)))
    with pytest.raises(ComponentError, match=r"^Server rejects requests \(429\): wait$") as raised:
        connect(client, max_retries=2).call(Client.answer)
    assert (client.calls, raised.value.code) == (3, "RK262")


def test_a_server_that_asks_for_an_hour_is_treated_as_down():
    client = Client(busy(3600.0))
    with pytest.raises(ComponentError, match="rejects requests"):
        connect(client).call(Client.answer)
    assert client.calls == 1


def test_a_permanent_failure_is_not_retried_but_may_be_accepted():
    def missing():
        return Client(OSError(Failure("missing", "404")))

    with pytest.raises(ComponentError, match=r"index 'books' does not exist \(404\)"):
        connect(missing()).call(Client.answer, "books")
    assert connect(missing()).try_call(Client.answer, "books") is None
    assert connect(Client()).try_call(Client.answer) == "answer"
    with pytest.raises(ComponentError, match="does not exist"):
        connect(missing()).try_call(Client.answer, accept="exists")


def test_a_partial_failure_names_its_item():
    client = Client(PartialFailure(Failure("missing", "404"), "passage 'x'"))
    with pytest.raises(
        ComponentError, match=r"^Server, index 'books', passage 'x': does not exist"
    ):
        connect(client).call(Client.answer, "books")


def test_other_exceptions_pass_unchanged():
    with pytest.raises(ZeroDivisionError):
        connect(Client(ZeroDivisionError())).call(Client.answer)
