"""The `sandbox` runtime with small servers: its machines, who may do what on them, what leads in, and that nothing
leads out; with a PID namespace and without.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runlab.model import CommandResult, LabError
from runlab.stack import ending, processes
from runlab.stack.control import StackGoneError
from runlab.stack.namespaces import sandbox_obstacle
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(why := sandbox_obstacle()), reason=str(why))

ROOT = Path(__file__).parent.parent.parent
ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")
Begin = Callable[..., ProcessStack]

# 8080: gives back all that it has got, once the other side has finished; 8081: resets on the first byte
SERVER = """
import socketserver, struct, sys, threading, socket
class Echo(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.rfile.read())
class Reset(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = True
for port, handler in (8080, Echo), (8081, Reset):
    threading.Thread(target=Server((sys.argv[1], port), handler).serve_forever).start()
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 8081), 1)"
COMPOSE = """
services:
  server:
    command: [python, -c, "${SERVER}", "${HOST_server}"]
    expose: [8080, 8081, 53/udp]
    healthcheck: {test: [CMD, python, -c, "${CONNECT}", "${HOST_server}"], interval: 50ms, retries: 100}
    x-lab: {machine: zone-a}
  named:
    command: [sh, -c, "echo ${HOST_server} ${NAME_server}; exec sleep 600"]
    x-lab: {machine: zone-b, needs: [sandbox], capabilities: [named]}
  resolver: {command: [sleep, "600"], x-lab: {machine: zone-b, address: 10.20.2.53}}
x-lab:
  hosts: {runner: [9099]}
  network:
    control: {subnet: 10.20.0.0/24, resolver: resolver}
    operator: 10.20.5.0/24
    zone-a: 10.20.1.0/24
    zone-b: 10.20.2.0/24
  names: {server.platform.internal: server}
  reserve: resolver
  filter: ["-i zone-b -o operator -p tcp -m tcp --dport 22 -j DROP"]
"""


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begin]:
    started: list[ProcessStack] = []

    def start(*, compose: str = COMPOSE, **options: Any) -> ProcessStack:
        place = tmp_path_factory.mktemp("stack")
        (place / "compose.yaml").write_text(compose, encoding="utf-8")
        defaults: dict[str, Any] = {
            "run_id": "sandbox",
            "time_scale": 1.0,
            "rules": lambda text, _: text,
            "runtime": "sandbox",
            "variables": {"SERVER": SERVER, "CONNECT": CONNECT},
        }
        started.append(processes.start(place / "compose.yaml", reports=place, **{**defaults, **options}))
        return started[-1]

    yield start
    for stack in started:
        stack.stop()
        assert not stack.control.parent.exists()


@pytest.fixture(scope="module", params=[True, False], ids=["namespace", "plain"])
def stack(request: pytest.FixtureRequest, begin: Begin) -> ProcessStack:
    return begin(namespaces=request.param)


def run(stack: ProcessStack, *argv: str, account: str = "operator", on: str = "") -> CommandResult:
    return stack.execute(argv, account=account, on=on)


def says(stack: ProcessStack, *argv: str, account: str = "operator", on: str = "") -> str:
    result = run(stack, *argv, account=account, on=on)
    assert result.status == 0, result
    return result.stdout


def python(stack: ProcessStack, code: str, *, on: str, account: str = "service") -> str:
    return says(stack, sys.executable, "-c", code, on=on, account=account)


# ------------------------------------------------------------------------------------------------------- machines


def test_each_machine_has_its_own_address_route_and_resolver(stack: ProcessStack) -> None:
    assert stack.runtime == "sandbox"
    assert (stack.machine("server"), stack.machine("runner")) == ("zone-a", "control")
    assert (stack.inside("server"), stack.inside("resolver")) == ("10.20.1.10", "10.20.2.53")
    assert "inet 10.20.1.10/24" in says(stack, "ip", "-o", "address", on="zone-a")
    assert "default via 10.20.1.1 dev eth0" in says(stack, "ip", "route", on="zone-a")
    assert "nameserver 10.20.2.53\n" in says(stack, "cat", "/etc/resolv.conf", on="control", account="service")
    assert "nameserver" not in says(stack, "cat", "/etc/resolv.conf", on="zone-a")
    assert "nameserver 10.20.2.53\n" in says(stack, "cat", "/run/resolv.conf.backup", on="zone-a")
    assert says(stack, "getent", "hosts", "server").split() == ["10.20.1.10", "server"]
    interfaces = says(stack, "ip", "-br", "link", on="router", account="root")
    assert {line.partition("@")[0] for line in interfaces.splitlines()} - {"lo"} >= {"control", "zone-a", "operator"}


def test_a_service_is_told_addresses_inside_and_names_where_they_are_resolved(stack: ProcessStack) -> None:
    log = stack.log_files()["named"]
    wait_until("its word", log.read_text, deadline_s=5)
    assert log.read_text().split() == ["10.20.1.10", "server.platform.internal"]


def test_files_and_settings_of_one_machine_are_not_those_of_another(stack: ProcessStack) -> None:
    for change in (
        "echo 1 > /run/mine",
        "echo nameserver 1.2.3.4 > /etc/resolv.conf",
        "echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range",
    ):
        says(stack, "sh", "-c", change, on="zone-b", account="root")
    assert says(stack, "cat", "/etc/resolv.conf", on="zone-b") == "nameserver 1.2.3.4\n"
    assert run(stack, "cat", "/run/mine", on="zone-a").status != 0
    assert "1.2.3.4" not in says(stack, "cat", "/etc/resolv.conf", on="zone-a")
    assert says(stack, "cat", "/proc/sys/net/ipv4/ip_local_port_range", on="zone-a") != "40000\t40003\n"
    says(stack, "cp", "/run/resolv.conf.backup", "/etc/resolv.conf", on="zone-b", account="root")
    assert "nameserver 10.20.2.53\n" in says(stack, "cat", "/etc/resolv.conf", on="zone-b")


def test_a_machine_or_account_that_is_none_is_refused(stack: ProcessStack) -> None:
    with pytest.raises(LabError, match="there is no machine zone-z; there are router, control"):
        run(stack, "true", on="zone-z")
    with pytest.raises(LabError, match="there is no account nobody here"):
        run(stack, "true", account="nobody")


def test_the_packet_filter_is_between_the_machines(stack: ProcessStack) -> None:
    def connect() -> int:
        return _connects(stack, stack.inside("server"), 8080, on="zone-b")

    assert connect() == 0
    rule = ("FORWARD", "-d", "10.20.1.0/24", "-p", "tcp", "--dport", "8080", "-j", "REJECT")
    says(stack, "iptables", "-A", *rule, on="router", account="root")
    try:
        assert connect() == errno.ECONNREFUSED
        with _connection(stack, 8080) as outside:  # those who look from outside are not blinded by it
            assert _echoed(outside, b"still seen") == b"still seen"
    finally:
        says(stack, "iptables", "-D", *rule, on="router", account="root")
    assert connect() == 0


def test_a_host_that_can_not_be_reached_is_told_at_once_by_the_router(stack: ProcessStack) -> None:
    for _ in range(10):
        assert _connects(stack, "10.77.0.1", 80, on="zone-a") == errno.ENETUNREACH
    if shutil.which("ping"):
        assert "1 received" in says(stack, "ping", "-c", "1", "-W", "1", "10.20.1.10", on="zone-b", account="service")


# -------------------------------------------------------------------------------------------------------- rights


def _capabilities(stack: ProcessStack, account: str, on: str) -> dict[str, int]:
    lines = says(stack, "cat", "/proc/self/status", account=account, on=on).splitlines()
    return {name: int(value, 16) for name, _, value in (line.partition(":") for line in lines) if name[:3] == "Cap"}


def test_nobody_but_its_root_has_a_capability_and_that_one_few(stack: ProcessStack) -> None:
    for account, on in (("operator", ""), ("service", "zone-a"), ("operator", "zone-a")):
        held = _capabilities(stack, account, on)
        assert [held[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0, 0, 0, 0]
        assert run(stack, "ip", "link", "set", "eth0", "down", account=account, on=on).status != 0
    root = _capabilities(stack, "root", "zone-a")
    read_search, kill, low_ports, net_admin, raw = (1 << number for number in (2, 5, 10, 12, 13))
    assert root["CapEff"] == root["CapBnd"]
    assert root["CapEff"] & net_admin
    assert not root["CapEff"] & ~(read_search | kill | low_ports | net_admin | raw)
    assert run(stack, "mount", "-t", "tmpfs", "none", "/mnt", account="root", on="zone-a").status != 0
    assert run(stack, "nsenter", "--net=/proc/1/ns/net", "true", account="root", on="zone-a").status != 0


def test_the_operator_sees_all_and_writes_nothing_but_a_tmp_and_a_home(stack: ProcessStack) -> None:
    # a checkout below /tmp lies under the operator's own
    checkout = () if ROOT.is_relative_to("/tmp") else (str(ROOT),)
    for path in ("/", "/etc", "/run", "/var/tmp", "/dev/shm", *checkout, "/etc/resolv.conf"):
        target = f"{path}/x" if path != "/etc/resolv.conf" else path
        for account in ("operator", "root"):
            refused = run(stack, "sh", "-c", f"echo > {target}", account=account, on="operator")
            assert refused.status != 0, (path, account)
            assert "Read-only file system" in refused.stderr or "Permission denied" in refused.stderr
    mine = f"/tmp/{stack.control.parent.name}-tried"
    says(stack, "sh", "-c", f"echo 1 > {mine}; echo 1 > ~/x; test $PWD = $HOME; cat {mine} /etc/passwd")
    assert not Path(mine).exists()
    assert says(stack, "pwd", account="service", on="operator").endswith(".home\n")


@ROOT_ALONE
def test_the_operator_can_write_where_everybody_may_only_on_other_machines(stack: ProcessStack) -> None:
    """What holds the operator back on its own machine is the file system, not the folder's rights."""
    assert "Read-only" in run(stack, "touch", "/var/tmp/runlab-touched").stderr
    says(stack, "sh", "-c", "touch /var/tmp/runlab-touched && rm /var/tmp/runlab-touched", on="zone-a")


# ------------------------------------------------------------------------------------------------------- leading in


def _connection(stack: ProcessStack, port: int) -> socket.socket:
    return socket.create_connection((stack.host("server"), port), 5)


def _echoed(client: socket.socket, data: bytes) -> bytes:
    def send() -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    with ThreadPoolExecutor(1) as pool:  # both directions at once, or the buffers are full
        sending = pool.submit(send)
        received = b"".join(iter(lambda: client.recv(1 << 16), b""))
        sending.result()
    return received


def test_a_connection_is_led_in_until_both_ends_are_closed(stack: ProcessStack) -> None:
    data = os.urandom(3_000_000)
    with _connection(stack, 8080) as client:
        assert _echoed(client, data) == data


def test_a_reset_is_passed_on(stack: ProcessStack) -> None:
    with _connection(stack, 8081) as client:
        client.sendall(b"1")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_who_hangs_up_is_hung_up_on_inside(stack: ProcessStack) -> None:
    def established() -> bool:
        """Whether somebody is connected to 10.20.1.10:8080: see proc(5), /proc/net/tcp."""
        rows = [line.split() for line in says(stack, "cat", "/proc/net/tcp", on="zone-a").splitlines()[1:]]
        return any((row[1], row[3]) == ("0A01140A:1F90", "01") for row in rows)

    with _connection(stack, 8080) as client:
        client.sendall(b"1")
        wait_until("the connection inside", established, deadline_s=5)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until("its end", lambda: not established(), deadline_s=5)


def test_a_reset_gives_the_router_back_the_rules_that_it_has_by_rights(stack: ProcessStack) -> None:
    def rules() -> list[str]:
        lines = says(stack, "iptables", "-S", "FORWARD", account="root", on="router").splitlines()
        return [line for line in lines if line.startswith("-A")]

    by_rights = rules()
    assert by_rights == ["-A FORWARD -i zone-b -o operator -p tcp -m tcp --dport 22 -j DROP"]
    says(stack, "iptables", "-F", "FORWARD", account="root", on="router")
    says(stack, "iptables", "-A", "FORWARD", "-j", "ACCEPT", account="root", on="router")
    stack.reset()
    assert rules() == by_rights


def test_a_rule_that_the_packet_filter_refuses_is_refused_in_its_words(begin: Begin) -> None:
    refused = COMPOSE.replace("-j DROP", "-j NOWHERE")
    with pytest.raises(LabError, match=r"x-lab\.filter: .*NOWHERE"):
        begin(compose=refused)


def test_the_runner_listens_inside(stack: ProcessStack) -> None:
    with stack.listen("runner", 9099) as listener:
        assert listener.getsockname() == (stack.inside("runner"), 9099)
        with pytest.raises(LabError, match=r"no listener at runner:9099: Address already in use"):
            stack.listen("runner", 9099)
        address = (stack.inside("runner"), 9099)
        code = f"import socket; socket.create_connection({address!r}, 5).sendall(b'hello')"
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(python, stack, code, on="zone-b")
            listener.settimeout(5)
            connection, (sender, _) = listener.accept()
            with connection:
                assert connection.recv(100) == b"hello"
            sent.result()
        assert sender == "10.20.2.2"
    with pytest.raises(LabError, match="the stack has no inside nobody"):
        stack.listen("nobody", 1)
    stack.listen("runner", 9099).close()


def test_another_process_of_this_account_joins(stack: ProcessStack) -> None:
    other = processes.attach(stack.control)
    assert (other.runtime, other.machine("server"), other.inside("server")) == ("sandbox", "zone-a", "10.20.1.10")
    assert other.missing == stack.missing
    assert {"sandbox", "route", "port-range", "named"} <= other.capabilities


# ------------------------------------------------------------------------------------------------------- leading out


def _connects(stack: ProcessStack, address: str, port: int, *, on: str) -> int:
    code = f"import socket; s = socket.socket(); s.settimeout(3); print(s.connect_ex(({address!r}, {port})))"
    return int(python(stack, code, on=on))


@pytest.mark.parametrize("on", ["router", "control", "zone-a", "operator"])
def test_nothing_leads_out(stack: ProcessStack, on: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("0.0.0.0", 0)) as everywhere:
        assert _connects(stack, "127.0.0.1", ours.getsockname()[1], on=on) == errno.ECONNREFUSED
        for address in _own_addresses():
            assert _connects(stack, address, everywhere.getsockname()[1], on=on) == errno.ENETUNREACH
    for address in ("1.1.1.1", "169.254.169.254"):
        assert _connects(stack, address, 80, on=on) == errno.ENETUNREACH
    links = says(stack, "ip", "-o", "link", on="router", account="root").splitlines()
    inside = {"lo", "control", "operator", "zone-a", "zone-b"}
    assert {line.split(":")[1].strip().partition("@")[0] for line in links} == inside


def _own_addresses() -> list[str]:
    said = subprocess.run(["ip", "-4", "-o", "address"], capture_output=True, text=True, check=True).stdout
    found = [line.split()[3].partition("/")[0] for line in said.splitlines()]
    return [address for address in found if not address.startswith("127.")]


# ----------------------------------------------------------------------------------------------- several, and the end


def test_two_at_once_do_not_collide(stack: ProcessStack, begin: Begin) -> None:
    other = begin(run_id="another")
    assert other.host("server") != stack.host("server")
    assert other.inside("server") == stack.inside("server")
    says(other, "ip", "link", "set", "eth0", "down", on="zone-a", account="root")
    with _connection(stack, 8080) as client:
        assert _echoed(client, b"here") == b"here"
    assert "UP" in says(stack, "ip", "-br", "link", "show", "eth0", on="zone-a")


def test_the_stack_is_dead_once_its_network_is(begin: Begin) -> None:
    stack = begin(run_id="dead")
    network = [
        it.pid
        for it in ending.descendants(os.getpid())
        if str(stack.control.parent).encode() in Path(f"/proc/{it.pid}/cmdline").read_bytes().split(b"\0")
        and b"runlab.stack.network" in Path(f"/proc/{it.pid}/cmdline").read_bytes()
    ]
    os.kill(network[-1], signal.SIGKILL)
    wait_until("its end", lambda: not stack.control.exists(), deadline_s=5)
    with pytest.raises(StackGoneError):
        stack.check()
    with pytest.raises(StackGoneError):
        stack.listen("runner", 9099)
