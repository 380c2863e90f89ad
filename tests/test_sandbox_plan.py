"""What a sandbox is planned to be: machines, addresses, names, rights; and which runtime one gets, and why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runlab.model import LabError
from runlab.stack import addressing, choice, compose, namespaces, planning, runtimes
from runlab.stack.choice import Runtime
from runlab.stack.compose import Compose

FILE = """services:
  api: {command: [python], expose: [80, 53/udp], x-lab: {machine: zone-a}}
  db: {command: [postgres], expose: [5432], x-lab: {machine: data}}
  proxy: {command: [toxiproxy], x-lab: {machine: zone-a, capabilities: [toxiproxy], fronts: {db-front: db}}}
  public: {command: [dnsmasq], x-lab: {machine: public, address: 8.8.8.8, needs: [sandbox], capabilities: [dns]}}
  dns: {command: [dnsmasq], x-lab: {machine: data, address: 10.20.3.11, needs: [sandbox]}}
  cache: {command: [sleep]}
x-lab:
  hosts: {runner: [9099]}
  network:
    control: {subnet: 10.20.0.0/24, resolver: dns}
    operator: 10.20.5.0/24
    zone-a: 10.20.1.0/24
    data: 10.20.3.0/24
    public: 8.8.8.0/24
  names: {db.platform.internal: db-front}
  reserve: public
"""


def read(folder: Path, text: str = FILE) -> Compose:
    file = folder / "compose.yaml"
    file.write_text(text, encoding="utf-8")
    return compose.read(file)


# ------------------------------------------------------------------------------------------------------- addresses


def test_addresses_are_given_in_the_files_order_but_for_fixed_ones(tmp_path: Path) -> None:
    described = read(tmp_path)
    network = addressing.network(described, described.services, ["/home"])
    assert network["addresses"] == {
        "api": "10.20.1.10",
        "db": "10.20.3.10",
        "proxy": "10.20.1.11",
        "public": "8.8.8.8",
        "dns": "10.20.3.11",
        "cache": "10.20.0.10",
        "db-front": "10.20.1.12",
        "runner": "10.20.0.11",
    }
    assert network["places"]["db-front"] == "zone-a"
    assert network["places"]["cache"] == network["places"]["runner"] == "control"
    assert network["machines"]["data"]["addresses"] == ["10.20.3.2", "10.20.3.10", "10.20.3.11"]
    assert network["machines"]["control"]["nameserver"] == "10.20.3.11"
    assert network["machines"]["zone-a"]["nameserver"] == ""
    assert (network["reserve"], network["homes"]) == ("8.8.8.8", ["/home"])


def test_what_does_not_start_keeps_its_address_and_serves_nobody(tmp_path: Path) -> None:
    described = read(tmp_path)
    whole = addressing.network(described, described.services, [])
    few = addressing.network(described, ["api", "db"], [])
    assert few["addresses"] == {**whole["addresses"], "db-front": "10.20.3.10"}
    assert few["places"] == {**whole["places"], "db-front": "data"}
    assert few["machines"]["control"]["nameserver"] == few["reserve"] == ""


def test_names_are_used_where_somebody_resolves_them(tmp_path: Path) -> None:
    described, addresses = read(tmp_path), {"db-front": "10.20.1.12", "api": "10.20.1.10"}
    named = {**addresses, "db-front": "db.platform.internal"}
    assert addressing.names(described, ["dns"], addresses, resolved=True) == named
    assert addressing.names(described, ["api"], addresses, resolved=True) == addresses
    assert addressing.names(described, ["dns"], addresses, resolved=False) == addresses


def test_a_subnet_that_is_too_small_is_named(tmp_path: Path) -> None:
    text = FILE.replace("data: 10.20.3.0/24", "data: 10.20.3.0/29").replace(", address: 10.20.3.11", "")
    described = read(tmp_path, text)
    with pytest.raises(LabError, match=r"no address is left for db in 10[.]20[.]3[.]0/29; give it a larger subnet"):
        addressing.network(described, described.services, [])


def test_a_file_without_a_network_has_a_machine_for_all_and_one_for_the_operator(tmp_path: Path) -> None:
    described = read(tmp_path, "services: {only: {command: [sleep]}}")
    network = addressing.network(described, described.services, [])
    assert set(network["machines"]) == {"control", "operator"}
    assert network["addresses"] == {"only": "10.20.0.10"}


def test_our_own_file_has_a_machine_for_each_of_its_services() -> None:
    described = compose.read(Path(__file__).parent.parent / "compose" / "compose.yaml")
    network = addressing.network(described, described.services, [])
    assert len({*network["addresses"].values()}) == len(network["addresses"])
    assert {"zone-a", "zone-b", "data"} <= set(network["places"].values())


def test_ports_of_udp_are_not_led_in(tmp_path: Path) -> None:
    assert read(tmp_path).services["api"].expose == [80]


WRONG = {
    "service's machine": (
        "machine: zone-a}}",
        "machine: zone-z}}",
        2,
        "service api: x-lab.network has no machine zone-z",
    ),
    "address taken": ("address: 10.20.3.11", "address: 8.8.8.8", 6, "8.8.8.8 is taken, or none for a service on data"),
    "the router's": ("address: 8.8.8.8", "address: 8.8.8.1", 5, "8.8.8.1 is taken, or none for a service on public"),
    "no address": ("address: 8.8.8.8", "address: eight", 5, "services.public.x-lab.address: .*'eight'"),
    "need": (
        "needs: [sandbox], cap",
        "needs: [magic], cap",
        5,
        "services.public.x-lab.needs.0: Input should be 'sandbox'",
    ),
    "resolver": ("resolver: dns", "resolver: dms", 11, "machine control: the resolver dms is not declared"),
    "overlap": ("zone-a: 10.20.1.0/24", "zone-a: 10.20.0.0/16", 13, "the subnets of control and zone-a overlap"),
    "no subnet": (
        "zone-a: 10.20.1.0/24",
        "zone-a: 10.20.1.7/24",
        13,
        "x-lab.network.zone-a.subnet: .* has host bits set",
    ),
    "no operator": ("operator: 10.20.5.0/24", "other: 10.20.5.0/24", 10, "there is no machine operator"),
    "router": ("operator: 10.20.5.0/24", "router: 10.20.5.0/24", 10, "there is no machine operator"),
    "too long": (
        "public: 8.8.8.0/24",
        "public: 8.8.8.0/24\n    provider-in-the-east: 9.9.9.0/24",
        16,
        "at most 15 of a-z",
    ),
    "name": (
        "names: {db.platform.internal: db-front}",
        "names: {db.platform.internal: dp}",
        16,
        "a name of|the name of dp",
    ),
    "reserve": ("reserve: public", "reserve: nobody", 17, "the name server in reserve, nobody, is not declared"),
}


@pytest.mark.parametrize(("old", "new", "line", "said"), WRONG.values(), ids=WRONG)
def test_an_error_names_file_and_line(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert FILE.count(old) == 1
    with pytest.raises(LabError, match=said) as caught:
        read(tmp_path, FILE.replace(old, new))
    assert caught.value.where == f"{tmp_path / 'compose.yaml'}:{line}"


# ---------------------------------------------------------------------------------------------------------- runtimes


def find(program: str, *, service: str) -> str:
    return f"/usr/bin/{program}"


def test_what_needs_the_sandbox_is_left_out_elsewhere_with_the_reason(tmp_path: Path) -> None:
    described = read(tmp_path)
    has = Runtime(frozenset({"sandbox"}), {})
    assert {"public", "dns"} <= set(choice.choose(described, None, None, find, has).services)
    without = choice.choose(described, None, None, find, Runtime(missing={"sandbox": "the kernel says no"}))
    assert not {"public", "dns"} & set(without.services)
    assert without.missing["dns"] == "service public needs sandbox: the kernel says no"
    assert without.missing["sandbox"] == "the kernel says no"
    assert "sandbox" not in without.available


@pytest.mark.parametrize(
    ("wanted", "possible", "namespaces_used", "got"),
    [
        ("embedded", True, True, "sandbox"),
        ("embedded", True, False, "processes"),
        ("embedded", False, True, "processes"),
        ("processes", True, True, "processes"),
        ("sandbox", True, True, "sandbox"),
        ("sandbox", True, False, "sandbox"),
    ],
)
def test_the_runtime_is_what_is_wanted_as_far_as_it_can_be_had(
    monkeypatch: pytest.MonkeyPatch, wanted: str, possible: bool, namespaces_used: bool, got: str
) -> None:
    monkeypatch.setattr(runtimes, "sandbox_obstacle", lambda: None if possible else "the kernel says no")
    monkeypatch.setattr("runlab.stack.programs.sandbox_lacks", lambda: {"bandwidth": "tc is not installed"})
    kind, has = runtimes.pick(wanted, namespaces=namespaces_used)
    assert kind == got
    expected = {"bandwidth"} if got == "sandbox" else set(namespaces.SANDBOX_CAPABILITIES)
    assert set(has.missing) == expected
    assert has.capabilities == set(namespaces.SANDBOX_CAPABILITIES) - expected
    if not possible:
        assert has.missing["route"] == "the kernel says no"


def test_a_sandbox_that_is_wanted_and_cannot_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "sandbox_obstacle", lambda: "the kernel says no")
    with pytest.raises(LabError, match="no sandbox here: the kernel says no; take --runtime embedded, or processes"):
        runtimes.pick("sandbox")
    with pytest.raises(LabError, match="there is no runtime docker; there are embedded, sandbox, processes"):
        runtimes.pick("docker")


class Kernel:
    """Answers what is tried: allows those commands that hold none of what it forbids, and says why not."""

    def __init__(self, *forbidden: str) -> None:
        self.forbidden = forbidden
        self.tried: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.tried.append(command)
        refused = [word for word in self.forbidden if word in command]
        said = f"unshare: first line\nunshare: {refused[0]} is not permitted\n" if refused else ""
        return subprocess.CompletedProcess(command, len(refused), "", said)


@pytest.mark.parametrize(
    ("forbidden", "uid", "pid_namespace", "obstacle"),
    [
        ((), 0, True, None),
        ((), 1000, True, None),
        (("--mount-proc",), 0, False, None),
        (("--net",), 0, False, "no network namespaces: unshare: --net is not permitted"),
    ],
)
def test_a_pid_namespace_is_made_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, forbidden: tuple[str, ...], uid: int, pid_namespace: bool, obstacle: str | None
) -> None:
    monkeypatch.setattr(subprocess, "run", Kernel(*forbidden))
    monkeypatch.setattr("os.geteuid", lambda: uid)
    command, why = namespaces.sandbox_command()
    assert why == obstacle == namespaces.sandbox_obstacle()
    assert namespaces.has_pid_namespace(command) is pid_namespace
    assert ("--user" in command) is ("--keep-caps" in command) is (uid != 0)
    assert not namespaces.has_pid_namespace(namespaces.sandbox_command(pid_namespace=False)[0])


def test_what_has_no_answer_is_an_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(command: Sequence[str], **_: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory", command[0])

    monkeypatch.setattr(subprocess, "run", missing)
    assert "unshare" in str(namespaces.sandbox_obstacle())
    monkeypatch.setattr(sys, "platform", "darwin")
    assert namespaces.sandbox_obstacle() == "no network namespaces: this is not Linux"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("os.path.lexists", lambda path: path != "/etc/hosts")
    assert str(namespaces.sandbox_obstacle()).startswith("no network namespaces: there is no /etc/hosts")


@pytest.mark.parametrize(("uid", "sandbox"), [(0, True), (1000, True), (0, False)])
def test_each_account_gives_up_what_it_does_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, sandbox: bool
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    accounts = planning._accounts(tmp_path, 64197, sandbox=sandbox)
    assert set(accounts) == ({"service", "operator", "root"} if sandbox else {"service", "operator"})
    for name, account in accounts.items():
        assert account["prefix"][0] == "setpriv"
        assert "--no-new-privs" in account["prefix"]
        given = [word for word in account["prefix"] if word.startswith("--ambient-caps=")]
        assert bool(given) is sandbox
        assert ("net_admin" in "".join(given)) is (name == "root")
    if uid == 0 and sandbox:
        assert (accounts["root"]["uid"], accounts["operator"]["uid"]) == (0, 64197)
