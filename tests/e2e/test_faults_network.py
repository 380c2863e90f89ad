"""The faults of faults/packet_filter.py and faults/zones.py in a real sandbox: who is cut off, and in which words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import faults.packet_filter
from faults.packet_filter import Dropped, HostUnreachable, Rejected
from faults.zones import RegionLost, ZoneCutOff, ZonesCutFromDatabase
from runlab.journal import Journal
from runlab.model import Fault, LabError, Undo
from runlab.stack import processes
from runlab.stack.namespaces import sandbox_obstacle
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
OBSTACLE = sandbox_obstacle()
RUN = "network-faults"
OTHER_PORT = 8999
SOURCE, NEIGHBOUR, TARGET = "zone-a", "zone-b", "data"
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.6).close()
    print("connected")
except OSError as error:
    print(error.strerror or error)
"""
STAYS = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20) as connection:
    print("there", flush=True)
    try:
        print(connection.recv(1))
    except OSError as error:
        print(error.strerror or error)
"""
FILTERS = {
    Rejected: "Connection refused",
    HostUnreachable: "No route to host",
    Dropped: "timed out",
}
CUTS = {
    ZoneCutOff("zone-a"): ("operator", "zone-a", "timed out"),
    ZoneCutOff("zone-a", silent=False): ("operator", "zone-a", "Network is unreachable"),
    ZonesCutFromDatabase(): ("zone-b", "data", "timed out"),
    ZonesCutFromDatabase(silent=False): ("zone-a", "data", "Network is unreachable"),
    RegionLost("east"): ("zone-a", "provider-east", "timed out"),
    RegionLost("west", silent=False): ("zone-b", "provider-west", "Network is unreachable"),
}
ALL: list[Fault] = [Rejected(SOURCE, TARGET), HostUnreachable(SOURCE, TARGET), Dropped(SOURCE, TARGET), *CUTS]

pytestmark = pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or "")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    """A sandbox with one server of the platform, and on some machines another that listens."""
    running = processes.start(
        ROOT / "compose" / "compose.yaml",
        reports=tmp_path_factory.mktemp("reports"),
        run_id=RUN,
        time_scale=1.0,
        rules=lambda text, _: text,
        services={"postgres"},
        runtime="sandbox",
    )
    try:
        for machine in ("data", "zone-a", "zone-b", "provider-east", "provider-west"):
            serve = ("python", "-m", "http.server", str(OTHER_PORT))
            running.hold(f"listener-{machine}", serve, on=machine)
            reached = lambda at=machine: connect(running, at, at) == "connected"  # noqa: E731
            wait_until(f"the listener on {machine}", reached, deadline_s=10)
        yield running
    finally:
        running.stop()


@pytest.fixture(autouse=True)
def without_waiting_for_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody comes by here of himself."""
    monkeypatch.setattr(faults.packet_filter, "_BITES_WITHIN_S", 0.0)


def address(stack: ProcessStack, machine: str) -> str:
    shown = stack.execute(["ip", "-json", "-4", "address", "show", "dev", "eth0"], account="root", on=machine)
    return str(json.loads(shown.stdout)[0]["addr_info"][0]["local"])


def connect(stack: ProcessStack, source: str, target: str, port: int = OTHER_PORT) -> str:
    """What a program on `source` is told that connects to `target`."""
    at = stack.inside("postgres") if port == 5432 else address(stack, target)
    return stack.execute(["python", "-c", CONNECT, at, str(port)], account="service", on=source).stdout.strip()


def filter_and_rules(stack: ProcessStack) -> str:
    """All that these faults may change."""
    told = [stack.execute(argv, account="root", on="router") for argv in (["iptables-save"], ["ip", "rule"])]
    return "".join(
        line for it in told for line in it.stdout.splitlines(True) if not line.startswith(("#", ":", "*", "COMMIT"))
    )


@pytest.fixture(params=ALL, ids=lambda fault: fault.name)
def fault(request: pytest.FixtureRequest) -> Fault:
    found: Fault = request.param
    return found


@pytest.fixture
def undo(stack: ProcessStack, fault: Fault) -> Iterator[Undo]:
    made = fault.prepare(stack)
    yield made
    fault.revert(stack, made)


# ------------------------------------------------------------------------------------------------- every fault


def test_it_is_in_effect_from_inject_to_revert_and_leaves_nothing(
    stack: ProcessStack, fault: Fault, undo: Undo
) -> None:
    source, target = CUTS[fault][:2] if fault in CUTS else (SOURCE, TARGET)
    before = filter_and_rules(stack)
    assert fault.needs <= stack.capabilities
    assert json.loads(json.dumps(undo)) == undo
    assert not fault.witness(stack, undo).holds
    assert connect(stack, source, target) == "connected"
    fault.inject(stack, undo)
    words = CUTS[fault][2] if fault in CUTS else FILTERS[type(fault)]  # type: ignore[index]
    assert connect(stack, source, target) == words
    assert connect(stack, "operator", "provider-west" if "east" in target else "provider-east") == "connected"
    seen = fault.witness(stack, undo)
    assert seen.holds, seen.detail
    for _ in range(2):
        fault.revert(stack, undo)
    assert filter_and_rules(stack) == before
    assert not fault.witness(stack, undo).holds
    assert connect(stack, source, target) == "connected"


def test_another_process_reverts_from_the_journal_alone(
    stack: ProcessStack, fault: Fault, undo: Undo, tmp_path: Path
) -> None:
    before = filter_and_rules(stack)
    journal = Journal(tmp_path / "journal", RUN)
    journal.write("stack", control=str(stack.control), services={}, start_s=0.0)
    journal.write("undo", fault=fault.as_data(), undo=undo)
    journal.close()
    fault.inject(stack, undo)
    command = Path(sys.executable).with_name("runlab")
    healed = subprocess.run([command, "heal", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert healed.stdout.startswith(f"{fault.name}: reverted"), healed.stdout + healed.stderr
    assert filter_and_rules(stack) == before


def test_half_of_an_injection_is_undone(
    stack: ProcessStack, fault: Fault, undo: Undo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The injector is stopped at its second command."""
    before = filter_and_rules(stack)
    execute = stack.execute
    done: list[list[str]] = []

    def once(argv: list[str], **how: str) -> object:
        if done:
            raise KeyboardInterrupt
        done.append(argv)
        return execute(argv, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(stack, "execute", once)
    with pytest.raises(KeyboardInterrupt):
        fault.inject(stack, undo)
    monkeypatch.setattr(stack, "execute", execute)
    assert filter_and_rules(stack) != before
    fault.revert(stack, undo)
    assert filter_and_rules(stack) == before


# ------------------------------------------------------------------------------------------------ packet filter


@pytest.mark.parametrize("kind", FILTERS)
def test_a_rule_on_one_port_holds_back_that_port_of_that_machine(
    stack: ProcessStack, kind: type[Rejected | HostUnreachable | Dropped]
) -> None:
    fault = kind(SOURCE, TARGET, 5432)
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    try:
        assert not fault.witness(stack, undo).holds, "nobody has met it yet"
        assert connect(stack, SOURCE, TARGET, 5432) == FILTERS[kind]
        assert fault.witness(stack, undo).holds
        assert connect(stack, SOURCE, TARGET) == "connected"
        assert connect(stack, NEIGHBOUR, TARGET, 5432) == "connected"
    finally:
        fault.revert(stack, undo)


def test_the_witness_tells_the_rule_from_others_as_a_review_prints_them(stack: ProcessStack) -> None:
    older = Dropped("users", "data")
    fault = Rejected(SOURCE, TARGET)
    undos = older.prepare(stack), fault.prepare(stack)
    try:
        older.inject(stack, undos[0])
        fault.inject(stack, undos[1])
        connect(stack, SOURCE, TARGET)
        seen = fault.witness(stack, undos[1])
        review = stack.execute(["iptables", "-S", "FORWARD"], account="root", on="router").stdout.splitlines()
        rules = [line.removeprefix("-A ") for line in review if line.startswith("-A ")]
        assert [*seen.truth["rule"], *seen.innocents["rule"]] == rules
        assert len(seen.truth["rule"]) == 1
        assert seen.truth["hop"] == ["10.20.1.1"]
        traced = stack.execute(
            ["traceroute", "-n", "-q", "1", "-m", "3", address(stack, TARGET)], account="root", on=SOURCE
        )
        assert traced.stdout.splitlines()[1].split()[1] == "10.20.1.1"
    finally:
        older.revert(stack, undos[0])
        fault.revert(stack, undos[1])


def test_the_rule_that_a_review_finds_can_be_taken_back_by_hand(stack: ProcessStack) -> None:
    fault = Rejected(SOURCE, TARGET, OTHER_PORT)
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    connect(stack, SOURCE, TARGET)
    (rule,) = fault.witness(stack, undo).truth["rule"]
    taken = stack.execute(["iptables", "-D", *str(rule).split()], account="root", on="router")
    assert taken.status == 0, taken.stderr
    assert not fault.witness(stack, undo).holds
    fault.revert(stack, undo)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Dropped(SOURCE, TARGET), "Software caused connection abort"),
        (Dropped(SOURCE, TARGET, OTHER_PORT), "Software caused connection abort"),
        (Dropped(NEIGHBOUR, TARGET), None),
        (Dropped(SOURCE, TARGET, 5432), None),
    ],
    ids=lambda it: it.name if isinstance(it, Fault) else "",
)
def test_a_connection_that_stands_ends_where_the_rule_forbids_it(
    stack: ProcessStack, fault: Dropped, words: str | None
) -> None:
    stack.hold("standing", ("python", "-c", STAYS, address(stack, TARGET), str(OTHER_PORT)), on=SOURCE)
    there = lambda: standing(stack) == 1  # noqa: E731
    undo = fault.prepare(stack)
    try:
        wait_until("the connection", there, deadline_s=5)
        fault.inject(stack, undo)
        assert standing(stack) == (1 if words is None else 0)
    finally:
        fault.revert(stack, undo)
        stack.release("standing")
    wait_until("its end", lambda: standing(stack) == 0, deadline_s=5)


def standing(stack: ProcessStack) -> int:
    """How many connections to the other port stand on the source."""
    argv = ["ss", "-Htn", "state", "established", "dport", "=", f":{OTHER_PORT}"]
    return len(stack.execute(argv, account="root", on=SOURCE).stdout.splitlines())


# --------------------------------------------------------------------------------------------- zones and regions


def test_a_zone_that_is_cut_off_reaches_nobody_and_nobody_else_minds(stack: ProcessStack) -> None:
    fault = ZoneCutOff("zone-a", silent=False)
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    try:
        assert connect(stack, "zone-a", "zone-b") != "connected"
        assert connect(stack, "zone-a", "zone-a") == "connected"
        assert connect(stack, "zone-b", "data") == "connected"
    finally:
        fault.revert(stack, undo)


def test_zones_that_are_cut_from_the_database_still_reach_each_other(stack: ProcessStack) -> None:
    fault = ZonesCutFromDatabase(silent=False)
    undo = fault.prepare(stack)
    fault.inject(stack, undo)
    try:
        assert connect(stack, "zone-a", "zone-b") == "connected"
        assert connect(stack, "control", "data") == "connected"
        assert connect(stack, "zone-a", "data") == "Network is unreachable"
    finally:
        fault.revert(stack, undo)


def test_a_witness_is_not_content_when_more_is_broken(stack: ProcessStack) -> None:
    fault, more = ZoneCutOff("zone-a", silent=False), ZoneCutOff("control", silent=False)
    undo, undo_more = fault.prepare(stack), more.prepare(stack)
    try:
        fault.inject(stack, undo)
        assert fault.witness(stack, undo).holds
        more.inject(stack, undo_more)
        seen = fault.witness(stack, undo)
        assert (seen.holds, seen.detail) == (
            False,
            "operator does not reach zone-a; operator does not reach control",
        )
    finally:
        more.revert(stack, undo_more)
        fault.revert(stack, undo)


def test_a_connection_that_hung_is_ended_by_the_revert(stack: ProcessStack) -> None:
    fault = ZonesCutFromDatabase()
    undo = fault.prepare(stack)
    stack.hold("standing", ("python", "-c", STAYS, address(stack, TARGET), str(OTHER_PORT)), on=SOURCE)
    try:
        wait_until("the connection", lambda: standing(stack) == 1, deadline_s=5)
        fault.inject(stack, undo)
        assert standing(stack) == 1, "nobody has told its owner"
        fault.revert(stack, undo)
        assert standing(stack) == 0
    finally:
        fault.revert(stack, undo)
        stack.release("standing")


@pytest.mark.parametrize("fault", [Rejected("nowhere", "data"), Dropped("data", "nowhere"), RegionLost("nowhere")])
def test_a_machine_that_is_not_there_is_one_clear_error(stack: ProcessStack, fault: Fault) -> None:
    before = filter_and_rules(stack)
    with pytest.raises(LabError, match=r"the router knows no machine '(provider-)?nowhere'"):
        fault.prepare(stack)
    assert filter_and_rules(stack) == before
