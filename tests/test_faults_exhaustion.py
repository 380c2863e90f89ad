"""faults.exhaustion and faults.greedy: what is changed, what is undone, who is compared; real ones are in tests/e2e."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from faults import exhaustion, greedy, links
from faults.exhaustion import BandwidthUsedUp, LocalPortsExhausted, NatExhausted, PoolExhausted
from faults.links import Exchange
from runlab.journal import load_fault
from runlab.model import CommandResult, Fault, LabError

ENOUGH = Exchange("answered", 40_000, 0.001, 0.001, 0.001)
NO_PORT = Exchange("EADDRNOTAVAIL")
UNHEARD = Exchange("silent")
STARVED = Exchange("answered", 31_250, 1.0, 0.5, 2.0)
ADDRESS = "zone-a UP 10.20.1.1/24 \n"


@dataclass
class FakeStack:
    """A sandbox in which root's commands work on variables; `says` are its machines' exchanges."""

    says: dict[str, list[Exchange]]
    ports: str = "32768\t60999"
    rules: list[str] = field(default_factory=lambda: ["-A POSTROUTING -o public -j MASQUERADE"])
    shaped: set[str] = field(default_factory=set)
    held: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    inside = staticmethod(lambda service: f"{service}.inside")
    machine = staticmethod(lambda service: {"toxiproxy": "data", "toxiproxy-east": "provider-east"}[service])
    secret = staticmethod(lambda name: name)

    def execute(self, argv: Sequence[str], *, account: str, on: str, **_: Any) -> CommandResult:
        if account == "service":
            told = self.says[on].pop(0) if len(self.says[on]) > 1 else self.says[on][0]
            return self._done(argv, json.dumps(asdict(told)))
        assert account == "root"
        if argv[:3] == ["pgrep", "-f", "--"]:
            command_lines = {30: "uvicorn", **{41 + n: json.dumps(it) for n, (_, it) in enumerate(self.held.values())}}
            return self._done(argv, "".join(f"{pid}\n" for pid, it in command_lines.items() if re.search(argv[3], it)))
        for on_that in {"router": (self._nat, self._line), "zone-a": (self._ports, self._sockets)}.get(on, ()):
            if (told := on_that(list(argv))) is not None:
                return self._done(argv, told)
        return CommandResult(tuple(argv), 1, "", f"{argv[0]}: it\ncannot be done\n", 0.0)

    def _ports(self, argv: list[str]) -> str | None:
        match argv:
            case ["sysctl", "-n", "net.ipv4.ip_local_port_range"]:
                return f"{self.ports}\n"
            case ["sysctl", "-q", "-w", setting]:
                self.ports = setting.partition("=")[2].replace(" ", "\t")
                return ""
        return None

    def _sockets(self, argv: list[str]) -> str | None:
        if argv[:4] == ["ss", "-Htn", "state", "established"]:
            return "".join("0 0 10.20.1.2:20000 east.inside:8000\n" * it["count"] for _, it in self.held.values())
        if argv[:3] != ["ss", "-K", "-Htn"]:
            return None
        self.ended.append(argv[3])
        return ""

    def _nat(self, argv: list[str]) -> str | None:
        match argv:
            case ["iptables", "-w", "-t", "nat", "-S"]:
                return "\n".join(["-P POSTROUTING ACCEPT", *self.rules])
            case ["iptables", "-w", "-t", "nat", "-A", *rule]:
                self.rules.append(" ".join(["-A", *rule]))
                return ""
            case ["iptables", "-w", "-t", "nat", "-D", *rule]:
                self.rules.remove(" ".join(["-A", *rule]))
                return ""
        return None

    def _line(self, argv: list[str]) -> str | None:
        match argv:
            case ["ip", *_, "zone-a"]:
                return ADDRESS
            case ["tc", "qdisc", "show", "dev", line]:
                return "qdisc tbf 8001: root\n" if line in self.shaped else "qdisc noqueue 0: root\n"
            case ["tc", "qdisc", "add", "dev", line, "root", "tbf", *_]:
                self.shaped.add(line)
                return ""
            case ["tc", "qdisc", "del", "dev", line, "root"]:
                self.shaped.remove(line)
                return ""
        return None

    def hold(self, name: str, argv: Sequence[str], *, on: str) -> None:
        self.held[name] = (on, json.loads(argv[-1]))

    def release(self, name: str) -> None:
        self.held.pop(name, None)

    def state(self) -> tuple[object, ...]:
        return self.ports, list(self.rules), set(self.shaped), dict(self.held)

    def _done(self, argv: Sequence[str], stdout: str) -> CommandResult:
        return CommandResult(tuple(argv), 0, stdout, "", 0.0)


FAULTS = [(LocalPortsExhausted(), NO_PORT), (NatExhausted(), UNHEARD), (BandwidthUsedUp(), STARVED)]
by_name = pytest.mark.parametrize(("fault", "lacks"), FAULTS, ids=lambda it: getattr(it, "name", ""))


def stack_of(here: Sequence[Exchange], there: Sequence[Exchange] = (ENOUGH,)) -> Any:
    return FakeStack({"zone-a": list(here), "control": list(there)})


@by_name
def test_the_undo_alone_brings_back_what_was_there(fault: Fault, lacks: Exchange) -> None:
    stack = stack_of([ENOUGH, lacks])
    before = stack.state()
    undo = json.loads(json.dumps(fault.prepare(stack)))
    assert stack.state() == before
    fault.inject(stack, undo)
    assert stack.says["zone-a"] == [lacks], "inject waits until it is so"
    assert stack.held
    assert stack.state()[:3] != before[:3]
    again = load_fault(fault.as_data())
    for _ in range(2):
        again.revert(stack, undo)
        assert stack.state() == before


@by_name
def test_half_an_injection_is_undone(fault: Fault, lacks: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that uses it up could not be started."""

    def fails(*_: object, **__: object) -> None:
        raise LabError("it cannot be held")

    stack = stack_of([lacks])
    before = stack.state()
    undo = fault.prepare(stack)
    monkeypatch.setattr(FakeStack, "hold", fails)
    with pytest.raises(LabError, match="it cannot be held"):
        fault.inject(stack, undo)
    assert stack.state() != before
    fault.revert(stack, undo)
    assert stack.state() == before


@by_name
def test_one_machine_is_compared_with_another(fault: Fault, lacks: Exchange) -> None:
    undo = fault.prepare(stack_of([ENOUGH]))
    for here, there, holds in (
        ([lacks], [ENOUGH], True),
        ([ENOUGH], [ENOUGH], False),
        ([lacks], [lacks], False),
        ([lacks], [lacks, ENOUGH], True),
        ([lacks, ENOUGH], [lacks], False),
    ):
        seen = fault.witness(stack_of(here, there), undo)
        assert seen.holds == holds, seen.detail


def test_each_lack_is_told_from_others() -> None:
    lacks = [lack for _, lack in FAULTS]
    connected_but_silent = Exchange("silent", connect_s=0.001, seconds=1.0)
    for fault, lack in FAULTS[:2]:
        assert [it for it in (*lacks, ENOUGH, connected_but_silent) if fault.is_so(it)] == [lack]
    bandwidth = BandwidthUsedUp(kbit=1000)
    half = Exchange("answered", 31_250, 0.0, 0.0, 0.5)
    assert [it for it in (STARVED, UNHEARD, half, ENOUGH) if bandwidth.is_so(it)] == [STARVED, UNHEARD, half]
    assert not bandwidth.is_so(Exchange("answered", 31_250, 0.0, 0.0, 0.49))


def test_local_ports_are_used_up_by_a_leak_on_that_machine() -> None:
    fault, stack = LocalPortsExhausted(link="db", ports=5), stack_of([NO_PORT])
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    assert stack.ports == "61000\t61004"
    leak = {"does": "hoard", "host": "db.inside", "port": 5432, "count": 5}
    assert stack.held == {undo["held"]: ("zone-a", leak)}
    assert stack.ended == ["dst db.inside dport = :5432 and sport < :61000"], "all but the leak's own"
    seen = fault.witness(stack, undo)
    assert seen.truth == {"range": ["61000\t61004"], "pid": [41]}
    assert seen.innocents == {"pid": [30]}


def test_the_rule_of_the_nat_is_told_from_others() -> None:
    fault, stack = NatExhausted(), stack_of([UNHEARD])
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    ports = f"{undo['first']}-{undo['first'] + 3}"
    hidden = "-s 10.20.1.0/24 -d east.inside -p tcp --syn"
    rule = f"POSTROUTING {hidden} -m comment --comment {undo['comment']} -j MASQUERADE --to-ports {ports}"
    assert seen.truth == {"rule": [rule], "pid": [41]}
    assert seen.innocents == {"rule": ["POSTROUTING -o public -j MASQUERADE"], "pid": [30]}
    ((machine, taken),) = stack.held.values()
    assert (machine, taken["first"], taken["count"]) == ("zone-a", 20000, 4)
    assert stack.ended == ["dst east.inside dport = :8000 and sport >= :21000"]


def test_who_fetches_is_told_from_who_serves() -> None:
    fault, stack = BandwidthUsedUp(), stack_of([STARVED])
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    assert seen.truth == {"line": ["zone-a"], "pid": [42]}
    assert seen.innocents == {"pid": [30, 41]}


def test_a_line_that_is_narrow_as_it_is_cannot_be_used_up() -> None:
    stack = stack_of([ENOUGH])
    stack.shaped = {"zone-a"}
    with pytest.raises(LabError, match="the line to zone-a is narrow as it is"):
        BandwidthUsedUp().prepare(stack)


def test_what_root_is_refused_is_said_in_its_last_words() -> None:
    with pytest.raises(LabError, match=r"^sysctl on zone-b: cannot be done$"):
        LocalPortsExhausted("zone-b").prepare(stack_of([ENOUGH]))


@pytest.mark.parametrize(
    "made",
    [
        lambda: LocalPortsExhausted(ports=1),
        lambda: LocalPortsExhausted(link="nowhere"),
        lambda: NatExhausted(ports=0),
        lambda: NatExhausted(link="nowhere"),
        lambda: NatExhausted("provider-east").prepare(stack_of([ENOUGH])),
        lambda: BandwidthUsedUp(kbit=99),
        lambda: BandwidthUsedUp("data"),
        lambda: BandwidthUsedUp("control"),
        lambda: PoolExhausted(requests=0),
    ],
)
def test_what_would_be_no_fault_is_refused(made: Callable[[], Fault]) -> None:
    with pytest.raises(LabError):
        made()


def test_needs_are_capabilities_of_the_runtime_and_of_the_link() -> None:
    assert LocalPortsExhausted().needs == {"port-range", "toxiproxy-east", "provider"}
    assert NatExhausted(link="db").needs == {"packet-filter", "toxiproxy", "postgres", "migrate"}
    assert BandwidthUsedUp().needs == {"bandwidth", "toxiproxy", "postgres", "migrate"}
    assert PoolExhausted().needs == {"api", "postgres"}


# ------------------------------------------------------------------------------------------------ greedy.py itself


@contextmanager
def running(**settings: Any) -> Iterator[None]:
    _, *arguments = links.program(greedy.__file__, settings)
    with subprocess.Popen([sys.executable, "-I", *arguments], cwd="/") as process:
        try:
            yield
        finally:
            process.kill()


def test_a_hoarder_keeps_as_many_connections_as_it_was_told_and_replaces_what_is_lost() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(5)
        with running(does="hoard", host="127.0.0.1", port=server.getsockname()[1], count=2):
            first, second = server.accept()[0], server.accept()[0]
            server.settimeout(0.3)
            with pytest.raises(TimeoutError):
                server.accept()
            first.close()
            server.settimeout(5)
            third = server.accept()[0]
    with second, third, pytest.raises(ConnectionResetError):  # so none of its ports is kept for a while
        second.recv(1)


def test_a_hoarders_own_ports_can_be_told() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(5)
        with running(does="hoard", host="127.0.0.1", port=server.getsockname()[1], count=2, first=21000):
            ports = [server.accept()[1][1] for _ in range(2)]
    assert all(21000 <= port < 22000 for port in ports)


def test_who_fetches_reads_without_end_from_who_serves() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as chosen:
        port = chosen.getsockname()[1]
    with running(does="serve", port=port):

        def connects() -> socket.socket | None:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=5)
            except OSError:
                return None

        connection = exhaustion.wait_until("the server", connects, deadline_s=10)
        with connection:
            taken = 0
            while taken < 5_000_000:
                taken += len(connection.recv(1_000_000))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(5)
        with running(does="fetch", host="127.0.0.1", port=server.getsockname()[1], streams=2):
            for _ in range(2):
                reader = server.accept()[0]
                reader.settimeout(5)
                reader.sendall(bytes(2_000_000))
                reader.close()
            again = server.accept()[0]
            again.close()
