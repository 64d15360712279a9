"""The recipe keys that say where an Elasticsearch cluster is and how to talk to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipekit.component import LocalPath, NotIdentity, Secret, Url

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from recipekit.engines.connection import Connection

__all__ = ["ElasticsearchAccess"]

DEFAULT_URL = "http://localhost:9200"
SHORT_TIMEOUT = 10.0
"""Seconds to wait for a reply where someone waits for `plan` or `cache ls`."""


class ElasticsearchAccess(BaseModel):
    """Where an Elasticsearch cluster is, with which credentials, and how long to retry.

    None of these keys changes a result.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )

    url: Url | tuple[Url, ...] | None = None
    """The URL of the cluster, or of several of its nodes (`https://host:9200`); by default
    http://localhost:9200, unless `cloud_id` is set.
    """
    cloud_id: Annotated[str | None, NotIdentity] = None
    """A deployment on Elastic Cloud, instead of `url`."""
    api_key: Secret | None = None
    """An API key, encoded as the server returns it: `${env:NAME}`."""
    username: Annotated[str | None, NotIdentity] = None
    """A user's name, with `password`."""
    password: Secret | None = None
    """The user's password: `${env:NAME}`."""
    bearer_token: Secret | None = None
    """A bearer token: `${env:NAME}`."""
    ca_certs: Annotated[LocalPath | None, NotIdentity] = None
    """A PEM file with the certificate of the server's authority, if the system does not trust it.
    """
    verify_certs: Annotated[bool, NotIdentity] = True
    """Whether to verify the server's certificate."""
    timeout: Annotated[float, NotIdentity, Field(gt=0)] = 60.0
    """Seconds after which a request is abandoned and retried."""
    max_retries: Annotated[int, NotIdentity, Field(ge=0)] = 7
    """Retries of a request whose failure may be temporary; seven take at most a minute, longer if
    the server asks for it.
    """
    concurrency: Annotated[int, NotIdentity, Field(ge=1, le=64)] = 4
    """Parallel requests."""

    @model_validator(mode="after")
    def _check_one_way_in(self) -> Self:
        if self.url and self.cloud_id:
            raise ValueError("give `url` or `cloud_id`, not both")
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` belong together")
        given = [
            name
            for name in ("api_key", "username", "bearer_token")
            if getattr(self, name) is not None
        ]
        if self.username is None and self.basic_auth is not None:
            given.append("a user in `url`")
        if len(given) > 1:
            raise ValueError(
                "give one of `api_key`, `username` and `bearer_token`; "
                f"there are {' and '.join(given)}"
            )
        return self

    @property
    def basic_auth(self) -> tuple[str, str] | None:
        """User and password, from their keys or from `url`."""
        if self.username and self.password is not None:
            return self.username, self.password
        parts = urlsplit(self._urls[0])
        return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None

    @property
    def hosts(self) -> list[str]:
        """The URLs without credentials and with their ports, which the client requires."""
        return [_with_port(url) for url in self._urls]

    @property
    def _urls(self) -> tuple[str, ...]:
        url = self.url or DEFAULT_URL
        return (url,) if isinstance(url, str) else url

    def distributions(self) -> tuple[str, ...]:
        """The client, which decides what the server is asked."""
        return ("elasticsearch",)

    def connect(
        self, warn: Callable[[str], None] = lambda message: None
    ) -> Connection[Elasticsearch]:
        """Make a client. It opens no connection yet.

        Raises:
            ComponentError: `ca_certs` is missing.
        """
        from recipekit.engines.elasticsearch.client import connect

        return connect(self, warn)

    def connect_briefly(self) -> Connection[Elasticsearch]:
        """A client without retries and with a short timeout, for `plan` and `cache ls`."""
        brief = {"max_retries": 0, "timeout": min(self.timeout, SHORT_TIMEOUT)}
        return self.model_copy(update=brief).connect()

    def reach(self) -> None:
        """Check that the cluster answers and that client and server are compatible.

        Raises:
            ComponentError: The cluster cannot be reached, denies access, or has another version.
        """
        from recipekit.engines.elasticsearch.client import check_version

        with closing(self.connect_briefly()) as connection:
            check_version(connection)


def _with_port(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"
