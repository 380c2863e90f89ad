"""A sandbox whose processes are killed, one, two, or all at once: nothing is left, the machine is as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab.stack.namespaces import sandbox_obstacle
from runlab.waiting import wait_until
from tests.e2e.killing import ANY, Run, kill, machine, nothing_left, running

pytestmark = pytest.mark.skipif(bool(why := sandbox_obstacle()), reason=str(why))

COMPOSE = """
services:
  server:
    command: [python, -m, http.server, --bind, "${HOST_server}", "8080"]
    expose: [8080]
    healthcheck: {test: [CMD, curl, -fsS, "http://${HOST_server}:8080/"], interval: 50ms, retries: 100}
    x-lab: {machine: zone-a}
x-lab:
  network: {control: 10.20.0.0/24, operator: 10.20.5.0/24, zone-a: 10.20.1.0/24}
"""
# a rule, a route, a limit and a host that is down, of the sandbox; a daemon with an environment of its own; a client
RUNNER = """
import json, sys, time
from pathlib import Path
from runlab.stack import processes
stack = processes.start(
    Path(sys.argv[1], "compose.yaml"), reports=Path(sys.argv[1]), run_id="killed", time_scale=1.0,
    rules=lambda text, _: text, runtime="sandbox", namespaces=sys.argv[2] == "namespace")
def root(on, *argv):
    done = stack.execute(argv, account="root", on=on)
    assert done.status == 0, done
root("router", "iptables", "-A", "FORWARD", "-p", "tcp", "--dport", "9999", "-j", "REJECT")
root("router", "ip", "route", "add", "10.99.0.0/24", "via", "10.20.1.10")
root("router", "ip", "link", "set", "operator", "down")
root("zone-a", "sh", "-c", "echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range")
root("zone-a", "sh", "-c", "echo nameserver 10.20.0.10 > /etc/resolv.conf")
stack.execute(["env", "-i", "sh", "-c", "setsid sleep 300 <&- >&- 2>&- & sleep 0.1"], account="service", on="zone-a")
stack.hold("client", ["curl", "-sN", "telnet://" + stack.inside("server") + ":8080"], on="control")
print(json.dumps([str(stack.control.parent), stack.keeper_pid, stack.host("server")]), flush=True)
time.sleep(60)
"""


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    before = machine()
    (tmp_path / "compose.yaml").write_text(COMPOSE, encoding="utf-8")
    with running(RUNNER, tmp_path, request.param) as made:
        # each begins as the program that puts it on its machine
        wait_until("its client", lambda: {"sleep", "curl"} <= set(made.names()), deadline_s=5)
        yield made
    assert machine() == before


@pytest.mark.parametrize(
    ("run", "killed"),
    [("namespace", who) for who in ANY]
    # without a PID namespace it takes somebody who sees to the end, and time for it
    + [("plain", who) for who in ANY if len(who) <= 2],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
    indirect=["run"],
)
def test_nothing_is_left(run: Run, killed: tuple[str, ...]) -> None:
    kill(run, killed)
    nothing_left(run)
