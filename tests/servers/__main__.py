"""`make servers`: a real Elasticsearch and a real Qdrant to try recipes against, until Ctrl-C."""

import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from servers.elasticsearch_server import ElasticsearchServer, ServerUnavailable
from servers.qdrant_server import QdrantProcess


def main() -> int:
    """Start the available servers, print their URLs, and wait."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        lines = []
        for name, make in (("Elasticsearch", ElasticsearchServer), ("Qdrant", QdrantProcess)):
            try:
                server = stack.enter_context(make())
            except ServerUnavailable as reason:
                print(f"no {name}: {reason}", file=sys.stderr)
                continue
            variable = "ES_URL" if name == "Elasticsearch" else "QDRANT_URL"
            lines.append(f"export {variable}={server.url}")
            if isinstance(server, QdrantProcess):
                lines.append(f"export QDRANT_GRPC_PORT={server.grpc_port}")
        if not lines:
            return 1
        print(
            "Run these lines in the shell that runs recipes with url: ${env:QDRANT_URL}:\n",
            flush=True,
        )
        print("\n".join(lines), flush=True)
        print("\nCtrl-C stops the servers and deletes their data.", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
