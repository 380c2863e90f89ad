"""verifiers.alerts and verifiers.webhook: which deliveries count; the servers themselves are in tests/e2e."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from runlab import journal
from runlab.journal import Journal
from runlab.model import JsonObject, Signal
from verifiers.alerts import AlertWatcher
from verifiers.webhook import Receiver

FAILED = Signal("RB-001", "RB-001/detect/1", "DeployFailed", "alert")
ALSO = Signal("RB-009", "RB-009/detect/1", "DeployFailed", "alert")
BLOCKS = itertools.count(1)


@dataclass(frozen=True)
class Nowhere:
    """A stack in which no server runs, on addresses of its own."""

    block: str
    run_id: str = "r1"

    def host(self, service: str) -> str:
        return f"{self.block}.{ {'runner': 1, 'prometheus': 2, 'alertmanager': 3}[service] }"

    def listen(self, host: str, port: int) -> socket.socket:
        return socket.create_server((self.host(host), port))


@dataclass
class Lab:
    journal: Journal
    watcher: AlertWatcher
    url: str

    def send(self, *alerts: JsonObject) -> int:
        return httpx.post(self.url, json={"version": "4", "alerts": alerts}, trust_env=False).status_code

    def events(self, kind: str) -> list[JsonObject]:
        return [event for event in journal.read(self.journal.path.parent) if event["kind"] == kind]


@pytest.fixture
def stack() -> Nowhere:
    return Nowhere(f"127.{80 + os.getpid() % 40}.{next(BLOCKS)}")


@pytest.fixture
def lab(tmp_path: Path, stack: Nowhere) -> Iterator[Lab]:
    written = Journal(tmp_path / "journal", "r1")
    written.write("run-start")
    watcher = AlertWatcher(stack, written, [FAILED, ALSO])  # type: ignore[arg-type]
    yield Lab(written, watcher, f"http://{stack.host('runner')}:9099/alerts")
    watcher.close()
    written.close()


def alert(*, name: str = "DeployFailed", run: str = "r1", status: str = "firing", ago_s: float = 0.0) -> JsonObject:
    return {
        "status": status,
        "labels": {"alertname": name, "run": run, "step": "migrate"},
        "annotations": {"runbook_url": "runbooks/RB-001.md"},
        "startsAt": (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": f"f-{name}-{run}",
    }


def test_a_delivery_is_a_signal_for_each_claim_that_names_it(lab: Lab) -> None:
    lab.watcher.begin("a1")
    assert lab.send(alert()) == 200
    signals = lab.events("signal")
    assert [(event["claim"], event["arm"]) for event in signals] == [(FAILED.claim, "a1"), (ALSO.claim, "a1")]
    assert {event["by"] for event in signals} == {"Alertmanager webhook"}
    assert {json.dumps(event["labels"], sort_keys=True) for event in signals} == {
        '{"alertname": "DeployFailed", "run": "r1", "step": "migrate"}'
    }
    assert "run=r1" in signals[0]["detail"]
    assert "runbook_url runbooks/RB-001.md" in signals[0]["detail"]
    assert [(hop["alert"], hop["hop"]) for hop in lab.events("hop")] == [("DeployFailed", "delivered")]
    assert lab.watcher.delivered(["DeployFailed", "Other"]) == {"DeployFailed"}


def test_the_same_delivery_sent_again_counts_once(lab: Lab) -> None:
    lab.watcher.begin("a1")
    sent = alert()
    lab.send(sent)
    lab.send(sent)
    assert (len(lab.events("signal")), len(lab.events("hop"))) == (2, 1)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (alert(run="r0"), "label run='r0' is not this run's"),
        (alert(ago_s=60), "it began before this arm"),
        (alert(name="Elsewhere"), ""),
    ],
    ids=["another run", "stale", "in no runbook"],
)
def test_what_proves_nothing_is_a_hop_but_no_signal(lab: Lab, sent: JsonObject, reason: str) -> None:
    lab.watcher.begin("a1")
    sent["startsAt"] = max(sent["startsAt"], datetime.now(UTC).isoformat()) if not reason else sent["startsAt"]
    lab.send(sent)
    (hop,) = lab.events("hop")
    assert reason in hop["detail"]
    assert ("does not count" in hop["detail"]) == bool(reason)
    assert lab.events("signal") == []
    assert lab.watcher.delivered(["DeployFailed"]) == set()


def test_an_alert_without_a_run_label_does_not_count(lab: Lab) -> None:
    lab.watcher.begin("a1")
    sent = alert()
    del sent["labels"]["run"], sent["annotations"]
    lab.send(sent)
    assert lab.events("signal") == []
    assert "no runbook_url" in lab.events("hop")[0]["detail"]


def test_between_arms_nothing_counts_nor_later_for_the_next_arm(lab: Lab) -> None:
    lab.watcher.begin("a1")
    lab.watcher.end()
    sent = alert()
    lab.send(sent)
    lab.watcher.begin("a2")
    lab.send(sent)
    lab.send(sent | {"status": "resolved"})
    assert lab.events("signal") == []
    assert [hop["hop"] for hop in lab.events("hop")] == ["delivered", "resolved"]


def test_silence_does_not_count_and_nothing_is_settled_without_servers(lab: Lab) -> None:
    lab.watcher.begin("a1")
    for source in lab.watcher.end():
        assert (source.answers, source.exists, source.fresh) == (False, False, False)
        assert "Prometheus" in source.detail
    assert not lab.watcher.settled().holds


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"alerts": [{}]}',
        b'{"alerts": 3}',
        b"",
        json.dumps({"alerts": [alert() | {"startsAt": "x"}]}).encode(),
    ],
)
def test_what_is_no_webhook_is_refused(lab: Lab, body: bytes) -> None:
    lab.watcher.begin("a1")
    assert httpx.post(lab.url, content=body, trust_env=False).status_code in {400, 413}
    assert httpx.post(lab.url.replace("alerts", "other"), content=body, trust_env=False).status_code == 404
    assert lab.events("hop") == []


def test_a_crash_of_the_receiver_is_told_until_the_next_window(stack: Nowhere) -> None:
    def crash(_: object) -> None:
        raise RuntimeError("disk full")

    receiver = Receiver(stack.listen("runner", 9099), crash)
    try:
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"http://{stack.host('runner')}:9099/alerts", json={"alerts": [alert()]}, trust_env=False)
        assert receiver.failure == "the webhook receiver crashed: RuntimeError: disk full"
        receiver.forget()
        assert receiver.failure == ""
    finally:
        receiver.close()
    assert receiver.failure == "the webhook receiver has ended"
