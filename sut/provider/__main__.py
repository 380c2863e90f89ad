"""`python -m sut.provider`: a region of the provider, REGION, on LISTEN_HOST (all addresses unless given), port 8000.

GET /v1/suggestions answers with some KiB of JSON, GET /status is the provider's own status page.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sut.logs import log_as_json

PORT = 8000
SUGGESTIONS = [
    {"title": f"Split milestone {number}", "why": "Two of its tasks have had no owner for a while. " * 3}
    for number in range(20)
]


class Provider(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, region: str) -> None:
        suggestions = {"region": region, "suggestions": SUGGESTIONS}
        status = {"region": region, "status": "operational"}
        self.answers = {"/v1/suggestions": json.dumps(suggestions).encode(), "/status": json.dumps(status).encode()}
        super().__init__((host, PORT), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two segments: the second would wait 40 ms for an ACK
    server: Provider

    def do_GET(self) -> None:
        answer = self.server.answers.get(self.path)
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer or b"")))
        self.end_headers()
        self.wfile.write(answer or b"")

    def log_message(self, *_: object) -> None:
        """Who asks, knows."""


def main() -> None:
    log_as_json()
    host = os.environ.get("LISTEN_HOST", "0.0.0.0")  # noqa: S104 - a container's own addresses
    with Provider(host, os.environ["REGION"]) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()


if __name__ == "__main__":
    main()
