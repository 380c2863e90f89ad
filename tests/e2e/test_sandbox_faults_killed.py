"""Real faults of the network, in whose middle a sandbox is killed: nothing is left, and the machine is as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.dns import NameServerDown, StaleCache
from faults.exhaustion import BandwidthUsedUp, LocalPortsExhausted, NatExhausted
from faults.packet_filter import Rejected
from faults.toxics import Latency
from faults.zones import ZoneCutOff
from runlab.model import Fault
from runlab.setup import programs
from runlab.stack.namespaces import sandbox_obstacle
from tests.e2e.killing import ANY, Run, kill, machine, nothing_left, running

pytestmark = pytest.mark.skipif(bool(why := sandbox_obstacle()), reason=str(why))

# the fault is in effect, and somebody in the zone goes on asking for what it breaks
RUNNER = """
import json, sys, time
from pathlib import Path
from runlab.journal import load_fault
from runlab.stack import processes
fault, services = load_fault(json.loads(sys.argv[2])), sys.argv[3].split()
stack = processes.start(
    Path("compose/compose.yaml"), reports=Path(sys.argv[1]), run_id="killed", time_scale=1.0,
    rules=lambda text, _: text, services=services, runtime="sandbox")
somebody = '''
import socket, time
while True:
    try:
        socket.create_connection(("HOST", 6379), timeout=0.2).close()
    except OSError:
        pass
    time.sleep(0.05)
'''
stack.hold("somebody", ["python", "-c", somebody.replace("HOST", stack.inside("redis"))], on="zone-a")
undo = fault.prepare(stack)
fault.inject(stack, undo)
seen = fault.witness(stack, undo)
assert seen.holds, seen.detail
print(json.dumps([str(stack.control.parent), stack.keeper_pid, stack.host(services[0])]), flush=True)
time.sleep(60)
"""
NAME = "east.provider.example"
REDIS, PROXIED = ("redis",), ("redis", "toxiproxy")
NAMES = ("redis", "dns", "public-dns", "cache-a", "cache-b")
FAULTS: list[tuple[Fault, tuple[str, ...], tuple[str, ...]]] = [
    (ZoneCutOff("zone-a"), REDIS, ("runner",)),
    (NameServerDown(how="hung"), NAMES, ("keeper",)),
    (StaleCache(NAME), NAMES, ("network",)),
    (LocalPortsExhausted(link="sessions-db", ports=8), PROXIED, ("runner", "keeper")),
    (NatExhausted(link="sessions-db"), PROXIED, ("runner", "network")),
    (BandwidthUsedUp(link="sessions-db"), PROXIED, ("keeper", "network")),
    (Latency("sessions-db", latency_ms=400), PROXIED, ("runner", "keeper", "network")),
]
"""Each with the services that it takes, and with who is killed."""


@contextmanager
def broken(reports: Path, fault: Fault, services: tuple[str, ...]) -> Iterator[Run]:
    """A run in which the fault is in effect."""
    if "toxiproxy" in services and programs.find("toxiproxy-server") is None:
        pytest.skip("needs toxiproxy-server")
    with running(RUNNER, reports, json.dumps(fault.as_data()), " ".join(services)) as run:
        assert len([it for it in run.namespaces if it.startswith("net:")]) > 2, "the machines of a sandbox"
        yield run


@pytest.mark.parametrize(
    ("fault", "services", "killed"),
    [*FAULTS, *((Rejected("zone-a", "data"), REDIS, who) for who in ANY)],
    ids=lambda it: it.name if isinstance(it, Fault) else "-".join(it),
)
def test_nothing_is_left(tmp_path: Path, fault: Fault, services: tuple[str, ...], killed: tuple[str, ...]) -> None:
    before = machine()
    with broken(tmp_path, fault, services) as run:
        kill(run, killed)
        nothing_left(run)
        assert machine() == before
