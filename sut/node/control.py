"""The node's HTTP interface: GET /release says what runs, PUT /release {"release": "2"} has another release run."""

from __future__ import annotations

import json
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sut.node.node import Node

PORT = 8001
DECIDED_WITHIN_S = 8.0


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
            self._answer(200, asdict(self.server.node.status))
        else:
            self._answer(404, {"detail": "there is only /release"})

    def do_PUT(self) -> None:
        try:
            order = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            release = order["release"]
        except (ValueError, KeyError, TypeError):
            release = None
        if self.path != "/release":
            self._answer(404, {"detail": "there is only /release"})
        elif not isinstance(release, str) or not release:
            self._answer(422, {"detail": 'say which, as {"release": "1"}'})
        elif failure := self.server.node.roll(release, DECIDED_WITHIN_S):
            self._answer(409, {"detail": failure})
        else:
            self._answer(200, {"release": release})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """The node logs what comes of an order."""
