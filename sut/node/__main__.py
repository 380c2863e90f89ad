"""`python -m sut.node`: run `python -m sut.api` as a child, release RELEASE (1 unless given) at first.

The API listens on LISTEN_HOST (all addresses unless given), port 8000, the node's own control on port 8001. The child
has the node's environment, writes to its log, ends with SIGTERM to it, and never outlives it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException

from sut.logs import log_as_json
from sut.node.child import Child
from sut.node.control import Control
from sut.node.node import Node, Release

API_PORT = 8000
ANSWERS_WITHIN_S = 1.0


def main() -> None:
    log_as_json()
    host = os.environ.get("LISTEN_HOST", "0.0.0.0")  # noqa: S104 - a container's own addresses

    def start(release: Release, ended: Callable[[Child], None]) -> Child:
        return Child([sys.executable, "-m", "sut.api"], {**dict(release.settings), "RELEASE": release.number}, ended)

    def serves(release: Release) -> bool:
        connection = HTTPConnection(host, API_PORT, timeout=ANSWERS_WITHIN_S)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            return answer.status == 200 and json.load(answer)["release"] == release.number
        except (OSError, HTTPException, ValueError, KeyError):
            return False
        finally:
            connection.close()

    node = Node(Release(os.environ.get("RELEASE", "1")), start, serves)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    threading.Thread(target=Control(host, node).serve_forever, daemon=True).start()
    node.run()


main()
