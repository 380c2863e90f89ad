"""The canary, with the exporter itself: when something hangs, the probe has failed, and the scrape of it has not."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runlab.stack import compose, programs
from runlab.stack.control import StackError
from runlab.waiting import wait_until

OURS = Path(__file__).parent.parent / "compose" / "compose.yaml"
BLOCK = f"127.{41 + os.getpid() % 30}.8"
PORT = 9115


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[httpx.Client]:
    """The exporter as compose.yaml has it; a client that asks it as Prometheus does."""
    passwords = dict.fromkeys([secret.environment for secret in compose.read(OURS).secrets.values()], "unused")
    file = tmp_path / "blackbox.yml"
    described = compose.read(OURS, passwords | {"HOST_canary": f"{BLOCK}.1", "CONFIG_blackbox": str(file)})
    file.write_text(described.configs["blackbox"].content)
    program, *arguments = described.services["canary"].argv
    try:
        path = programs.find(program, service="canary")
    except StackError as error:
        pytest.skip(str(error))
    process = subprocess.Popen([path, *arguments])
    prometheus = described.configs["prometheus"].content
    job = prometheus[prometheus.index("job_name: canary\n") :]
    found = re.search(r"scrape_timeout: (\d+)(ms|s)\n", job)
    assert found
    timeout_s = int(found[1]) / (1000 if found[2] == "ms" else 1)
    headers = {"X-Prometheus-Scrape-Timeout-Seconds": f"{timeout_s:g}"}
    url = f"http://{BLOCK}.1:{PORT}"
    with httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=False) as client:
        wait_until("the exporter", lambda: answers(client), deadline_s=10)
        yield client
    process.kill()
    process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/-/healthy").status_code == 200
    except httpx.TransportError:
        return False


def success(client: httpx.Client, target: str) -> str:
    text = client.get("/probe", params={"module": "http", "target": target}).raise_for_status().text
    return next(line.split()[1] for line in text.splitlines() if line.startswith("probe_success "))


def test_who_hangs_has_failed_within_the_scrapes_time(probe: httpx.Client) -> None:
    with socket.create_server((f"{BLOCK}.2", 8000)):
        began = time.monotonic()
        assert success(probe, f"http://{BLOCK}.2:8000/") == "0"
        assert time.monotonic() - began < float(probe.headers["X-Prometheus-Scrape-Timeout-Seconds"])


def test_who_answers_is_there_and_who_is_not_there_is_not(probe: httpx.Client) -> None:
    assert success(probe, f"http://{BLOCK}.1:{PORT}/-/healthy") == "1"
    assert success(probe, f"http://{BLOCK}.1:{PORT}/probe") == "0"
    assert success(probe, f"http://{BLOCK}.3:8000/") == "0"
