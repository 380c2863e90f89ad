"""What RB-002's step definitions cut out of what traceroute, mtr, dig and nslookup really printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from runlab.console import Output
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
