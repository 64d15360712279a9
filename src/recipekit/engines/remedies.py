"""What to report for each kind of failure of a server, where it is the same for every engine.

An engine's own table extends it, with its keys and what only its server can report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["SHARED_REMEDIES", "Remedy"]


class Remedy(NamedTuple):
    """What to report for one kind of failure."""

    code: str
    message: str
    """Continues "SERVER, index 'NAME' ..."; `{text}` is the server's message and `{client}` the
    version of the client library."""


SHARED_REMEDIES: Final[Mapping[str, Remedy]] = {
    "lost": Remedy(
        "RK260",
        "dropped the connection ({text}): check that it is running, then run again; what is loaded "
        "is kept",
    ),
    "busy": Remedy(
        "RK262",
        "rejects requests ({text}): lower `concurrency`, raise `max_retries`, or run again later",
    ),
    "exists": Remedy("RK264", "exists already ({text}): run again"),
    "full": Remedy(
        "RK265",
        "cannot write because its disk is full ({text}): free or add space, then run again; what "
        "is loaded is kept",
    ),
    "failing": Remedy("RK266", "failed ({text}): check the server's log, then run again"),
    "invalid": Remedy("RK267", "rejects the request ({text})"),
}
"""By kind of failure: its code and message."""
