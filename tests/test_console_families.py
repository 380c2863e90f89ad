"""The families of this lab's own lab.toml that look at a network and mend it: which command lines are let through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab import settings
from runlab.console import Found, Operator
from runlab.model import LabError
from runlab.sqltext import RefusedError
from tests.consoles import Console, RecordingStack, found, new_console

LAB = settings.load(Path(__file__).resolve().parents[1] / "lab.toml")

RULE = (
    "FORWARD -s 10.20.1.0/24 -i zone-a -o data -p tcp -m tcp --dport 5432 -m comment --comment change-1a "
    "-j REJECT --reject-with icmp-port-unreachable"
)

ALLOWED = {
    "dig +short +time=1 +tries=1 db.platform.internal": "operator",
    "dig +time=1 +tries=1 @10.20.1.10 east.provider.example": "operator",
    "nslookup -timeout=1 -retry=0 db.platform.internal": "operator",
    "nslookup -timeout=1 -retry=0 db.platform.internal 8.8.8.8": "operator",
    "traceroute -n -q 1 -w 0.5 -m 3 db": "root",
    "traceroute -n -T -p 5432 -w 1 10.20.3.10": "root",
    "mtr -n -r -c 1 -i 0.1 -G 0.3 -m 3 provider-east": "root",
    "iptables -S FORWARD": "root",
    f"iptables -D {RULE}": "root",
    "iptables -D FORWARD -p tcp -m comment --comment 'a change of today' -j DROP": "root",
    "pkill --signal HUP --pidfile /run/dnsmasq.pid": "root",
    "cp /run/resolv.conf.backup /etc/resolv.conf": "root",
    "cp /run/resolv.conf.second /etc/resolv.conf": "root",
    "dd if=/run/dns/records.kept of=/run/dns/records status=none": "service",
    "getent ahostsv4 sessions-db": "operator",
    "ss -Htn state syn-sent": "service",
    "kill 1234": "service",
    "tc -s qdisc show": "root",
    "iptables -t nat -S POSTROUTING": "root",
}

REFUSED = [
    # options that read a file, write one or run a program
    "dig -f /etc/passwd",
    "dig +time=1 +tries=1 -fnames",
    "dig +time=1 +tries=1 -kkey",
    "dig +time=1 +tries=1 -f",
    "dig +time=1 +tries=1 +trace db",
    "dig +time=1 +tries=1 db axfr",
    "dig db",
    "nslookup",
    "nslookup -",
    "nslookup -timeout=1 -retry=0 -",
    "nslookup -timeout=1 -retry=0 -debug",
    "traceroute -n --module=x db",
    "traceroute -n -i",
    "traceroute -n db 65000",
    "traceroute -n -T -p 5432 -s 10.20.9.9 db",
    "mtr db",
    "mtr -n -r -F /etc/passwd",
    "mtr -n -r --filename",
    "mtr -n -r -c 1 -F/etc/passwd db",
    "mtr -n -r db db2",
    "iptables -S",
    "iptables -S FORWARD --modprobe=/tmp/x",
    "iptables -F FORWARD",
    "iptables -A FORWARD -j ACCEPT",
    "iptables -D INPUT -j DROP",
    "iptables -D FORWARD",
    "iptables -D FORWARD 1",
    "iptables -t nat -D FORWARD -j DROP",
    "iptables -D FORWARD -j DROP -t nat",
    "iptables -D FORWARD --modprobe=/tmp/x -j DROP",
    "iptables -D FORWARD -j DROP -M /tmp/x",
    "iptables -D FORWARD -m bpf --object-pinned /tmp/x -j DROP",
    "iptables -D FORWARD -m recent --name x -j DROP",
    "iptables -D FORWARD -m comment --comment 'a' -F -j DROP",
    "pkill dnsmasq",
    "pkill --signal KILL --pidfile /run/dnsmasq.pid",
    "pkill --signal HUP --pidfile /run/dnsmasq.pid -f .",
    "pkill --signal HUP --pidfile /tmp/dnsmasq.pid",
    "cp /etc/shadow /tmp/x",
    "cp /run/resolv.conf.backup /etc/hosts",
    "cp -r /run/resolv.conf.backup /etc/resolv.conf",
    "dd if=/run/dns/records of=/run/dns/records.kept status=none",
    "dd if=/etc/passwd of=/run/dns/records status=none",
    "getent passwd root",
    "getent hosts db",
    "getent ahostsv4 -s",
    "cp /run/resolv.conf.backup /etc/resolv.conf /tmp",
    "ss -K",
    "kill 1",
    "kill -9 1234",
    "kill -1",
    "kill 1234 1235",
    "tc qdisc del dev edge root",
    "iptables -t nat -F",
]


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[Console]:
    """A console that runs nothing, with the families of lab.toml."""
    console = new_console(tmp_path / "journal")
    operator = Operator(console.stack, console.journal, LAB.console, console.operator._claim)  # type: ignore[arg-type]
    yield Console(operator, console.stack, console.journal)
    console.journal.close()


@pytest.mark.parametrize(("command", "account"), ALLOWED.items())
def test_what_is_run_and_as_whom(shipped: Console, command: str, account: str) -> None:
    shipped.operator.run(command, on="zone-a")
    (asked,) = shipped.stack.asked
    assert (asked["account"], asked["on"]) == (account, "zone-a")
    assert shipped.commands[0]["host"] == "zone-a"


@pytest.mark.parametrize("command", REFUSED)
def test_other_forms_are_refused(shipped: Console, command: str) -> None:
    refused(shipped, command, "in other forms only")


@pytest.mark.parametrize("command", ALLOWED)
def test_without_a_sandbox_none_is_run(shipped: Console, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordingStack, "runtime", "processes")
    refused(shipped, command, "needs the sandbox, this runtime is processes")


@pytest.mark.parametrize(
    ("command", "host"), [("iptables -S FORWARD", "control"), ("nslookup -timeout=1 -retry=0 db", "operator")]
)
def test_the_journal_says_where_it_ran_when_nobody_said_so(shipped: Console, command: str, host: str) -> None:
    shipped.operator.run(command)
    assert shipped.commands[0]["host"] == host


def test_without_a_sandbox_there_is_one_host(shipped: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordingStack, "runtime", "processes")
    shipped.operator.run("curl -fsS http://pipeline:8080/", on="users")
    assert shipped.commands[0]["host"] == "operator"


def test_a_rule_that_was_found_is_given_as_its_words(shipped: Console) -> None:
    shipped.operator.run(
        "iptables -D <rule...>", each={"rule": found(RULE, 'FORWARD -m comment --comment "b c" -j DROP')}
    )
    first, second = (asked["argv"] for asked in shipped.stack.asked)
    assert first == ["iptables", "-D", *RULE.split()]
    assert second[-4:] == ["--comment", "b c", "-j", "DROP"]


@pytest.mark.parametrize(
    "rule",
    [
        "FORWARD --modprobe=/tmp/x -j DROP",
        "INPUT -j DROP",
        "FORWARD -m comment --comment change -j DROP -F",
        "FORWARD -m comment --comment it's -j DROP",
        "FORWARD -j DROP; rm",
        "",
        "<rule...>",
    ],
)
def test_a_rule_that_was_found_is_not_trusted(shipped: Console, rule: str) -> None:
    each = {"rule": Found(((RULE, "main:1"), (rule, "main:2")), "line")}
    with pytest.raises(RefusedError):
        shipped.operator.run("iptables -D <rule...>", each=each)
    assert shipped.stack.asked == []
    assert shipped.commands[0]["refused"]


def test_several_words_are_for_families_with_an_only(console: Console) -> None:
    with pytest.raises(RefusedError, match="several words in one place"):
        console.operator.run("lsof <file...>", each={"file": found("x -y")})
    assert console.stack.asked == []


@pytest.mark.parametrize("host", ["zone-a.example; rm", "-f", "@8.8.8.8", "a b", "$(x)", "A\nB"])
def test_a_name_that_was_found_stays_a_name(shipped: Console, host: str) -> None:
    with pytest.raises(RefusedError):
        shipped.operator.run("traceroute -n -w 1 <hop>", each={"hop": Found(((host, "main:1"),), "line")})
    assert shipped.stack.asked == []


def test_curl_goes_to_the_address_inside(shipped: Console) -> None:
    shipped.stack.started.add("lb")
    shipped.stack.inside = lambda service: f"10.20.4.{len(service)}"  # type: ignore[method-assign]
    shipped.operator.run(
        'curl -sS -m 2 -o /dev/null -w "outside %{http_code}\\n" http://lb:8000/projects?limit=1', on="users"
    )
    assert shipped.argv()[:4] == ["curl", "-q", "--connect-to", "lb:8000:10.20.4.2:8000"]
    assert shipped.stack.asked[0]["on"] == "users"


def test_a_program_that_is_not_installed_says_nothing_of_the_sentence(shipped: Console) -> None:
    shipped.stack.status = 127
    with pytest.raises(RefusedError, match=r"^mtr is not installed; run `make setup`$"):
        shipped.operator.run("mtr -n -r db")
    assert [command["status"] for command in shipped.commands] == [None]


def test_root_without_only_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text('[console.families.ip]\naccount = "root"\n')
    with pytest.raises(LabError, match=r"lab.toml:1: .*what runs as root needs `only`"):
        settings.load(file)


@pytest.mark.parametrize("pattern", ["(", "[a", "*"])
def test_an_only_that_is_no_expression_is_one_line(tmp_path: Path, pattern: str) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(f"[console.families.ip]\nonly = ['{pattern}']\n")
    with pytest.raises(LabError, match=r"lab.toml:2: .*only"):
        settings.load(file)


def refused(console: Console, command: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        console.operator.run(command)
    assert console.stack.asked == []
    assert why in console.commands[0]["refused"]
