"""The users against a small server of the test's own: what they write down about each request."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest


class Site(ThreadingHTTPServer):
    """Answers 200; 503 to a PATCH; never to a POST."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.closing = Event()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        self.server.seen[self.command] += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command == "POST":
            self.server.closing.wait(20)
            return
        self.send_response(503 if self.command == "PATCH" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PATCH = do_GET  # noqa: N815 - names that http.server looks for

    def log_message(self, *_: object) -> None:
        """Not to the test's output."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


def users(site: Site, record: Path, limit_s: float, **settings: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "sut.users"],
        env={
            **os.environ,
            "API_URL": f"http://127.0.0.1:{site.server_port}",
            "USERS_RECORD": str(record),
            "USERS_LIMIT_S": str(limit_s),
            **settings,
        },
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
    )


def lines(record: Path) -> tuple[dict[int, Any], dict[int, Any]]:
    events = [json.loads(line) for line in record.read_text().splitlines()]
    starts = {event["id"]: event for event in events if event["event"] == "start"}
    ends = {event["id"]: event for event in events if event["event"] == "end"}
    assert len(starts) + len(ends) == len(events), "an id was used twice"
    return starts, ends


def test_each_request_is_written_down_as_it_went_and_they_stop_by_themselves(site: Site, tmp_path: Path) -> None:
    record = tmp_path / "users.jsonl"
    before = time.monotonic()
    with users(site, record, limit_s=6) as process:
        assert process.wait(30) == 0
    starts, ends = lines(record)
    assert set(ends) <= set(starts)
    assert all(before < event["t"] < time.monotonic() for event in (*starts.values(), *ends.values()))

    endpoints = Counter(event["endpoint"] for event in starts.values())
    assert set(endpoints) == {"GET /projects", "GET /projects/{id}", "PATCH /projects/{id}", "POST /projects"}
    # Nothing is sent twice behind the record's back.
    assert endpoints["POST /projects"] == site.seen["POST"]
    assert endpoints.total() == site.seen.total()

    by_endpoint = {name: [ends[i] for i in ends if starts[i]["endpoint"] == name] for name in endpoints}
    assert all(end["ok"] and end["status"] == 200 and end["error"] is None for end in by_endpoint["GET /projects"])
    assert all(not end["ok"] and end["status"] == 503 and end["error"] for end in by_endpoint["PATCH /projects/{id}"])
    given_up = [(ends[i]["t"] - starts[i]["t"], ends[i]) for i in ends if starts[i]["endpoint"] == "POST /projects"]
    assert given_up
    assert all(3.9 < waited < 4.5 and not end["ok"] and end["status"] is None for waited, end in given_up)


def test_a_request_still_waiting_stands_in_the_record_and_sigterm_ends_them(site: Site, tmp_path: Path) -> None:
    record = tmp_path / "users.jsonl"
    for _ in range(2):  # a second start goes on in the same file
        with users(site, record, limit_s=60) as process:
            deadline = time.monotonic() + 20
            already = site.seen["POST"]
            while site.seen["POST"] < already + 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            starts, ends = lines(record)
            assert any(i not in ends and starts[i]["endpoint"] == "POST /projects" for i in starts)
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0


def test_fewer_users_with_a_name_ask_less_and_say_whom(site: Site, tmp_path: Path) -> None:
    record = tmp_path / "users.jsonl"
    with users(site, record, limit_s=4, USERS_NAME="archive", USERS_COUNT="1") as process:
        assert process.wait(30) == 0
    starts, _ = lines(record)
    # one user goes round in order and waits 4 s at the first POST that is never answered
    assert {event["endpoint"] for event in starts.values()} <= {
        "archive GET /projects",
        "archive GET /projects/{id}",
        "archive PATCH /projects/{id}",
        "archive POST /projects",
    }
    assert 1 <= len(starts) <= 6
