"""The platform's name servers in a sandbox: who knows which name, for how long, and what makes a zone forget."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab.stack import processes
from runlab.stack.namespaces import sandbox_obstacle
from runlab.stack.processes import ProcessStack

COMPOSE = Path(__file__).parent.parent.parent / "compose" / "compose.yaml"
OBSTACLE = sandbox_obstacle()
SERVERS = {"dns": "control", "public-dns": "public", "cache-a": "zone-a", "cache-b": "zone-b"}
INTERNAL, PUBLIC, WRONG = "db.platform.internal", "east.provider.example", "10.20.3.99"
NOT_FOUND = 2  # as getent ends

pytestmark = pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or "")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    stack = processes.start(
        COMPOSE,
        reports=tmp_path_factory.mktemp("reports"),
        run_id="names",
        time_scale=1.0,
        rules=lambda text, _: text,
        services={*SERVERS, "toxiproxy"},
        runtime="sandbox",
    )
    yield stack
    stack.stop()


@pytest.fixture
def stack(running: ProcessStack) -> ProcessStack:
    running.reset()
    return running


def ask(stack: ProcessStack, name: str, *, on: str, of: str = "", kind: str = "A") -> list[str]:
    """What dig prints on a machine for a name; `of`: the server asked, in place of the one of resolv.conf."""
    server = [f"@{stack.inside(of)}"] if of else []
    argv = ["dig", "+noall", "+comments", "+answer", "+time=1", "+tries=1", *server, name, kind]
    return stack.execute(argv, account="operator", on=on, time_limit_s=5.0).stdout.splitlines()


def addresses(answer: list[str]) -> list[str]:
    return [words[4] for words in map(str.split, answer) if words[3:4] == ["A"]]


def change(stack: ProcessStack, name: str, address: str, *, of: str) -> None:
    """Change a record of a server, which reads it at once."""
    file = stack.data_folder(of) / "records"
    lines = [line.split() for line in file.read_text().splitlines()]
    file.write_text("".join(f"{address if known == name else old} {known}\n" for old, known in lines))
    forget(stack, of)


def forget(stack: ProcessStack, server: str) -> None:
    """As the person on call has it done."""
    argv = ["pkill", "--signal", "HUP", "--pidfile", "/run/dnsmasq.pid"]
    done = stack.execute(argv, account="root", on=SERVERS[server])
    assert done.status == 0, done.stderr


@pytest.mark.parametrize("on", ["zone-a", "zone-b", "control", "operator"])
def test_every_name_leads_where_it_should(stack: ProcessStack, on: str) -> None:
    for name, host in (
        (INTERNAL, "db"),
        ("sessions.platform.internal", "sessions-db"),
        (PUBLIC, "east"),
        ("west.provider.example", "provider-west"),
    ):
        assert addresses(ask(stack, name, on=on)) == [stack.inside(host)]


def test_a_program_finds_a_name_as_dig_does(stack: ProcessStack) -> None:
    found = stack.execute(["getent", "ahosts", INTERNAL], account="service", on="zone-a")
    assert found.stdout.split()[0] == stack.inside("db")


def test_there_is_no_other_name(stack: ProcessStack) -> None:
    for name in ("nobody.platform.internal", "example.com"):
        assert any("NXDOMAIN" in line for line in ask(stack, name, on="zone-a"))


def test_the_public_server_knows_public_names_only(stack: ProcessStack) -> None:
    assert stack.inside("public-dns") == "8.8.8.8"
    assert addresses(ask(stack, PUBLIC, on="zone-a", of="public-dns")) == [stack.inside("east")]
    assert any("NXDOMAIN" in line for line in ask(stack, INTERNAL, on="zone-a", of="public-dns"))


@pytest.mark.parametrize(("name", "server"), [(INTERNAL, "dns"), (PUBLIC, "public-dns")])
def test_a_zone_remembers_an_answer_until_it_is_made_to_forget(stack: ProcessStack, name: str, server: str) -> None:
    right = addresses(ask(stack, name, on="zone-a"))
    change(stack, name, WRONG, of=server)
    assert addresses(ask(stack, name, on="control")) == [WRONG]
    assert addresses(ask(stack, name, on="zone-a")) == right
    forget(stack, "cache-a")
    assert addresses(ask(stack, name, on="zone-a")) == [WRONG]
    change(stack, name, right[0], of=server)
    assert addresses(ask(stack, name, on="zone-a")) == [WRONG]
    assert addresses(ask(stack, name, on="control")) == right


def test_a_reset_brings_the_records_back_and_empties_the_caches(stack: ProcessStack) -> None:
    for name, server in ((INTERNAL, "dns"), (PUBLIC, "public-dns")):
        change(stack, name, WRONG, of=server)
        assert addresses(ask(stack, name, on="zone-b")) == [WRONG]
    stack.reset()
    for name, host in ((INTERNAL, "db"), (PUBLIC, "east")):
        assert addresses(ask(stack, name, on="zone-b")) == [stack.inside(host)]


def test_a_zone_knows_the_kinds_of_address_too_while_the_server_is_silent(stack: ProcessStack) -> None:
    """A program asks for both kinds, and would wait for the one that nobody remembers."""
    stack.execute(["getent", "ahosts", INTERNAL], account="service", on="zone-a")
    stack.signal("dns", signal.SIGSTOP)
    try:
        found = stack.execute(["getent", "ahosts", INTERNAL], account="service", on="zone-a", time_limit_s=5.0)
        unknown = stack.execute(["getent", "ahosts", INTERNAL], account="service", on="zone-b", time_limit_s=5.0)
    finally:
        stack.signal("dns", signal.SIGCONT)
    assert found.stdout.split()[0] == stack.inside("db")
    assert found.seconds < 0.5
    assert unknown.status == NOT_FOUND
