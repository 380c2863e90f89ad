"""What the person on call can do on the hosts of a sandbox, by the families of lab.toml, as the runbook prints it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab import settings
from runlab.console import Operator
from runlab.journal import Journal, read
from runlab.model import Claim, LabError
from runlab.stack import processes
from runlab.stack.namespaces import sandbox_obstacle
from runlab.stack.processes import ProcessStack

CHECKOUT = Path(__file__).resolve().parents[2]
LAB = settings.load(CHECKOUT / "lab.toml")
CLAIM = Claim("RB-2/recover/1", "RB-2", "recover", "", "Look", "x.md", 3)
OBSTACLE = sandbox_obstacle()

pytestmark = pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or "")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    stack = processes.start(
        LAB.path(LAB.stack.compose),
        reports=tmp_path_factory.mktemp("reports"),
        run_id="console",
        time_scale=1.0,
        rules=lambda text, _: text,
        services={"dns", "public-dns", "cache-a", "redis"},
        runtime="sandbox",
    )
    yield stack
    stack.stop()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal", "run")
    yield journal
    journal.close()


@pytest.fixture
def operator(stack: ProcessStack, journal: Journal) -> Operator:
    return Operator(stack, journal, LAB.console, CLAIM)


def test_names_are_looked_up_where_it_is_said(operator: Operator, stack: ProcessStack) -> None:
    for command, on in (
        ("dig +short +time=1 +tries=1 east.provider.example", "zone-a"),
        (f"dig +short +time=1 +tries=1 @{stack.inside('public-dns')} east.provider.example", "control"),
        ("nslookup -timeout=1 -retry=0 east.provider.example", "zone-a"),
    ):
        output = operator.run(command, on=on)
        assert output.ok, output.result
        assert stack.inside("east") in output.result.stdout


def test_a_way_is_followed_hop_by_hop(operator: Operator, stack: ProcessStack) -> None:
    router = stack.inside("cache-a").rpartition(".")[0] + ".1"
    target = stack.inside("redis")
    for command in (
        f"traceroute -n -w 1 -q 1 -m 3 {target}",
        f"traceroute -n -T -p 6379 -w 1 -q 1 -m 3 {target}",
        f"mtr -n -r -c 1 -i 0.1 -G 0.3 -m 3 {target}",
    ):
        output = operator.run(command, on="zone-a")
        hops = list(output.group(r"(?m)^\s*\d+(?:\.\|--)?\s+(\d[0-9.]+\d)"))
        assert hops == [router, target], output.result


def test_a_rule_is_seen_and_taken_away(operator: Operator, stack: ProcessStack) -> None:
    rule = ["FORWARD", "-i", "zone-a", "-o", "data", "-p", "tcp", "--dport", "6379"]
    told = ["-m", "comment", "--comment", "a change of today", "-j", "REJECT", "--reject-with", "icmp-port-unreachable"]
    assert stack.execute(["iptables", "-I", *rule, *told], account="root", on="router").status == 0
    of_today = r"(?m)^-A (.* \"a change of today\" .*)$"
    before = operator.run("iptables -S FORWARD", on="router")
    assert len(list(found := before.group(of_today))) == 1
    assert operator.run("iptables -D <rule...>", each={"rule": found}, on="router").ok
    after = operator.run("iptables -S FORWARD", on="router")
    by_rights = r"(?m)^-A (.*)$"
    assert [*after.group(by_rights)] == [rule for rule in before.group(by_rights) if rule not in [*found]]


def test_the_resolver_in_reserve_is_taken(operator: Operator, stack: ProcessStack) -> None:
    before = stack.execute(["cat", "/etc/resolv.conf"], account="operator", on="zone-a").stdout
    assert operator.run("cp /run/resolv.conf.backup /etc/resolv.conf", on="zone-a").ok
    try:
        after = stack.execute(["cat", "/etc/resolv.conf"], account="operator", on="zone-a").stdout
        assert stack.inside("public-dns") in after
        assert stack.inside("public-dns") not in before
        elsewhere = stack.execute(["cat", "/etc/resolv.conf"], account="operator", on="zone-b").stdout
        assert stack.inside("public-dns") not in elsewhere
    finally:
        stack.reset()


def test_a_cache_is_emptied(operator: Operator) -> None:
    assert operator.run("pkill --signal HUP --pidfile /run/dnsmasq.pid", on="zone-a").ok


def test_the_journal_says_on_which_host(operator: Operator, journal: Journal) -> None:
    operator.run("iptables -S FORWARD", on="router")
    (event,) = read(journal.path.parent)
    assert (event["host"], event["account"]) == ("router", "root")


def test_a_host_that_there_is_not_is_one_line(operator: Operator) -> None:
    with pytest.raises(LabError, match="there is no machine zone-c; there are"):
        operator.run("iptables -S FORWARD", on="zone-c")
