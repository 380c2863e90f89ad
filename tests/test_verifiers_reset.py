"""Right after a reset: what Prometheus said before it could see the reset is not taken for steady state."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runlab.journal import Journal
from runlab.model import PromQL, Signal, Watcher
from runlab.waiting import wait_until
from verifiers.alerts import AlertWatcher
from verifiers.metrics import MetricWatcher

EVERY_S = 0.4
ANSWERS = {
    "/api/v1/rules": {
        "groups": [
            {
                "interval": EVERY_S,
                "rules": [{"name": "Failed", "query": "up", "health": "ok", "lastEvaluation": "2026-01-01T00:00:00Z"}],
            }
        ]
    },
    "/api/v1/targets": {"activeTargets": [{"scrapeInterval": "400ms"}]},
    "/api/v1/query": {"resultType": "vector", "result": []},
}


class Quiet(BaseHTTPRequestHandler):
    """A Prometheus in which nothing fires."""

    def do_GET(self) -> None:
        content = json.dumps({"status": "success", "data": ANSWERS[urlsplit(self.path).path]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@dataclass
class Stack:
    block: str
    reset_at: float = 0.0
    run_id: str = "r1"

    def host(self, service: str) -> str:
        return f"{self.block}.{ {'runner': 1, 'prometheus': 2, 'alertmanager': 3}[service] }"

    def listen(self, host: str, port: int) -> socket.socket:
        return socket.create_server((self.host(host), port))


@pytest.fixture
def stack() -> Iterator[Stack]:
    made = Stack(f"127.{121 + os.getpid() % 40}.1")
    server = ThreadingHTTPServer((made.host("prometheus"), 9090), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def alerts(stack: Stack, journal: Journal) -> Watcher:
    return AlertWatcher(stack, journal, [])  # type: ignore[arg-type]


def metrics(stack: Stack, journal: Journal) -> Watcher:
    signal = Signal("RB-001", "RB-001/detect/1", "Deployment stalls.", "symptom", PromQL("up == 0"))
    return MetricWatcher(stack, journal, [signal], time_scale=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("build", "needed_s"), [(alerts, 2 * EVERY_S), (metrics, EVERY_S)])
def test_an_answer_counts_only_once_it_can_know_of_the_reset(
    tmp_path: Path, stack: Stack, build: Callable[[Stack, Journal], Watcher], needed_s: float
) -> None:
    written = Journal(tmp_path / "journal", "r1")
    written.write("run-start")
    watcher = build(stack, written)
    try:
        wait_until("steady state", lambda: watcher.settled().holds, deadline_s=5)
        stack.reset_at = time.monotonic()
        assert watcher.settled().detail == "Prometheus may not have seen the reset yet"
        wait_until("steady state", lambda: watcher.settled().holds, deadline_s=5)
        assert time.monotonic() - stack.reset_at >= needed_s
    finally:
        watcher.close()
        written.close()
