"""`python -m sut.node` with the real API, whose database is a closed port: swaps, ends, and what outlives what."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runlab.stack import block
from runlab.waiting import wait_until

ROOT = Path(__file__).parents[2]
DRAIN_S = 0.5


class Running:
    """A node at an address of its own."""

    def __init__(self, host: str, log: Path) -> None:
        database = {"PGHOST": host, "PGPORT": "1", "PGUSER": "app", "PGPASSWORD": "unused"}
        self.host, self.log = host, log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sut.node"],
                env={**os.environ, **database, "LISTEN_HOST": host, "DRAIN_S": f"{DRAIN_S}"},
                cwd=ROOT,
                stdout=file,
            )
        wait_until("release 1", lambda: self.health() == 200, deadline_s=20)

    def roll(self, release: str) -> httpx.Response:
        return httpx.put(f"http://{self.host}:8001/release", json={"release": release}, timeout=10, trust_env=False)

    def status(self) -> dict[str, str]:
        status: dict[str, str] = httpx.get(f"http://{self.host}:8001/release", trust_env=False).json()
        return status

    def health(self) -> int | None:
        """The API's own word; None when nobody listens."""
        try:
            return httpx.get(f"http://{self.host}:8000/health", trust_env=False).status_code
        except httpx.TransportError:
            return None


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Running]:
    lock, hosts = block.take("a node", {"node": [8000, 8001]})
    with lock:
        running = Running(hosts["node"], tmp_path / "node.log")
        yield running
        running.process.kill()
        running.process.wait()
        wait_until("the API's end", lambda: running.health() is None, deadline_s=5)


def test_releases_are_swapped_and_one_that_is_not_there_is_refused_in_its_own_words(node: Running) -> None:
    assert (node.roll("2").status_code, node.status()["state"]) == (200, "serving")
    assert httpx.get(f"http://{node.host}:8000/health", trust_env=False).json()["release"] == "2"
    refused = node.roll("9")
    assert refused.status_code == 409
    assert refused.json() == {"detail": "there is no release 9, only 1, 2, 3 (status 3)"}
    wait_until("it is tried again", lambda: int(node.status()["starts"]) >= 2, deadline_s=5)
    assert node.health() is None
    assert node.roll("1").status_code == 200
    assert node.health() == 200
    assert "there is no release 9" in node.log.read_text()


@pytest.mark.parametrize("body", [b"", b"2", b'{"release": 2}', b'{"relase": "2"}', b'{"release": ""}'])
def test_an_order_that_makes_no_sense_changes_nothing(node: Running, body: bytes) -> None:
    answer = httpx.put(f"http://{node.host}:8001/release", content=body, trust_env=False)
    assert answer.status_code == 422
    assert node.status() == {"release": "1", "settings": {}, "state": "serving", "starts": 1, "detail": ""}


def test_sigterm_ends_the_child_after_it_has_said_so(node: Running) -> None:
    node.process.send_signal(signal.SIGTERM)
    wait_until("it says that it ends", lambda: node.health() == 503, deadline_s=DRAIN_S, every_s=0.01)
    assert httpx.get(f"http://{node.host}:8000/metrics", trust_env=False).status_code == 200
    assert node.process.wait(5) == 0
    assert node.health() is None


def test_a_child_does_not_outlive_a_node_that_was_killed(node: Running) -> None:
    node.process.kill()
    node.process.wait()
    wait_until("the child's end", lambda: node.health() is None, deadline_s=2)
