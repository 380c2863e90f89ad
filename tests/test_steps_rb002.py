"""What RB-002's step definitions cut out of what traceroute, mtr, dig and nslookup really printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runlab.console import Found, Output
from runlab.model import CommandResult
from runlab.steps import load_modules


@pytest.fixture(scope="module")
def steps() -> ModuleType:
    modules = load_modules(Path(__file__).parents[1] / "scenarios")
    return next(module for module in modules if module.__name__.endswith("_steps_rb002"))


def printed(text: str) -> Output:
    return Output(((CommandResult((), 0, text, "", 0.0), "a line"),))


ROUTER, TARGET = "10.20.1.1", "10.20.3.10"
TRACE = "traceroute to db (10.20.3.10), 3 hops max, 60 byte packets\n"
MTR = "Start: 2026-11-25T07:49:18+0000\nHOST: vm                          Loss%   Snt   Last   Avg  Best  Wrst StDev\n"

ARRIVES = TRACE + " 1  10.20.1.1  0.326 ms\n 2  10.20.3.10  0.144 ms\n"
STOPS: Mapping[str, str] = {
    "dropped": TRACE + " 1  10.20.1.1  0.052 ms\n 2  *\n 3  *\n",
    "rejected": TRACE + " 1  10.20.1.1  0.024 ms\n 2  10.20.1.1  0.005 ms\n",
    "host unreachable": TRACE + " 1  10.20.1.1  0.028 ms\n 2  10.20.1.1  0.007 ms !H\n",
    "refused by the target's own filter": TRACE + " 1  10.20.1.1  0.028 ms\n 2  10.20.3.10  0.007 ms !X\n",
}
LAST: Mapping[str, tuple[str, str]] = {
    "traceroute, dropped": (STOPS["dropped"], ROUTER),
    "traceroute, rejected": (STOPS["rejected"], ROUTER),
    "traceroute, host unreachable": (STOPS["host unreachable"], ROUTER),
    "traceroute, arrives": (ARRIVES, TARGET),
    "mtr, dropped": (
        MTR + "  1.|-- 10.20.1.1                  0.0%     1    0.1   0.1   0.1   0.1   0.0\n"
        "  2.|-- ???                       100.0     1    0.0   0.0   0.0   0.0   0.0\n",
        ROUTER,
    ),
    "mtr, arrives": (
        MTR + "  1.|-- 10.20.1.1                  0.0%     1    0.2   0.2   0.2   0.2   0.0\n"
        "  2.|-- 10.20.3.10                 0.0%     1    0.0   0.0   0.0   0.0   0.0\n",
        TARGET,
    ),
}


def test_a_trace_that_ends_at_its_target_has_arrived(steps: ModuleType) -> None:
    assert steps.arrived(printed(ARRIVES))


@pytest.mark.parametrize("trace", STOPS.values(), ids=STOPS)
def test_a_trace_that_ends_elsewhere_or_with_a_mark_has_not_arrived(steps: ModuleType, trace: str) -> None:
    assert not steps.arrived(printed(trace))


@pytest.mark.parametrize(("trace", "hop"), LAST.values(), ids=LAST)
def test_the_last_hop_that_answered(steps: ModuleType, trace: str, hop: str) -> None:
    assert list(printed(trace).group(steps.LAST_HOP)) == [hop]


def test_no_hop_answered(steps: ModuleType) -> None:
    assert list(printed(TRACE + " 1  *\n 2  *\n 3  *\n").group(steps.LAST_HOP)) == []
    assert list(printed(MTR).group(steps.LAST_HOP)) == []


class Asks:
    """An operator whose requests come to `statuses`, one after the other, and then to 200."""

    def __init__(self, *statuses: str) -> None:
        self._statuses, self.ran = iter(statuses), list[str]()

    def run(self, command: str, *, on: str, each: Mapping[str, object] | None = None) -> Output:
        self.ran.append(command)
        side = "inside" if on == "control" else "outside"
        body = '{"session":"a-token"}' if "POST" in command else ""
        return printed(f"{body}\n{side} {next(self._statuses, '200')}\n")


A_LOOK, OUTSIDE_TIMES = 3, 8
"""Requests to one replica, and how often what has several behind it is asked for the same."""


@pytest.mark.parametrize(
    ("statuses", "fails", "requests"),
    [
        ((), [], 2 * A_LOOK + 2 * OUTSIDE_TIMES + 1),
        (("000",), ["inside"], 1 + A_LOOK + 2 * OUTSIDE_TIMES + 1),
        (("200", "503", "200", "200", "502", "200", "000"), ["inside", "inside", "outside"], 2 + 3 + 2),
        (("200", "201", "404"), [], 2 * A_LOOK + 2 * OUTSIDE_TIMES + 1),
    ],
)
def test_where_it_fails_is_told_by_the_first_request_that_goes_wrong(
    steps: ModuleType, statuses: tuple[str, ...], fails: list[str], requests: int
) -> None:
    operator = Asks(*statuses)
    assert list(steps.isolate_scope(operator).found["fails"]) == fails
    assert len(operator.ran) == requests


class Walks:
    """An operator for whom packets to the database stop at zone-a's router: those in `held`, "TCP" or "other"."""

    def __init__(self, *held: str) -> None:
        self.held, self.ran = held, list[tuple[str, str]]()

    def run(self, command: str, *, on: str) -> Output:
        self.ran.append((command, on))
        by_tcp = " -T -p " in command
        kept = (on, command.rpartition(" ")[2]) == ("zone-a", "db") and ("TCP" if by_tcp else "other") in self.held
        return printed(STOPS["rejected"] if kept else ARRIVES)

    @property
    def by_tcp(self) -> list[tuple[str, str]]:
        return [(command, on) for command, on in self.ran if " -T -p " in command]


SPANS = ("traceroute", "mtr")


@pytest.mark.parametrize(("held", "plain", "mended"), [((), [], []), (("TCP",), [], [ROUTER])])
def test_a_port_that_is_held_back_is_found_by_tcp_alone(
    steps: ModuleType, held: tuple[str, ...], plain: list[str], mended: list[str]
) -> None:
    assert list(steps.where_packets_stop(Walks(*held), *SPANS).found["hop"]) == plain
    operator = Walks(*held)
    assert list(steps.where_packets_to_a_port_stop(operator, *SPANS, "traceroute", "-T", "-p").found["hop"]) == mended
    assert operator.by_tcp[2] == ("traceroute -n -T -p 5432 -q 1 -w 0.5 -m 3 db", "zone-a")
    assert len(operator.by_tcp) == len(steps.PATHS)


def test_where_other_packets_stop_tcp_is_not_tried(steps: ModuleType) -> None:
    assert list(steps.where_packets_stop(Walks("other"), *SPANS).found["hop"]) == [ROUTER, ROUTER]
    operator = Walks("other", "TCP")
    found = steps.where_packets_to_a_port_stop(operator, *SPANS, "traceroute", "-T", "-p").found["hop"]
    assert list(found) == [ROUTER, ROUTER]
    assert ("mtr -n -r -c 1 -i 0.1 -G 0.3 -m 3 db", "zone-a") in operator.ran
    assert not [1 for command, on in operator.by_tcp if on == "zone-a" and command.endswith(" db")]


DIG = "\n; <<>> DiG 9.18.49-1~deb12u3-Debian <<>> +time=1 +tries=1 db.platform.internal\n;; global options: +cmd\n"
ANSWERED = DIG + (
    ";; Got answer:\n;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 50232\n\n;; QUESTION SECTION:\n"
    ";db.platform.internal.\t\tIN\tA\n\n;; ANSWER SECTION:\ndb.platform.internal.\t60\tIN\tA\t10.20.3.11\n\n"
    ";; Query time: 4 msec\n;; SERVER: 10.20.1.9#53(10.20.1.9) (UDP)\n"
)
LOOKED_UP: Mapping[str, tuple[str, list[str], list[str]]] = {
    "dig, an address": (ANSWERED, ["10.20.3.11"], []),
    "dig, no such name": (
        DIG + ";; Got answer:\n;; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 50232\n\n;; QUESTION SECTION:\n"
        ";db.platform.internal.\t\tIN\tA\n\n;; SERVER: 10.20.1.9#53(10.20.1.9) (UDP)\n",
        [],
        ["db.platform.internal"],
    ),
    "dig, no server": (
        ";; communications error to 10.20.1.9#53: connection refused\n" + DIG + ";; no servers could be reached\n",
        [],
        ["db.platform.internal"],
    ),
    "nslookup, no server": (  # it does not say what it was asked for
        ";; communications error to 10.20.1.9#53: timed out\n;; no servers could be reached\n\n",
        [],
        [],
    ),
    "nslookup, an address": (
        "Server:\t\t10.20.1.9\nAddress:\t10.20.1.9#53\n\nName:\tdb.platform.internal\nAddress: 10.20.3.11\n\n",
        ["10.20.3.11"],
        [],
    ),
    "nslookup, no such name": (
        "Server:\t\t10.20.1.9\nAddress:\t10.20.1.9#53\n\n** server can't find db.platform.internal: NXDOMAIN\n\n",
        [],
        ["db.platform.internal"],
    ),
}


@pytest.mark.parametrize(("text", "addresses", "unresolved"), LOOKED_UP.values(), ids=LOOKED_UP)
def test_what_a_name_leads_to(steps: ModuleType, text: str, addresses: list[str], unresolved: list[str]) -> None:
    assert list(printed(text).group(steps.ANSWER)) == addresses
    assert list(printed(text).group(steps.NO_ANSWER)) == unresolved
    assert list(printed(text).group(steps.ASKED)) == (["db.platform.internal"] if addresses or unresolved else [])


class Names:
    """An operator on whose machines `at` says what a name leads to, "" for nothing; where it is silent, all is well."""

    def __init__(self, **at: Mapping[str, str]) -> None:
        self.at, self.changed = {machine.replace("_", "-"): names for machine, names in at.items()}, list[str]()

    def run(self, command: str, *, on: str = "") -> Output:
        program, *_, name = command.split()
        match program:
            case "getent":
                return printed(f"{INVENTORY[name]}  STREAM {name}\n{INVENTORY[name]}  DGRAM\n")
            case "dig" | "nslookup":
                return printed(self.told(program, name, on))
        self.changed.append(f"{on}: {command}")
        return printed("")

    def told(self, program: str, name: str, on: str) -> str:
        address = self.at.get(on, {}).get(name, INVENTORY[HOSTS[name]])
        kind = "an address" if address else "no such name"
        return LOOKED_UP[f"{program}, {kind}"][0].replace("db.platform.internal", name).replace("10.20.3.11", address)


DB, EAST, WRONG = "db.platform.internal", "east.provider.example", "10.20.3.254"
HOSTS = {DB: "db", EAST: "east", "sessions.platform.internal": "sessions-db"}
INVENTORY = {"db": "10.20.3.11", "east": "198.51.100.12", "sessions-db": "10.20.3.12"}
TOOLS = ("dig", "nslookup")


def looked_up(steps: ModuleType, operator: Names) -> Mapping[str, Found]:
    found: Mapping[str, Found] = steps.look_up(operator, *TOOLS).found
    return found


@pytest.mark.parametrize("zone", ["zone_a", "zone_b"])
def test_an_address_or_a_name_that_is_not_as_in_the_inventory_is_found(steps: ModuleType, zone: str) -> None:
    found = looked_up(steps, Names(**{zone: {DB: WRONG, EAST: ""}}))
    assert {what: sorted(values) for what, values in found.items()} == {
        "address": [WRONG],
        "unresolved": [EAST],
        "name": [DB, EAST],
    }


def test_what_is_right_is_not_found(steps: ModuleType) -> None:
    assert not any(list(values) for values in looked_up(steps, Names()).values())


ZONES = ("zone-a", "zone-b")
FLUSHED = [f"{zone}: pkill --signal HUP --pidfile /run/dnsmasq.pid" for zone in ZONES]
RIGHT_AGAIN = [
    "control: dd if=/run/dns/records.kept of=/run/dns/records status=none",
    FLUSHED[0].replace("zone-a", "control"),
]


@pytest.mark.parametrize(("at_the_server", "before"), [({}, []), ({DB: WRONG}, RIGHT_AGAIN)], ids=["stale", "wrong"])
def test_the_record_is_put_right_before_caches_are_emptied(
    steps: ModuleType, at_the_server: Mapping[str, str], before: list[str]
) -> None:
    operator = Names(zone_a={DB: WRONG}, zone_b={DB: WRONG}, control=at_the_server)
    steps.put_right(operator, looked_up(steps, operator)["address"])
    assert operator.changed == [*before, *FLUSHED]


@pytest.mark.parametrize(("step", "reserve"), [("backup_resolver", "backup"), ("second_resolver", "second")])
def test_to_which_name_server_the_zones_go_over(steps: ModuleType, step: str, reserve: str) -> None:
    operator = Names(zone_a={DB: ""})
    getattr(steps, step)(operator, looked_up(steps, operator)["unresolved"])
    assert operator.changed == [f"{zone}: cp /run/resolv.conf.{reserve} /etc/resolv.conf" for zone in ZONES]


ESTABLISHED = (
    '0      0      10.20.1.11:8000      10.20.4.2:40858 users:(("python",pid=381,fd=18))\n'
    '0      0       10.20.1.2:39246    10.20.3.16:5432  users:(("python",pid=381,fd=7)) \n'
    '0      0       10.20.1.2:61000    10.20.3.16:5432  users:(("python",pid=869,fd=3)) \n'
    '0      0       10.20.1.2:61001    10.20.3.16:5432  users:(("python",pid=869,fd=12))\n'
)
IN_VAIN = (
    "0      1      10.20.1.2:50658 198.51.100.12:8000\n"
    "0      1      10.20.1.2:50672 198.51.100.12:8000\n"
    "0      1      10.20.1.2:50674     10.20.3.16:5432 \n"
)
QUEUES = (
    "qdisc noqueue 0: dev lo root refcnt 2 \n Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0) \n"
    " backlog 0b 0p requeues 0\n"
    "qdisc tbf 8001: dev edge root refcnt 2 rate 4Mbit burst 4Kb lat 400ms \n"
    " Sent 12839 bytes 43 pkt (dropped 10, overlimits 85 requeues 0) \n backlog 0b 0p requeues 0\n"
)
RECEIVED = (
    '0 0 10.20.4.10:8000 192.0.2.2:44950 users:(("haproxy",pid=371,fd=32)) bbr wscale:10,10 bytes_received:32160 a:1\n'
    '0 0 10.20.4.2:41000 10.20.3.11:20873 users:(("python",pid=5068,fd=3)) bbr wscale:10,10 bytes_received:900 a:1\n'
    '0 0 10.20.4.2:41002 10.20.3.11:20873 users:(("python",pid=5068,fd=4)) bbr wscale:10,10 bytes_received:100 a:1\n'
    '0 0 10.20.4.2:41004 10.20.3.11:20873 users:(("python",pid=5068,fd=5)) bbr wscale:10,10 segs_out:1\n'
)


class Operator:
    """Answers each command on each machine with what was printed there, and writes down what it was asked."""

    def __init__(self, **printed: str) -> None:
        self.printed, self.asked = printed, list[tuple[str, str]]()

    def run(self, command: str, *, on: str = "", each: Mapping[str, Found] | None = None) -> Output:
        for value in next(iter(each.values())) if each else [""]:
            self.asked.append((on, command.replace("<peer>", value)))
        return printed(self.printed[on.replace("-", "_")])


def test_who_holds_the_most_connections_to_one_peer(steps: ModuleType) -> None:
    elsewhere = "".join(ESTABLISHED.splitlines(keepends=True)[:2]).replace("381", "358")
    operator = Operator(zone_a=elsewhere, zone_b=ESTABLISHED)
    assert list(steps.holds_the_most(operator, "ss").found["pid"]) == ["869"]
    assert operator.asked == [("zone-a", "ss"), ("zone-b", "ss")]


def test_those_who_come_in_are_no_holders(steps: ModuleType) -> None:
    """Each of them is a peer of its own."""
    many = "".join(
        f'0 0 10.20.1.11:8000 10.20.4.2:{port} users:(("python",pid=381,fd=18))\n' for port in range(40000, 40009)
    )
    assert list(steps.holds_the_most(Operator(zone_a=many + ESTABLISHED, zone_b=""), "ss").found["pid"]) == ["869"]


def test_only_where_connections_are_opened_in_vain_is_anybody_suspected(steps: ModuleType) -> None:
    class Zones(Operator):
        def run(self, command: str, **more: Any) -> Output:
            told = super().run(command, **more)
            return told if command == "in vain" else printed(ESTABLISHED)

    operator = Zones(zone_a=IN_VAIN, zone_b="")
    facts = steps.holds_those_to_the_peer(operator, "in vain", "standing <peer>")
    assert operator.asked == [
        ("zone-a", "in vain"),
        ("zone-a", "standing 10.20.3.16:5432"),
        ("zone-a", "standing 198.51.100.12:8000"),
        ("zone-b", "in vain"),
    ]
    assert sorted(set(facts.found["pid"])) == ["381", "869"]


def test_the_program_that_gets_the_most_on_the_full_line(steps: ModuleType) -> None:
    """Not the one that has had the most since it was started."""

    class Machines(Operator):
        def run(self, command: str, **more: Any) -> Output:
            told = super().run(command, **more)
            times = len(self.asked)
            return told if times < steps.LOOKS else printed(RECEIVED.replace(":900 ", f":90{times} "))

    operator = Machines(router=QUEUES, edge=RECEIVED)
    facts = steps.gets_the_most(operator, "tc", "ss")
    assert (list(facts.found["line"]), list(facts.found["pid"])) == (["edge"], ["5068"])
    assert {machine for machine, _ in operator.asked} == {"router", "edge"}


def test_where_nothing_is_used_up_nobody_is_found(steps: ModuleType) -> None:
    nothing = Operator(router="", zone_a="", zone_b="")
    assert not list(steps.holds_the_most(nothing, "ss").found["pid"])
    assert not list(steps.holds_those_to_the_peer(nothing, "in vain", "standing <peer>").found["pid"])
    assert not list(steps.gets_the_most(nothing, "tc", "ss").found["pid"])


@pytest.mark.parametrize(
    ("values", "found"), [(["38"], ["38"]), (["381"], ["381"]), (["38", "381"], ["381", "38"]), (["8"], [])]
)
def test_a_value_is_found_once_and_whole(steps: ModuleType, values: list[str], found: list[str]) -> None:
    text = "pid=381,\npid=38,\npid=381,\npid=38,\n"
    assert list(printed(text).group(steps.once("pid=", *values))) == found
