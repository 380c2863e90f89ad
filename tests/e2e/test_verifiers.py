"""Watchers of alerts and metrics against Prometheus, Alertmanager and Pushgateway, each blinded once on purpose."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from runlab import journal
from runlab.journal import Journal
from runlab.model import JsonObject, LabError, PromQL, Signal, Source
from runlab.timescale import scale_rules
from runlab.waiting import wait_until
from verifiers.alerts import AlertWatcher
from verifiers.metrics import MetricWatcher

SERVERS = ("prometheus", "prometheus-alertmanager", "prometheus-pushgateway")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, SERVERS)), reason=f"needs {', '.join(SERVERS)}")

RULES = """\
groups:
  - name: lab
    rules:
      - alert: DeployFailed
        expr: max by (step) (deploy_failed{step="migrate"}) == 1
        for: 1m
        labels: {runbook: RB-001}
        annotations: {runbook_url: runbooks/RB-001.md}
      - alert: Renamed
        expr: rate(no_such_series{a="b"}[5m]) > 0.5 or deploy_failed == 7
      - alert: Unhealthy
        expr: deploy_failed * on (step) group_left () (deploy_failed or deploy_twin) > 5
      - alert: InNoRunbook
        expr: other_failed == 1
"""
PROMETHEUS = """\
global: {scrape_interval: 100ms, evaluation_interval: 100ms, external_labels: {run: r1}}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ["@alertmanager:9093"]}]}]}
scrape_configs:
  - {job_name: pushed, honor_labels: true, static_configs: [{targets: ["@pushgateway:9091"]}]}
"""
ALERTMANAGER = """\
route: {receiver: lab, group_by: [alertname], group_wait: 10ms, group_interval: 100ms, repeat_interval: 1h}
receivers:
  - name: lab
    webhook_configs: [{url: "http://@runner:9099/alerts", send_resolved: true}]
"""
SCALE = 300
FAILED = Signal("RB-001", "RB-001/detect/1", "DeployFailed", "alert")
RENAMED = Signal("RB-002", "RB-002/detect/1", "Renamed", "alert")
UNHEALTHY = Signal("RB-003", "RB-003/detect/1", "Unhealthy", "alert")
NO_RULE = Signal("RB-004", "RB-004/detect/1", "NoRule", "alert")
STALLS = Signal(
    "RB-001",
    "RB-001/detect/4",
    "Deployment stalls.",
    "symptom",
    PromQL('avg_over_time(deploy_failed{step="migrate"}[1m]) > 0.9'),
)
MISSING = Signal("RB-001", "RB-001/detect/5", "Nothing moves.", "symptom", PromQL("rate(no_such_series[5m]) == 0"))


@dataclass
class Servers:
    """Three servers on a loopback block; as much of a stack as the watchers ask for."""

    folder: Path
    block: str
    run_id: str = "r1"
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def host(self, service: str) -> str:
        return f"{self.block}.{('runner', 'prometheus', 'alertmanager', 'pushgateway').index(service) + 1}"

    def listen(self, host: str, port: int) -> socket.socket:
        return socket.create_server((self.host(host), port))

    def start(self, service: str, *arguments: str) -> None:
        """Ends with the test process, even when that is killed."""
        with (self.folder / f"{service}.log").open("ab") as log:
            self.processes[service] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *arguments], cwd=self.folder, stdout=log, stderr=log
            )

    def start_prometheus(self) -> None:
        self.write("rules.yml", scale_rules(RULES, SCALE, "rules.yml"))
        self.write("prometheus.yml", PROMETHEUS)
        listen = f"--web.listen-address={self.host('prometheus')}:9090"
        self.start("prometheus", "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", listen)

    def start_alertmanager(self) -> None:
        self.write("alertmanager.yml", ALERTMANAGER)
        options = ("--config.file=alertmanager.yml", "--storage.path=am", "--cluster.listen-address=")
        listen = f"--web.listen-address={self.host('alertmanager')}:9093"
        self.start("alertmanager", "prometheus-alertmanager", *options, listen)

    def start_pushgateway(self) -> None:
        listen = f"--web.listen-address={self.host('pushgateway')}:9091"
        self.start("pushgateway", "prometheus-pushgateway", "--persistence.file=", listen)

    def write(self, name: str, text: str) -> None:
        for service in ("runner", "alertmanager", "pushgateway"):
            text = text.replace(f"@{service}", self.host(service))
        (self.folder / name).write_text(text)

    def push(self, text: str, job: str = "deploy") -> None:
        url = f"http://{self.host('pushgateway')}:9091/metrics/job/{job}"
        httpx.put(url, content=text + "\n", trust_env=False).raise_for_status()

    def forget(self, job: str) -> None:
        url = f"http://{self.host('pushgateway')}:9091/metrics/job/{job}"
        httpx.delete(url, trust_env=False).raise_for_status()

    def ask(self, expression: str) -> list[JsonObject]:
        url = f"http://{self.host('prometheus')}:9090/api/v1/query"
        result: list[JsonObject] = httpx.get(url, params={"query": expression}, trust_env=False).json()["data"][
            "result"
        ]
        return result

    def ready(self, service: str, port: int) -> None:
        def answers() -> bool:
            try:
                url = f"http://{self.host(service)}:{port}/-/ready"
                return httpx.get(url, timeout=0.5, trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(f"{service} to be ready", answers, deadline_s=10)

    @contextmanager
    def stopped(self, service: str) -> Iterator[None]:
        process = self.processes[service]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def end(self, service: str) -> None:
        process = self.processes.pop(service)
        process.kill()
        process.wait(timeout=10)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("servers"), f"127.88.{os.getpid() % 250 + 1}")
    try:
        made.start_prometheus()
        made.start_alertmanager()
        made.start_pushgateway()
        for service, port in (("prometheus", 9090), ("alertmanager", 9093), ("pushgateway", 9091)):
            made.ready(service, port)
        made.push('deploy_failed{step="migrate"} 0')
        wait_until("the first scrape", lambda: made.ask("deploy_failed"), deadline_s=15)
        yield made
    finally:
        for service in list(made.processes):
            made.end(service)


@dataclass
class Lab:
    servers: Servers
    journal: Journal
    alerts: AlertWatcher
    metrics: MetricWatcher

    def events(self, kind: str, **fields: str) -> list[JsonObject]:
        events = journal.read(self.journal.path.parent)
        wanted = {"kind": kind, **fields}
        return [event for event in events if wanted.items() <= event.items()]

    def hops(self, alert: str, arm: str) -> list[str]:
        return [event["hop"] for event in self.events("hop", alert=alert, arm=arm)]

    def fails(self) -> None:
        self.servers.push('deploy_failed{step="migrate"} 1')

    def recovers(self) -> None:
        self.servers.push('deploy_failed{step="migrate"} 0')
        wait_until("settled alerts", lambda: self.alerts.settled().holds, deadline_s=10)

    def watches(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        wait_until("the time to pass", lambda: time.monotonic() >= ends, deadline_s=seconds + 1)

    def delivered(self) -> bool:
        return self.alerts.delivered(["DeployFailed"]) == {"DeployFailed"}

    def sources(self) -> dict[str, Source]:
        return {source.signal: source for source in (*self.alerts.end(), *self.metrics.end())}


@pytest.fixture
def lab(servers: Servers, tmp_path: Path) -> Iterator[Lab]:
    written = Journal(tmp_path / "journal", "r1")
    written.write("run-start")
    signals = [FAILED, RENAMED, UNHEALTHY, NO_RULE, STALLS, MISSING]
    alerts = AlertWatcher(servers, written, signals, blind_s=1.0)  # type: ignore[arg-type]
    metrics = MetricWatcher(servers, written, signals, time_scale=SCALE, blind_s=1.0)  # type: ignore[arg-type]
    made = Lab(servers, written, alerts, metrics)
    made.recovers()
    yield made
    made.recovers()
    alerts.close()
    metrics.close()
    written.close()


def verdict(source: Source) -> tuple[bool, bool, bool]:
    return source.answers, source.exists, source.fresh


def test_a_quiet_arm_tells_which_silence_counts(lab: Lab) -> None:
    lab.alerts.begin("a1")
    lab.metrics.begin("a1")
    lab.watches(1.2)
    sources = lab.sources()
    assert (verdict(sources["DeployFailed"]), sources["DeployFailed"].detail) == ((True, True, True), "")
    assert (verdict(sources["NoRule"]), sources["NoRule"].detail) == ((True, False, False), "no rule of this name")
    assert verdict(sources["Renamed"]) == (True, False, True)
    assert sources["Renamed"].detail == 'series no_such_series{a="b"} does not exist'
    assert (verdict(sources[STALLS.name]), sources[STALLS.name].detail) == ((True, True, True), "")
    assert verdict(sources[MISSING.name]) == (True, False, False)
    assert sources[MISSING.name].detail == "series no_such_series does not exist"
    assert lab.events("signal") == []
    assert lab.metrics.settled().holds


def test_the_chain_from_the_sample_to_the_delivery_and_its_end(lab: Lab) -> None:
    lab.alerts.begin("a1")
    lab.metrics.begin("a1")
    lab.fails()
    wait_until("delivery", lab.delivered, deadline_s=5)
    assert lab.alerts.firing()["DeployFailed"] == {"alertname": "DeployFailed", "runbook": "RB-001", "step": "migrate"}
    assert not lab.alerts.settled().holds
    wait_until("the symptom", lambda: lab.events("signal", name=STALLS.name), deadline_s=5)
    assert not lab.metrics.settled().holds
    lab.recovers()
    wait_until("the symptom to end", lambda: lab.metrics.settled().holds, deadline_s=5)
    assert verdict(lab.sources()["DeployFailed"]) == (True, True, True)

    hops = lab.hops("DeployFailed", "a1")
    assert hops == ["scraped", "pending", "firing", "delivered", "resolved"]
    (signal_,) = lab.events("signal", name="DeployFailed")
    assert (signal_["arm"], signal_["claim"], signal_["by"]) == ("a1", FAILED.claim, "Alertmanager webhook")
    assert "runbook_url runbooks/RB-001.md" in signal_["detail"]
    (scraped,) = lab.events("hop", hop="scraped")
    assert scraped["detail"].startswith("sample of 20")
    (symptom,) = lab.events("signal", name=STALLS.name)
    assert symptom["by"] == "Prometheus"
    assert symptom["detail"].startswith('`avg_over_time(deploy_failed{step="migrate"}[400ms]) > 0.9` gives {')


def test_an_alert_that_fires_since_before_the_arm_does_not_count(lab: Lab) -> None:
    lab.alerts.begin("a1")
    lab.fails()
    wait_until("delivery", lab.delivered, deadline_s=5)
    lab.alerts.end()
    lab.alerts.begin("a2")
    lab.watches(1.0)
    assert "DeployFailed" in lab.alerts.firing()
    assert not lab.delivered()
    lab.recovers()
    assert "resolved" in lab.hops("DeployFailed", "a1"), "the end belongs to the arm in which it began"
    lab.fails()
    wait_until("delivery in the second arm", lab.delivered, deadline_s=5)
    assert [event["arm"] for event in lab.events("signal", name="DeployFailed")] == ["a1", "a2"]


def test_an_alert_that_was_pending_before_the_arm_does_not_count(lab: Lab) -> None:
    lab.fails()
    wait_until("pending", lambda: not lab.alerts.settled().holds, deadline_s=5, every_s=0.01)
    lab.alerts.begin("a1")
    wait_until("its delivery", lambda: lab.events("hop", hop="delivered"), deadline_s=5)
    assert lab.events("signal") == []
    assert "does not count" in lab.events("hop", hop="delivered")[0]["detail"]


def test_an_alert_in_no_runbook_is_a_hop(lab: Lab) -> None:
    lab.alerts.begin("a1")
    lab.servers.push("other_failed 1", job="other")
    wait_until("its delivery", lambda: "delivered" in lab.hops("InNoRunbook", "a1"), deadline_s=5)
    lab.servers.forget("other")
    wait_until("its end", lambda: "resolved" in lab.hops("InNoRunbook", "a1"), deadline_s=10)
    assert lab.events("signal") == []


def test_a_rule_that_fails_to_evaluate_is_not_healthy(lab: Lab) -> None:
    lab.servers.push(
        'deploy_failed{step="migrate"} 0\ndeploy_twin{step="migrate",n="1"} 0\ndeploy_twin{step="migrate",n="2"} 0'
    )
    lab.alerts.begin("a1")

    def sick() -> str:
        return next(s.detail for s in lab.alerts.end() if s.signal == "Unhealthy")

    detail = wait_until(
        "a sick rule", lambda: (text := sick()).startswith("the rule is not healthy: ") and text, deadline_s=5
    )
    assert "many-to-many matching not allowed" in str(detail)


def test_series_that_ended_are_not_fresh(lab: Lab) -> None:
    lab.metrics.begin("a1")
    lab.watches(0.5)
    lab.servers.forget("deploy")
    wait_until("stale series", lambda: not lab.servers.ask("deploy_failed"), deadline_s=5)
    source = lab.sources()[STALLS.name]
    assert verdict(source) == (True, True, False)
    assert source.detail == 'series deploy_failed{step="migrate"} has ended'


Blind = Callable[[Lab], None]


@pytest.mark.parametrize("go_on", [False, True], ids=["still stopped", "goes on"])
def test_a_stopped_prometheus_makes_silence_void(lab: Lab, *, go_on: bool) -> None:
    lab.alerts.begin("a1")
    lab.metrics.begin("a1")
    with lab.servers.stopped("prometheus"):
        lab.watches(2.2)
        assert not lab.alerts.settled().holds
        assert not lab.metrics.settled().holds
        if not go_on:
            sources = lab.sources()
    if go_on:
        wait_until("an answer", lambda: lab.alerts.settled().holds and lab.metrics.settled().holds, deadline_s=5)
        sources = lab.sources()
    for name in ("DeployFailed", STALLS.name):
        assert not sources[name].answers
        assert "Prometheus d" in sources[name].detail
    lab.alerts.begin("a2")
    lab.metrics.begin("a2")
    wait_until("an answer", lambda: lab.alerts.settled().holds and lab.metrics.settled().holds, deadline_s=5)


def test_a_stopped_alertmanager_makes_silence_void(lab: Lab) -> None:
    lab.alerts.begin("a1")
    with lab.servers.stopped("alertmanager"):
        source = lab.alerts.end()[0]
    assert (verdict(source), source.detail) == ((False, True, True), "Alertmanager does not answer: timed out")


def test_an_ended_receiver_makes_silence_void(lab: Lab) -> None:
    lab.alerts.begin("a1")
    lab.watches(0.5)
    lab.alerts._receiver.close()
    source = lab.alerts.end()[0]
    assert (verdict(source), source.detail) == ((False, True, True), "the webhook receiver has ended")


def test_a_killed_prometheus_makes_silence_void(lab: Lab) -> None:
    lab.alerts.begin("a1")
    lab.metrics.begin("a1")
    wait_until("a symptom asked for", lambda: lab.metrics.settled().holds, deadline_s=3)
    lab.servers.end("prometheus")
    try:
        for watcher in (lab.alerts, lab.metrics):
            wait_until("the watchers to notice", lambda seen=watcher: not seen.settled().holds, deadline_s=3)
        sources = lab.sources()
    finally:
        lab.servers.start_prometheus()
        lab.servers.ready("prometheus", 9090)
        wait_until("its first scrape", lambda: lab.servers.ask("deploy_failed"), deadline_s=15)
    for name in ("DeployFailed", STALLS.name):
        assert verdict(sources[name])[0] is False
        assert "Connection refused" in sources[name].detail


def test_a_symptom_that_is_no_promql_is_refused(lab: Lab) -> None:
    for text in ("rate(x[5m]", "increase(x[5m]) > 3"):
        broken = Signal("RB-001", "RB-001/detect/9", "It breaks.", "symptom", PromQL(text))
        with pytest.raises(LabError, match=r"^RB-001/detect/9: "):
            MetricWatcher(lab.servers, lab.journal, [broken], time_scale=SCALE)  # type: ignore[arg-type]
