"""An Elasticsearch cluster: reaching it, asking again where that can help, and failures that say
what to do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipekit.component import LocalPath, NotIdentity, Secret, Url
from recipekit.engines.elasticsearch_failures import failure_of
from recipekit.engines.failures import Failure
from recipekit.engines.retry import RetryPolicy, Transient, persist
from recipekit.errors import ComponentError
from recipekit.suggestions import did_you_mean

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

__all__ = ["Cluster", "ElasticsearchAccess", "check_fields", "index_fingerprint"]

T = TypeVar("T")

SEARCHED_TYPES: Final = frozenset({"text", "match_only_text", "search_as_you_type"})
REMEDIES: Final[dict[str, tuple[str, str]]] = {
    "unreachable": ("RK260", "cannot be reached ({text}): start it, or correct `url`"),
    "lost": (
        "RK260",
        "broke the connection ({text}): see to it that it runs, then run again; what is indexed stays indexed",
    ),
    "untrusted": (
        "RK260",
        "has a certificate that is not trusted ({text}): give the authority's certificate as `ca_file`",
    ),
    "timeout": (
        "RK261",
        "did not answer in time ({text}): raise `timeout`, or lower `concurrency`",
    ),
    "busy": (
        "RK262",
        "turns requests away ({text}): lower `concurrency`, raise `attempts`, or run again later",
    ),
    "partial": (
        "RK262",
        "searched only a part of the index ({text}): see to it that all of its shards are well, then run again",
    ),
    "unauthorized": (
        "RK263",
        "refuses the credentials ({text}): give `api_key`, `username` and `password`, or `bearer_token`",
    ),
    "forbidden": ("RK263", "does not allow this ({text}): give credentials that may"),
    "missing": (
        "RK264",
        "does not have it ({text}): it was deleted, or never made; correct `index`, or run again to make it anew",
    ),
    "expired": ("RK264", "has dropped the point in time that was read from ({text}): run again"),
    "full": (
        "RK265",
        "cannot write, for its disk is full ({text}): free or add space, then run again; what is indexed stays indexed",
    ),
    "read_only": (
        "RK265",
        "has made the index read-only ({text}): lift the block, then run again; what is indexed stays indexed",
    ),
    "failing": ("RK266", "fails ({text}): look into the server's log, then run again"),
    "invalid": ("RK267", "cannot do what it was asked ({text})"),
    "clauses": ("RK267", "cannot do what it was asked ({text})"),
    "too_large": (
        "RK267",
        "takes no request of this size ({text}): raise http.max_content_length on the server",
    ),
    "incomprehensible": (
        "RK268",
        "does not understand elasticsearch-py {client} ({text}): a client serves its own major version and the next",
    ),
    "other_product": ("RK268", "is not Elasticsearch ({text}): correct `url`"),
}
"""By the kind of a failure, its code and its sentence, to be told of a cluster (and an index)."""


class ElasticsearchAccess(BaseModel):
    """The keys that say where an Elasticsearch cluster is, who asks, and how patiently.

    None of them is part of a result.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )

    url: Url | tuple[Url, ...] | None = None
    """Where the cluster answers, one url or several nodes' (`https://host:9200`);
    http://localhost:9200 unless `cloud_id` is given.
    """
    cloud_id: Annotated[str | None, NotIdentity] = None
    """A deployment on Elastic Cloud, instead of `url`."""
    api_key: Secret | None = None
    """An API key, encoded as the server gives it: `${env:NAME}`."""
    username: Annotated[str | None, NotIdentity] = None
    """A user's name, with `password`."""
    password: Secret | None = None
    """The user's password: `${env:NAME}`."""
    bearer_token: Secret | None = None
    """A token: `${env:NAME}`."""
    ca_file: Annotated[LocalPath | None, NotIdentity] = None
    """The certificate (PEM) of the authority that signed the server's, where the system does not
    know it.
    """
    verify: Annotated[bool, NotIdentity] = True
    """Whether the server's certificate is checked."""
    timeout: Annotated[float, NotIdentity, Field(gt=0)] = 60.0
    """Seconds until a request is given up, and asked again."""
    attempts: Annotated[int, NotIdentity, Field(ge=1)] = 8
    """How often a request is made in all, where asking again can help; eight last a minute at most,
    longer if the server asks.
    """
    concurrency: Annotated[int, NotIdentity, Field(ge=1, le=64)] = 4
    """Requests on their way at once."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.url and self.cloud_id:
            raise ValueError("give `url` or `cloud_id`, not both")
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` belong together")
        ways = [
            name
            for name in ("api_key", "username", "bearer_token")
            if getattr(self, name) is not None
        ]
        if self.username is None and _user(self) is not None:
            ways.append("a user in `url`")
        if len(ways) > 1:
            raise ValueError(
                f"give one of `api_key`, `username` and `bearer_token`; there are {' and '.join(ways)}"
            )
        return self

    def reach(self) -> None:
        """See that the cluster answers, and that client and server belong together.

        Raises:
            ComponentError: It cannot be reached, refuses, or is of another version.
        """
        with closing(self.cluster(patient=False)) as cluster:
            cluster.check_version()

    def cluster(
        self, warn: Callable[[str], None] = lambda text: None, *, patient: bool = True
    ) -> Cluster:
        """The cluster; asked once and with a short wait where a plan or a listing should not take
        long.
        """
        return Cluster(
            self,
            RetryPolicy(attempts=self.attempts if patient else 1),
            min(self.timeout, self.timeout if patient else 10.0),
            warn,
        )


class Cluster:
    """One cluster. Every request goes through `ask`; threads may share it."""

    def __init__(
        self,
        access: ElasticsearchAccess,
        patience: RetryPolicy,
        timeout: float,
        warn: Callable[[str], None],
    ) -> None:
        import elasticsearch

        self.patience = patience
        self.place = f"Elasticsearch at {_shown(access)}"
        self._warn = warn
        self._random = random.Random()
        self._told: set[str] = set()
        tls: dict[str, Any] = {}
        if access.cloud_id is not None or _urls(access)[0].startswith("https:"):
            tls = {"verify_certs": access.verify, "ssl_show_warn": False}
            if access.ca_file is not None and access.verify:
                if not access.ca_file.is_file():
                    raise ComponentError(
                        f"{access.ca_file}: no such file (`ca_file`)", code="RK263"
                    )
                tls["ca_certs"] = str(access.ca_file)
        self.client: Elasticsearch = elasticsearch.Elasticsearch(
            None if access.cloud_id else list(_urls(access)),
            cloud_id=access.cloud_id,
            api_key=access.api_key,
            basic_auth=_user(access),
            bearer_auth=access.bearer_token,
            request_timeout=timeout,
            connections_per_node=access.concurrency + 1,
            # Asking again is ours: with growing waits, as long as the server says, and told.
            max_retries=0,
            retry_on_status=(),
            **tls,
        )

    def ask(self, call: Callable[[Elasticsearch], T], index: str = "") -> T:
        """What a call gives, asked again with growing waits where the failure may pass.

        Raises:
            ComponentError: It failed for good; the error names cluster, index and remedy.
        """

        def waiting(why: Transient, seconds: float, attempt: int) -> None:
            if attempt == 3 and why.reason not in self._told:  # a hiccup is not worth a line
                self._told.add(why.reason)
                self._warn(f"{self.named(index)}: {why.reason}; asking again for a while")

        try:
            return persist(
                lambda: call(self.client),
                _transient,
                patience=self.patience,
                random=self._random,
                waiting=waiting,
            )
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            raise self.error(failure, index, getattr(error, "what", "")) from error

    def named(self, index: str = "") -> str:
        """How errors call it."""
        return f"{self.place}, index '{index}'" if index else self.place

    def error(self, failure: Failure, index: str = "", what: str = "") -> ComponentError:
        """The error that tells of a failure."""
        code, sentence = REMEDIES[failure.kind]
        said = sentence.format(text=failure.text, client=version("elasticsearch"))
        return ComponentError(
            f"{self.named(index)}{f', {what}:' if what else ''} {said}", code=code
        )

    def check_version(self) -> None:
        """See whether client and server belong together, as far as the server tells its version.

        Raises:
            ComponentError: They do not, or the server cannot be reached.
        """
        ours = version("elasticsearch")
        mine = int(ours.split(".")[0])
        for theirs in self._versions():
            if int(theirs.split(".")[0]) not in (mine, mine + 1):
                raise ComponentError(
                    f"{self.place} is version {theirs}, and elasticsearch-py {ours} serves versions {mine} and {mine + 1}: "
                    f"use a server of one of these",
                    code="RK268",
                )

    def _versions(self) -> Iterator[str]:
        # Not from GET /, which locked-down clusters refuse.
        try:
            nodes = self.ask(
                lambda client: client.nodes.info(metric="os", filter_path="nodes.*.version")
            ).get("nodes", {})
        except ComponentError as error:
            refused = (
                failure_of(error.__cause__) if isinstance(error.__cause__, Exception) else None
            )
            if refused is None or refused.kind not in ("forbidden", "missing", "invalid"):
                raise
            if refused.kind != "forbidden" and not _by_elasticsearch(error.__cause__):
                raise self.error(
                    Failure(
                        "other_product",
                        f"{refused.text}, and no X-Elastic-Product among the headers",
                    )
                ) from error
            return  # whoever may search only need not know the version
        yield from sorted({str(node["version"]) for node in nodes.values()})

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def index_fingerprint(cluster: Cluster, index: str) -> dict[str, Any]:
    """What changes whenever an index that others own does: the indices behind the name, and each
    shard's last operation.

    Raises:
        ComponentError: The index is not there, or the cluster cannot be asked.
    """
    found = cluster.ask(
        lambda client: client.indices.stats(
            index=index,
            metric="docs",
            level="shards",
            filter_path="indices.*.uuid,indices.*.shards.*.seq_no.max_seq_no,indices.*.shards.*.routing.primary",
        ),
        index,
    ).get("indices", {})
    if not found:
        raise cluster.error(Failure("missing", "no index of this name"), index)
    return {
        name: [
            stats["uuid"],
            {
                shard: max(copy.get("seq_no", {}).get("max_seq_no", -1) for copy in copies)
                for shard, copies in sorted(stats.get("shards", {}).items())
            },
        ]
        for name, stats in sorted(found.items())
    }


def check_fields(
    cluster: Cluster,
    index: str,
    *,
    searched: Mapping[str, str | None],
    read: Mapping[str, str | None],
) -> None:
    """See whether an index that others own has the fields that it is to have.

    Args:
        cluster: The cluster.
        index: An index or alias.
        searched: By the key that names it, each field that is searched as text; None is none.
        read: Likewise, each field whose value is read.

    Raises:
        ComponentError: One is missing or of a type that cannot be searched, or the index is not
            there.
    """
    found = cluster.ask(
        lambda client: client.field_caps(index=index, fields="*", filters="-metadata"), index
    )["fields"]
    for key, name in {**searched, **read}.items():
        if name is None:
            continue
        if name not in found:
            there = ", ".join(sorted(found)[:20]) or "none"
            raise ComponentError(
                f"{cluster.named(index)} has no field '{name}' (`{key}`).{did_you_mean(name, found)} There are: {there}",
                code="RK267",
            )
        kinds = sorted(found[name])
        if key in searched and not set(kinds) <= SEARCHED_TYPES:
            raise ComponentError(
                f"{cluster.named(index)}: '{name}' (`{key}`) is of type {', '.join(kinds)}, no text",
                code="RK267",
            )


def _transient(error: Exception) -> Transient | None:
    failure = failure_of(error)
    return failure.transient if failure else None


def _by_elasticsearch(reply: object) -> bool:
    """Whether Elasticsearch itself refused, which names itself in every answer."""
    headers = getattr(getattr(reply, "meta", None), "headers", {})
    return headers.get("x-elastic-product") == "Elasticsearch"


def _urls(access: ElasticsearchAccess) -> tuple[str, ...]:
    return tuple(map(_with_port, _given(access)))


def _user(access: ElasticsearchAccess) -> tuple[str, str] | None:
    """User and password, as such or in the url."""
    if access.username and access.password is not None:
        return access.username, access.password
    parts = urlsplit(_given(access)[0])
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def _given(access: ElasticsearchAccess) -> tuple[str, ...]:
    url = access.url or "http://localhost:9200"
    return (url,) if isinstance(url, str) else url


def _with_port(url: str) -> str:
    """A url with the port that its scheme means, which the client wants written out."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def _shown(access: ElasticsearchAccess) -> str:
    return (
        f"cloud '{access.cloud_id.split(':')[0]}'" if access.cloud_id else ", ".join(_urls(access))
    )
