"""faults.toxics, links, exchange: what an exchange tells, and whether the link is at fault; real links: tests/e2e."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from faults import exchange, links, toxics
from faults.links import LINKS, Exchange
from faults.toxics import Bandwidth, CutData, Down, Latency, OnLink, ResetPeer, SlowClose, Timeout
from faults.toxiproxy import Proxy, Toxic
from runlab.journal import load_fault
from runlab.model import CommandResult, LabError

ANSWERED = Exchange("answered", bytes=1, connect_s=0.001, first_s=0.001, seconds=0.001)
SILENT = Exchange("silent", connect_s=0.001, seconds=2.0)
REFUSED = Exchange("ECONNREFUSED")
RESET = Exchange("ECONNRESET", connect_s=0.001, seconds=0.002)
UNCONNECTED = Exchange("silent")


@dataclass
class FakeStack:
    """Its machines' exchanges are scripted: what comes over the link, and what straight from the server."""

    over: list[Exchange] = field(default_factory=list)
    straight: list[Exchange] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    failure: str = ""

    def host(self, service: str) -> str:
        return f"{service}.outside"

    inside = staticmethod(lambda service: service)
    machine = staticmethod(lambda _: "zone-a")
    secret = staticmethod(lambda name: f"the {name}")

    def execute(self, argv: Sequence[str], *, account: str, on: str, **_: Any) -> CommandResult:
        assert account == "service"
        if self.failure:
            return CommandResult(tuple(argv), 1, "", self.failure, 0.0)
        settings = json.loads(argv[-1])
        self.asked.append((on, settings))
        answers = self.over if settings["host"] in LINKS else self.straight
        told = answers.pop(0) if len(answers) > 1 else answers[0]
        return CommandResult(tuple(argv), 0, json.dumps(asdict(told)), "", 0.0)


class FakeToxiproxy:
    """A server that has its links in memory; one for each host."""

    servers: dict[str, FakeToxiproxy]

    def __init__(self) -> None:
        self.made = {name: Proxy(name, "h:1", "h:2", True, ()) for name in ("db", "sessions-db")}
        self.toxics: list[tuple[str, Toxic]] = []
        self.down: set[str] = set()

    def proxies(self) -> dict[str, Proxy]:
        return self.made

    def add_toxic(self, proxy: str, toxic: Toxic) -> None:
        self.toxics.append((proxy, toxic))

    def remove_toxic(self, proxy: str, name: str) -> None:
        self.toxics = [(on, it) for on, it in self.toxics if (on, it.name) != (proxy, name)]

    def enable(self, name: str, *, enabled: bool) -> None:
        self.down = self.down - {name} if enabled else self.down | {name}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeToxiproxy:
    made = FakeToxiproxy()
    monkeypatch.setattr(toxics, "Toxiproxy", lambda host: {"toxiproxy.outside": made}[host])
    return made


# ----------------------------------------------------------------------------------------------- what an exchange is

SHOWS: list[tuple[OnLink, Exchange, list[Exchange]]] = [
    (Latency("db", 200), Exchange("answered", 1, 0.001, 0.2, 0.2), [ANSWERED, SILENT, REFUSED]),
    (Latency("db", 200, 50), Exchange("answered", 1, 0.001, 0.15, 0.15), [Exchange("answered", 1, 0.001, 0.149)]),
    (Timeout("db"), SILENT, [ANSWERED, RESET, UNCONNECTED, Exchange("closed", connect_s=0.1), REFUSED]),
    (Timeout("db", 300), Exchange("closed", connect_s=0.001, seconds=0.3), [ANSWERED, RESET, UNCONNECTED]),
    (ResetPeer("db"), RESET, [ANSWERED, SILENT, REFUSED, Exchange("closed", connect_s=0.001)]),
    (
        Bandwidth("db", 10),
        Exchange("answered", 5000, 0.1, 0.1, 0.5),
        [Exchange("answered", 5000, 0.1, 0.1, 0.3), SILENT],
    ),
    (
        SlowClose("db", 300),
        Exchange("answered", 1, 0.1, 0.1, 0.1, 0.3),
        [ANSWERED, Exchange("answered", 1, close_s=0.29)],
    ),
    (
        CutData("db", 100),
        Exchange("closed", 100, 0.1, 0.1, 0.1),
        [Exchange("closed", 101, 0.1), ANSWERED, SILENT, REFUSED],
    ),
    (Down("db"), REFUSED, [ANSWERED, SILENT, RESET, UNCONNECTED]),
]


@pytest.mark.parametrize(("fault", "shows", "others"), SHOWS, ids=lambda it: getattr(it, "name", ""))
def test_each_kind_is_told_from_others(fault: OnLink, shows: Exchange, others: list[Exchange]) -> None:
    assert fault.is_so(shows)
    assert not any(fault.is_so(other) for other in others)


@pytest.mark.parametrize(
    ("over", "straight", "holds", "asked"),
    [
        pytest.param([REFUSED], [ANSWERED], True, 2, id="the link alone"),
        pytest.param([ANSWERED], [ANSWERED], False, 1, id="nothing at all"),
        pytest.param([REFUSED], [REFUSED], False, 6, id="the server too"),
        pytest.param([REFUSED], [REFUSED, ANSWERED], True, 4, id="the server for a moment"),
        pytest.param([REFUSED, ANSWERED], [REFUSED], False, 3, id="both for a moment"),
    ],
)
def test_the_witness_compares(over: list[Exchange], straight: list[Exchange], holds: bool, asked: int) -> None:
    stack = FakeStack(list(over), list(straight))
    seen = Down("db").witness(stack, {})  # type: ignore[arg-type]
    assert (seen.holds, len(stack.asked)) == (holds, asked)
    assert {on for on, _ in stack.asked} == {"zone-a"}
    assert "over db: " in seen.detail


def test_what_could_not_be_tried_is_no_answer() -> None:
    stack = FakeStack(failure="Traceback\nModuleNotFoundError: psycopg\n")
    with pytest.raises(LabError, match=r"^no exchange over db could be made: ModuleNotFoundError: psycopg$"):
        Down("db").witness(stack, {})  # type: ignore[arg-type]


def test_an_exchange_is_told_in_words() -> None:
    told = str(Exchange("answered", 7, 0.001, 0.002, 0.5, 0.3))
    assert told == (
        "connected after 0.001 s, first byte after 0.002 s, 7 bytes after 0.500 s, "
        "the other side closed after 0.300 s, answered"
    )
    assert (str(REFUSED), REFUSED.bytes_per_s) == ("ECONNREFUSED", 0.0)


# --------------------------------------------------------------------------------------------------- inject, revert


@pytest.mark.parametrize("fault", [fault for fault, _, _ in SHOWS], ids=lambda fault: fault.name)
def test_the_undo_alone_brings_back_what_was_there(fault: OnLink, server: FakeToxiproxy) -> None:
    shows = {it.name: exchange for it, exchange, _ in SHOWS}[fault.name]
    stack = FakeStack(
        [shows], [ANSWERED if not isinstance(fault, Bandwidth) else Exchange("answered", 5000, seconds=0.1)]
    )
    undo = json.loads(json.dumps(fault.prepare(stack)))  # type: ignore[arg-type]
    assert (server.toxics, server.down) == ([], set())
    other = ("db", Toxic("somebody else's", "latency"))
    server.toxics.append(other)
    fault.inject(stack, undo)  # type: ignore[arg-type]
    assert len(server.toxics) + len(server.down) == 2
    again = load_fault(fault.as_data())
    for _ in range(2):
        again.revert(stack, undo)  # type: ignore[arg-type]
        assert (server.toxics, server.down) == ([other], set())


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("fault", "shows"), [(Down("db"), REFUSED), (ResetPeer("db"), RESET)], ids=["proxy", "toxic"])
def test_inject_waits_until_the_link_has_it(fault: OnLink, shows: Exchange) -> None:
    stack: Any = FakeStack([ANSWERED, ANSWERED, shows], [ANSWERED])
    fault.inject(stack, fault.prepare(stack))
    assert stack.over == [shows]


def test_a_link_that_is_not_there_or_is_down_is_refused(server: FakeToxiproxy) -> None:
    stack: Any = FakeStack()
    server.made = {"db": Proxy("db", "h:1", "h:2", False, ())}
    for link in ("db", "sessions-db"):
        with pytest.raises(LabError, match=f"^Down-{link}: toxiproxy has no link {link} that is up$"):
            Down(link).prepare(stack)


@pytest.mark.parametrize(
    "made",
    [
        lambda: Down("nowhere"),
        lambda: Latency("db", 0),
        lambda: Latency("db", 100, 100),
        lambda: Latency("db", 100, -1),
        lambda: Timeout("db", -1),
        lambda: ResetPeer("db", -1),
        lambda: Bandwidth("db", 0),
        lambda: Bandwidth("db", 1001),
        lambda: SlowClose("db", 0),
        lambda: CutData("db", 0),
    ],
)
def test_what_would_be_no_fault_is_refused(made: Callable[[], OnLink]) -> None:
    with pytest.raises(LabError):
        made()


def test_needs_follow_the_link() -> None:
    assert Down("db").needs == {"api", "toxiproxy", "postgres", "migrate"}
    assert Down("sessions-db").needs == {"api", "toxiproxy", "redis"}
    assert Down("east").needs == {"api", "toxiproxy-east", "provider"}


def test_a_password_is_no_argument() -> None:
    stack = FakeStack([ANSWERED])
    links.examine(stack, LINKS["db"], least=10)  # type: ignore[arg-type]
    assert stack.asked[0][1]["select"] == 10
    assert "the APP_PASSWORD" not in json.dumps(stack.asked)


# ---------------------------------------------------------------------------------------------- exchange.py itself

Behaviour = Callable[[socket.socket], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], int]]:
    """Starts a server that does so with each connection; returns its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def start(behaves: Behaviour) -> int:
            def run() -> None:
                connection, _ = server.accept()
                with connection:
                    behaves(connection)

            threading.Thread(target=run, daemon=True).start()
            return int(server.getsockname()[1])

        yield start


def ask(port: int, *, least: int = 1, limit_s: float = 0.3, closing: bool = False) -> exchange.Told:
    request = base64.b64encode(b"ask").decode()
    return exchange.exchange(
        exchange.Settings(
            host="127.0.0.1", port=port, request=request, least=least, limit_s=limit_s, closing=closing, select=0
        )
    )


def test_an_answer_is_told(serve: Callable[[Behaviour], int]) -> None:
    told = ask(serve(lambda it: it.sendall(it.recv(3) * 2)), least=6)
    assert (told["end"], told["bytes"], told["close_s"]) == ("answered", 6, None)
    assert all(told[name] is not None for name in ("connect_s", "first_s", "seconds"))  # type: ignore[literal-required]


def test_silence_is_told(serve: Callable[[Behaviour], int]) -> None:
    over = threading.Event()
    told = ask(serve(lambda _: over.wait(5) and None))
    over.set()
    assert (told["end"], told["bytes"], told["first_s"]) == ("silent", 0, None)
    assert told["seconds"] >= 0.3  # type: ignore[operator]


def test_an_early_end_is_told(serve: Callable[[Behaviour], int]) -> None:
    told = ask(serve(lambda it: it.sendall(it.recv(3))), least=4)
    assert (told["end"], told["bytes"]) == ("closed", 3)


def test_a_reset_is_told(serve: Callable[[Behaviour], int]) -> None:
    def resets(connection: socket.socket) -> None:
        connection.recv(1)  # closing with data unread resets

    assert ask(serve(resets))["end"] == "ECONNRESET"


def test_a_refusal_is_told() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    assert ask(port) == exchange.Told(
        end="ECONNREFUSED", bytes=0, connect_s=None, first_s=None, seconds=None, close_s=None
    )


def test_a_late_close_is_told(serve: Callable[[Behaviour], int]) -> None:
    late = threading.Event()

    def closes_late(connection: socket.socket) -> None:
        connection.sendall(connection.recv(3))
        assert connection.recv(1) == b""
        late.wait(0.2)

    told = ask(serve(closes_late), closing=True, limit_s=2)
    assert told["end"] == "answered"
    assert 0.2 <= told["close_s"] < 2  # type: ignore[operator]


def test_a_close_that_never_comes_took_as_long_as_it_was_given(serve: Callable[[Behaviour], int]) -> None:
    over = threading.Event()

    def stays(connection: socket.socket) -> None:
        connection.sendall(connection.recv(3))
        over.wait(5)

    told = ask(serve(stays), closing=True)
    over.set()
    assert told["end"] == "answered"
    assert told["close_s"] > 0.2  # type: ignore[operator]


def test_its_text_alone_is_enough(serve: Callable[[Behaviour], int]) -> None:
    """Nothing of the lab is where it runs."""
    settings = {"host": "127.0.0.1", "port": serve(lambda it: it.sendall(b"x")), "request": "", "least": 1}
    settings |= {"limit_s": 5, "closing": False, "select": 0}
    _, *arguments = links.program(exchange.__file__, settings)
    done = subprocess.run([sys.executable, "-I", *arguments], cwd="/", capture_output=True, check=True, timeout=20)
    assert json.loads(done.stdout)["end"] == "answered"
