"""The node's HTTP interface: what runs, and orders to run another release, or the same with other settings.

GET /release tells it; PUT /release {"release": "1", "settings": {"PROVIDER_REGION": "west"}} orders it. Settings are
those of SETTINGS, and an order without any runs the release as the node's own environment has it.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sut.node.node import Node, Release

PORT = 8001
DECIDED_WITHIN_S = 8.0
SETTINGS = (
    "DB_MAX_OVERFLOW",
    "DB_POOL_SIZE",
    "DB_POOL_TIMEOUT_S",
    "PROVIDER_BACKOFF_S",
    "PROVIDER_BREAKER",
    "PROVIDER_CONNECT_TIMEOUT_S",
    "PROVIDER_FALLBACK",
    "PROVIDER_REGION",
    "PROVIDER_RETRIES",
    "PROVIDER_TIMEOUT_S",
)
"""What a deployment may set; anything else of the environment is the node's."""


class Control(ThreadingHTTPServer):
    """PUT answers 200 once the release serves, 409 when it has ended or takes more than 8 s; `detail` says why."""

    daemon_threads = True

    def __init__(self, host: str, node: Node) -> None:
        self.node = node
        super().__init__((host, PORT), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Control

    def do_GET(self) -> None:
        if self.path == "/release":
            self._answer(200, self.server.node.told())
        else:
            self._answer(404, {"detail": "there is only /release"})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/release":
            self._answer(404, {"detail": "there is only /release"})
            return
        try:
            release = ordered(body)
        except ValueError as error:
            self._answer(422, {"detail": str(error)})
            return
        if failure := self.server.node.roll(release, DECIDED_WITHIN_S):
            self._answer(409, {"detail": failure})
        else:
            self._answer(200, {"release": release.number, "settings": dict(release.settings)})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """The node logs what comes of an order."""


def ordered(body: bytes) -> Release:
    """The release that an order names. ValueError, readable, for what is no order."""
    try:
        order = json.loads(body)
    except ValueError:
        order = None
    number = order.get("release") if isinstance(order, dict) else None
    if not isinstance(number, str) or not number:
        raise ValueError('say which, as {"release": "1"}')
    settings = order.get("settings", {})
    if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
        raise ValueError('settings are strings by name, as {"PROVIDER_REGION": "west"}')
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise ValueError(f"no such setting: {', '.join(unknown)}; there are {', '.join(SETTINGS)}")
    return Release.of(number, settings)
