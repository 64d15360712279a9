"""Making an Elasticsearch client, and checking what it talks to."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import elasticsearch
from elasticsearch import Elasticsearch

from recipekit.engines.connection import Connection
from recipekit.engines.elasticsearch.access import ElasticsearchAccess
from recipekit.engines.elasticsearch.errors import REMEDIES, failure_of
from recipekit.errors import ComponentError

__all__ = ["check_version", "connect"]


def connect(
    access: ElasticsearchAccess, warn: Callable[[str], None] = lambda message: None
) -> Connection[Elasticsearch]:
    """Make a client. It opens no connection yet.

    Raises:
        ComponentError: `ca_certs` is missing.
    """
    tls: dict[str, Any] = {}
    if access.cloud_id is not None or access.hosts[0].startswith("https:"):
        tls = {"verify_certs": access.verify_certs, "ssl_show_warn": False}
        if access.ca_certs is not None and access.verify_certs:
            if not access.ca_certs.is_file():
                raise ComponentError(f"{access.ca_certs}: no such file (`ca_certs`)", code="RK263")
            tls["ca_certs"] = str(access.ca_certs)
    client = Elasticsearch(
        None if access.cloud_id else list(access.hosts),
        cloud_id=access.cloud_id,
        api_key=access.api_key,
        basic_auth=access.basic_auth,
        bearer_auth=access.bearer_token,
        request_timeout=access.timeout,
        connections_per_node=access.concurrency + 1,
        max_retries=0,  # `Connection` retries, with growing waits
        retry_on_status=(),
        **tls,
    )
    where = ", ".join(access.hosts)
    if access.cloud_id:
        where = f"cloud '{access.cloud_id.split(':')[0]}'"
    return Connection(
        client,
        package="elasticsearch",
        server=f"Elasticsearch at {where}",
        noun="index",
        failure_of=failure_of,
        remedies=REMEDIES,
        max_retries=access.max_retries,
        warn=warn,
    )


def check_version(connection: Connection[Elasticsearch]) -> None:
    """Check that client and server are compatible, if the credentials may see the version.

    Raises:
        ComponentError: They are not, or the server cannot be reached.
    """

    def versions(client: Elasticsearch) -> list[str]:
        # Not from GET /, which clusters with few privileges deny.
        try:
            reply = client.nodes.info(metric="os", filter_path="nodes.*.version")
        except elasticsearch.ApiError as error:
            failure = failure_of(error)
            if failure and failure.kind in ("forbidden", "missing", "invalid"):
                return []  # credentials that may only search need not see the nodes
            raise
        return sorted({str(node["version"]) for node in reply.get("nodes", {}).values()})

    installed = version("elasticsearch")
    major = int(installed.split(".")[0])
    for server_version in connection.call(versions):
        if int(server_version.split(".")[0]) not in (major, major + 1):
            raise ComponentError(
                f"{connection.server} is version {server_version}, but elasticsearch-py {installed}"
                f" serves versions {major} and {major + 1}: use a server of one of these",
                code="RK268",
            )
