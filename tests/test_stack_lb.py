"""The load balancer's second port, with HAProxy itself: people's page, Prometheus' page, and whether it serves."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runlab.stack import compose, programs
from runlab.waiting import wait_until

OURS = Path(__file__).parent.parent / "compose" / "compose.yaml"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[httpx.Client]:
    """HAProxy with the configuration of compose.yaml, and nothing listening behind it."""
    block = f"127.{41 + os.getpid() % 30}.7"
    hosts = {"HOST_lb": f"{block}.1", "HOST_api1": f"{block}.2", "HOST_api2": f"{block}.3"}
    described = compose.read(OURS)
    passwords = dict.fromkeys([secret.environment for secret in described.secrets.values()], "unused")
    file = tmp_path / "haproxy.cfg"
    file.write_text(compose.read(OURS, hosts | passwords).configs["haproxy"].content)
    process = subprocess.Popen([programs.find("haproxy", service="lb"), "-db", "-f", str(file)])
    with httpx.Client(base_url=f"http://{block}.1:8405", trust_env=False) as client:
        wait_until("HAProxy", lambda: answers(client), deadline_s=10)
        yield client
    process.kill()
    process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/metrics").status_code == 200
    except httpx.TransportError:
        return False


def test_people_see_each_server_and_why_it_is_down(page: httpx.Client) -> None:
    def shown() -> str:
        text = page.get("/stats").raise_for_status().text
        return text if text.count("DOWN") else ""

    text = wait_until("the servers' checks", shown, deadline_s=5)
    assert "Statistics Report" in text
    for name in ("platform", "api1", "api2"):
        assert name in text


def test_prometheus_and_the_health_check_have_pages_of_their_own(page: httpx.Client) -> None:
    assert "haproxy_server_status" in page.get("/metrics").text
    wait_until("its own word that nobody serves", lambda: page.get("/serving").status_code == 503, deadline_s=5)


def test_a_reset_puts_a_replica_back_that_was_taken_out(page: httpx.Client) -> None:
    def status() -> str:
        table = page.get("/stats;csv").raise_for_status().text.removeprefix("# ").splitlines()
        return next(row["status"] for row in csv.DictReader(table) if row["svname"] == "api2")

    page.post("/stats", data={"s": "api2", "action": "maint", "b": "api"})
    assert status() == "MAINT"
    known = {"HOST_lb": str(page.base_url.host)}
    passwords = dict.fromkeys([secret.environment for secret in compose.read(OURS).secrets.values()], "unused")
    for argv in compose.read(OURS, known | passwords).services["lb"].lab.reset:
        subprocess.run(argv, check=True, timeout=5)
    wait_until("its being checked again, like any other", lambda: status() == "DOWN", deadline_s=5)
