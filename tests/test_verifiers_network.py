"""What scenarios ask of the network: settings on both replicas, where names lead, and when somebody was told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from runlab.journal import Journal
from runlab.model import CommandResult, Json, LabError
from runlab.waiting import wait_until
from verifiers.network import PATIENCE_S, Crowd, Network, Requests
from verifiers.users import Seen

RIGHT, WRONG = "10.20.3.11", "10.20.3.99"
NAME = "db.platform.internal"


@dataclass
class Stack:
    """Each service at a name of its own; each zone answers for a name as `answers` has it."""

    answers: dict[str, str] = field(default_factory=lambda: {"zone-a": RIGHT, "zone-b": RIGHT})
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def host(self, service: str) -> str:
        return f"{service}.test"

    def inside(self, service: str) -> str:
        return {"db": RIGHT}[service]

    def execute(self, argv: Sequence[str], *, account: str, on: str, time_limit_s: float) -> CommandResult:
        assert (account, time_limit_s) == ("operator", 5.0)
        self.asked.append((on, *argv))
        return CommandResult(tuple(argv), 0, self.answers[on], "", 0.01)


@dataclass
class Nodes:
    """Answers as the nodes of both replicas do."""

    regions: dict[str, str] = field(default_factory=dict)
    orders: list[tuple[str, Any]] = field(default_factory=list)
    refuses: str = ""
    balanced: str = "UP"
    session: int = 201

    def answer(self, request: httpx.Request) -> httpx.Response:
        node = request.url.host.removesuffix(".test")
        if request.url.path == "/sessions":
            return httpx.Response(self.session, json={})
        if node == "toxiproxy-east":
            self.orders.append((str(request.url), json.loads(request.content)))
            return httpx.Response(200, json={})
        if node == "lb" and request.method == "POST":
            assert request.content == b"s=api2&action=maint&b=api"
            return httpx.Response(303, headers={"Location": "/stats;st=DONE"})
        if node == "lb":
            return httpx.Response(200, text=f"# pxname,svname,status,\napi,api1,UP,\napi,api2,{self.balanced},\n")
        if request.method == "PUT":
            if self.refuses == node:
                return httpx.Response(409, json={"detail": "it does not start"})
            self.orders.append((str(request.url), json.loads(request.content)))
            return httpx.Response(200, json={})
        region = self.regions.get(node)
        return httpx.Response(200, json={"release": "1", "settings": {"PROVIDER_REGION": region} if region else {}})


@dataclass
class World:
    stack: Stack
    nodes: Nodes
    http: httpx.Client
    journal: Journal

    def network(self, **settings: Json) -> Network:
        return Network(self.stack, self.http, None, self.journal, settings)  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    journal = Journal(tmp_path / "journal", "r1")
    nodes = Nodes()
    with httpx.Client(transport=httpx.MockTransport(nodes.answer)) as http:
        yield World(Stack(), nodes, http, journal)
    journal.close()


# ---------------------------------------------------------------------------------------------------------- settings


def test_both_replicas_run_with_the_settings_of_the_case_and_with_nothing_else(world: World) -> None:
    world.network(PROVIDER_TIMEOUT_S="0.5", hostname=NAME, zones=1).configure()
    order = {"release": "1", "settings": {"PROVIDER_TIMEOUT_S": "0.5"}}
    assert sorted(world.nodes.orders) == [
        ("http://api1.test:8001/release", order),
        ("http://api2.test:8001/release", order),
    ]


def test_a_case_without_settings_orders_nothing(world: World) -> None:
    world.network(hostname=NAME).configure()
    assert world.nodes.orders == []


def test_a_replica_that_does_not_take_its_settings_is_an_error(world: World) -> None:
    world.nodes.refuses = "api2"
    with pytest.raises(LabError, match=r"api2 does not run with .*: .*it does not start"):
        world.network(PROVIDER_BREAKER="on").configure()


def test_a_replica_in_maintenance_is_taken_out(world: World) -> None:
    world.nodes.balanced = "MAINT"
    world.network().take_out("api2")


def test_a_replica_that_stays_in_is_an_error(world: World) -> None:
    with pytest.raises(LabError, match="has api2 as UP, not in maintenance"):
        world.network().take_out("api2")


@pytest.mark.parametrize(
    ("regions", "told"),
    [
        ({}, "east"),
        ({"api1": "west", "api2": "west"}, "west"),
        ({"api1": "west"}, "west and east"),
    ],
)
def test_the_region_is_that_of_both_replicas(world: World, regions: dict[str, str], told: str) -> None:
    world.nodes.regions = regions
    assert world.network().region() == told


# ------------------------------------------------------------------------------------------------------------- names

ANSWERS: Mapping[str, tuple[str, str, str]] = {
    "both right": (RIGHT, RIGHT, "right"),
    "behind an alias": (f"alias.platform.internal.\n{RIGHT}\n", RIGHT, "right"),
    "one wrong": (RIGHT, WRONG, "wrong"),
    "both wrong": (WRONG, WRONG, "wrong"),
    "one silent": (RIGHT, "", "no answer"),
    "one silent, one wrong": (WRONG, "", "no answer"),
    "an error in words": (";; connection timed out; no servers could be reached", RIGHT, "no answer"),
}


@pytest.mark.parametrize(("first", "second", "said"), ANSWERS.values(), ids=ANSWERS)
def test_a_name_is_right_where_both_zones_get_its_address(world: World, first: str, second: str, said: str) -> None:
    world.stack.answers = {"zone-a": first, "zone-b": second}
    assert world.network(hostname=NAME).names() == said
    assert sorted(zone for zone, *_ in world.stack.asked) == ["zone-a", "zone-b"]
    assert {argv[-1] for argv in world.stack.asked} == {NAME}


# ------------------------------------------------------------------------------------------------- when it was told


def alert(journal: Journal, name: str, labels: str = "{}", hop: str = "delivered", but: str = "") -> None:
    journal.write("hop", alert=name, hop=hop, detail=f"started today, {labels}, no runbook_url{but}")


def test_told_is_the_first_delivery_of_one_of_the_alerts_of_this_arm(world: World) -> None:
    world.journal.begin_arm("an arm")
    world.journal.write("trigger", what="it")
    network = world.network()
    alert(world.journal, "Other")
    before = network.told_after_s("Inside")
    wait_until("time to go by while nobody is told", lambda: network.told_after_s("Inside") > before, deadline_s=5.0)
    alert(world.journal, "Outside")
    told = network.told_after_s("Inside", "Outside")
    wait_until("a moment", lambda: network.told_after_s("Inside") > told + 0.01, deadline_s=5.0)
    alert(world.journal, "Inside")
    assert network.told_after_s("Inside", "Outside") == told
    assert network.told_after_s("Inside") > told


def test_told_is_neither_a_hop_before_the_delivery_nor_one_that_does_not_count(world: World) -> None:
    world.journal.begin_arm("an arm")
    world.journal.write("trigger", what="it")
    network = world.network()
    for hop in ("pending", "firing"):
        alert(world.journal, "Inside", hop=hop)
    alert(world.journal, "Inside", but="; does not count: it began before this arm")
    before = network.told_after_s("Inside")
    wait_until("time to go by while nobody is told", lambda: network.told_after_s("Inside") > before, deadline_s=5.0)


def test_of_the_canaries_one_alone_may_be_listened_to(world: World) -> None:
    world.journal.begin_arm("an arm")
    world.journal.write("trigger", what="it")
    network = world.network()
    alert(world.journal, "Outside", "{alertname=Outside, probe=http}")
    by_http = network.told_after_s("Inside", "Outside", probe="http")
    assert network.told_after_s("Inside", "Outside") == by_http
    wait_until("a moment", lambda: network.told_after_s("Outside", probe="ping") > by_http + 0.01, deadline_s=5.0)
    alert(world.journal, "Inside", "{alertname=Inside}")
    by_either = network.told_after_s("Inside", "Outside", probe="ping")
    assert by_either > by_http
    wait_until("a moment", lambda: network.told_after_s("Outside", probe="ping") > by_either, deadline_s=5.0)


def test_which_probes_have_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifiers.network._BOTH_WITHIN_S", 0.2)
    world.journal.begin_arm("an arm")
    network = world.network()
    alert(world.journal, "Inside", "{alertname=Inside}")
    alert(world.journal, "Outside", "{alertname=Outside, probe=ping}", but="; does not count: it began before this arm")
    alert(world.journal, "Outside", "{alertname=Outside, probe=http}")
    assert network.told_by() == {"http"}
    alert(world.journal, "Outside", "{alertname=Outside, probe=ping}")
    assert network.told_by() == {"http", "ping"}


# ------------------------------------------------------------------------------------------------------------ crowds


class Hanging(BaseHTTPRequestHandler):
    """Keeps everybody waiting who comes with the session."""

    asked: ClassVar[list[str | None]] = []
    over = threading.Event()

    def do_GET(self) -> None:
        self.asked.append(self.headers["X-Session"])
        self.over.wait(PATIENCE_S)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hanging() -> Iterator[str]:
    """An address."""
    Hanging.asked.clear()
    Hanging.over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hanging) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        Hanging.over.set()
        server.shutdown()


def test_a_crowd_comes_however_the_others_fare_and_goes_when_it_is_told(hanging: str) -> None:
    crowd = Crowd(hanging, "a session", per_s=50)
    try:
        wait_until("many to wait at once", lambda: len(Hanging.asked) >= 20, deadline_s=PATIENCE_S / 2)
    finally:
        started = time.monotonic()
        crowd.close()
        gone_s = time.monotonic() - started
    assert set(Hanging.asked) == {"a session"}
    assert gone_s < 1


def test_a_crowd_opens_its_session_before_it_comes(world: World) -> None:
    world.nodes.session = 503
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        world.network().crowd(per_s=10)


def test_a_provider_that_is_away_for_no_time_is_never_away(world: World) -> None:
    world.network().provider_is_away(0.0)
    assert world.nodes.orders == []


def test_a_provider_that_was_away_is_back_whatever_happens(world: World) -> None:
    began = time.monotonic()
    world.network().provider_is_away(0.2)
    assert time.monotonic() - began >= 0.2
    with pytest.raises(ValueError, match="non-negative"):
        world.network().provider_is_away(-1.0)
    link = "http://toxiproxy-east.test:8474/proxies/east"
    assert world.nodes.orders == [(link, {"enabled": False}), (link, {"enabled": True})] * 2


def test_impacts_of_a_part_of_the_requests() -> None:
    projects, suggestions = Seen(5, 0, 0.5, 0.0), Seen(3, 2, 4.0, 2.0)
    record = Seen.together({"GET /projects": projects, "GET /suggestions": suggestions})
    impacts = [
        Requests.failed("suggestions", "/suggestions"),
        Requests.longest_wait("projects", "/projects"),
        Requests.blocked_s("suggestions", "/suggestions"),
    ]
    read = [(impact.read(record), impact.unit) for impact in impacts if impact.read]
    assert read == [(2.0, "requests"), (0.5, "s"), (2.0, "s")]
