"""When Prometheus is believed: a small server answers in its place, at its port."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from runlab.stack import scraping
from runlab.stack.control import StackError
from runlab.waiting import Silent

HOST = "127.231.77.9"
API, ARCHIVE = "127.231.77.3", "127.231.77.4"


@dataclass
class Prometheus:
    """What it answers; `up` by address, one mapping after another, the last for ever."""

    targets: tuple[str, ...] = (API, ARCHIVE)
    up: list[dict[str, str]] = field(default_factory=list)
    alertmanagers: tuple[str, ...] = ("one",)
    asked: int = 0

    def answer(self, path: str) -> Any:
        if path.endswith("/targets"):
            targets = [
                {"labels": {"job": "api", "instance": it}, "scrapeUrl": f"http://{it}:80/metrics"}
                for it in self.targets
            ]
            return {"activeTargets": targets}
        if path.endswith("/alertmanagers"):
            return {"activeAlertmanagers": list(self.alertmanagers)}
        self.asked += 1
        up = self.up.pop(0) if len(self.up) > 1 else self.up[0]
        return {"result": [{"metric": {"job": "api", "instance": it}, "value": [0, up[it]]} for it in up]}


@pytest.fixture
def prometheus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prometheus]:
    made = Prometheus()
    monkeypatch.setattr(scraping, "_DEADLINE_S", 0.3)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"data": made.answer(urlsplit(self.path).path)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer((HOST, scraping.PORT), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


def wait(started: set[str]) -> None:
    scraping.wait_for_scrapes(HOST, started, alerting=True, progress=Silent())


def test_it_waits_until_every_started_target_is_up(prometheus: Prometheus) -> None:
    prometheus.up = [{}, {API: "0"}, {API: "1"}, {API: "1", ARCHIVE: "0"}, {API: "1", ARCHIVE: "1"}]
    wait({API, ARCHIVE})
    assert prometheus.asked == 5


def test_a_service_that_was_not_started_is_not_waited_for(prometheus: Prometheus) -> None:
    prometheus.up = [{}, {API: "1"}]
    wait({API})
    assert prometheus.asked == 2


@pytest.mark.parametrize(
    ("targets", "up", "alertmanagers", "lacks"),
    [
        ((API,), {}, ("one",), f"a scrape of api at {API}"),
        ((API,), {API: "0"}, ("one",), f"a successful scrape of api at {API}"),
        ((API,), {API: "1"}, (), "an active Alertmanager"),
        ((ARCHIVE,), {ARCHIVE: "1"}, ("one",), "targets"),
    ],
)
def test_what_is_missing_is_named(
    prometheus: Prometheus, targets: tuple[str, ...], up: dict[str, str], alertmanagers: tuple[str, ...], lacks: str
) -> None:
    prometheus.targets, prometheus.up, prometheus.alertmanagers = targets, [up], alertmanagers
    with pytest.raises(StackError, match=rf"it still lacks {lacks}$"):
        wait({API})
