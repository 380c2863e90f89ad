"""What the operator refuses to run: nothing of it is started, and the journal says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from runlab.console import Found, Operator
from runlab.journal import Journal
from runlab.settings import ConsoleSettings
from runlab.sqltext import RefusedError
from tests.consoles import KILL, QUERY, Console, found

SHELL = [
    "lsof; rm -rf /",
    "lsof && rm -rf /",
    "lsof & rm x",
    "lsof | sh",
    "lsof > /tmp/canary",
    "lsof < /etc/passwd",
    "lsof $(touch /tmp/canary)",
    "lsof `touch /tmp/canary`",
    "lsof ${HOME}",
    "lsof $HOME",
    "lsof\nrm -rf /",
    "lsof\rrm -rf /",
    "lsof <(cat /etc/passwd)",
    "lsof <<< x",
]

NOT_ALLOWED = {
    "rm -rf /": "rm is not among the families that lab.toml allows",
    "sh -c 'rm -rf /'": "sh is not among",
    "env lsof": "env is not among",
    "/usr/bin/lsof": "/usr/bin/lsof is not among",
    "./lsof": "is not among",
    "LSOF": "is not among",
    "PATH=/tmp lsof": "is not among",
    "<tool> -p 1": "is not among",
    "lsof 'unclosed": "can't be split into words",
    "lsof -p <pid>": "nothing is known for <pid>",
    "lsof \0rm": "no text",
    "lsof \ud800": "no text",
    "lsof " + "a" * 20_000: "longer than 20000 characters",
    "": "it is empty",
    "  ": "it is empty",
    "psql -c 'SELECT 1'": "psql is run for SQL alone",
    "psql -c '\\! touch /tmp/canary'": "psql is run for SQL alone",
    "psql": "psql is run for SQL alone",
    "mariadb -e 'SELECT 1'": "mariadb is run for SQL alone",
    "mariadb-owner -e 'SELECT 1'": "mariadb-owner is run for SQL alone",
    "psql-owner -c 'SELECT 1'": "psql-owner is run for SQL alone",
}

CURL = {
    "curl": "it names no service",
    "curl -fsS": "it names no service",
    "curl http://evil.example/": "evil.example is not among the services",
    "curl http://postgres:5432/": "postgres is not among the services",
    "curl http://pipeline:8080/ http://evil.example/": "evil.example is not among",
    "curl http://pipeline:8080/ evil.example": "evil.example is no plain http URL",
    "curl http://pipeline:8080/ --url evil.example": "option --url",
    "curl http://pipeline:8080/ --next evil.example": "option --next",
    "curl http://127.0.0.1:8080/": "127.0.0.1 is not among",
    "curl file:///etc/passwd": "no plain http URL",
    "curl file://pipeline/etc/passwd": "no plain http URL",
    "curl gopher://pipeline:5432/_x": "no plain http URL",
    "curl HTTP://pipeline:8080/": "no plain http URL",
    "curl http://pipeline:8080@evil.example/": "no plain http URL",
    "curl http://evil.example\\\\@pipeline:8080/": "no plain http URL",
    "curl 'http://{pipeline,evil.example}:8080/'": "no plain http URL",
    "curl 'http://pipeline:8080/[1-999999]'": "no plain http URL",
    "curl http://pipeline:99999999/": "no plain http URL",
    "curl http://pipeline:8080/ -o /tmp/canary": "-o /tmp/canary writes a file",
    "curl http://pipeline:8080/ -o /dev/null/../../tmp/canary": "writes a file",
    "curl http://pipeline:8080/ -o": "writes a file",
    "curl http://pipeline:8080/ -o/tmp/canary": "option -o/tmp/canary",
    "curl http://pipeline:8080/ -fsSo /tmp/canary": "option -fsSo",
    "curl http://pipeline:8080/ -O": "option -O",
    "curl http://pipeline:8080/ --output /tmp/canary": "--output /tmp/canary writes a file",
    "curl http://pipeline:8080/ --output=/tmp/canary": "option --output=",
    "curl http://pipeline:8080/ --outp /tmp/canary": "option --outp",
    "curl http://pipeline:8080/ -w @/etc/passwd": "tells more",
    "curl http://pipeline:8080/ -w %output{/tmp/canary}": "tells more",
    "curl http://pipeline:8080/ -w %{json}": "tells more",
    "curl http://pipeline:8080/ --write-out %header{set-cookie}": "tells more",
    "curl -w http://pipeline:8080/": "it names no service",
    "curl http://pipeline:8080/ -K /tmp/options": "option -K",
    "curl http://pipeline:8080/ --config /tmp/options": "option --config",
    "curl http://pipeline:8080/ -L": "option -L",
    "curl http://pipeline:8080/ -x evil.example:80": "option -x",
    "curl http://pipeline:8080/ -T /etc/passwd": "option -T",
    "curl http://pipeline:8080/ -d @/etc/passwd": "reads a file",
    "curl http://pipeline:8080/ --data @/etc/passwd": "reads a file",
    "curl http://pipeline:8080/ -H @/etc/passwd": "reads a file",
    "curl http://pipeline:8080/ -d@/etc/passwd": "option -d@",
    "curl http://pipeline:8080/ -F a=@/etc/passwd": "option -F",
    "curl http://pipeline:8080/ --connect-to ::evil.example:80": "option --connect-to",
    "curl http://pipeline:8080/ --trace /tmp/canary": "option --trace",
    "curl http://pipeline:8080/ -D /tmp/canary": "option -D",
    "curl -d http://pipeline:8080/": "it names no service",
}


@pytest.mark.parametrize("command", SHELL)
def test_what_needs_a_shell_is_refused(console: Console, command: str) -> None:
    refused(console, command, "it needs a shell")


@pytest.mark.parametrize(("command", "why"), NOT_ALLOWED.items(), ids=[command[:30] for command in NOT_ALLOWED])
def test_what_is_not_listed_is_refused(console: Console, command: str, why: str) -> None:
    refused(console, command, why)


@pytest.mark.parametrize(("command", "why"), CURL.items())
def test_curl_goes_nowhere_else_and_touches_no_file(console: Console, command: str, why: str) -> None:
    refused(console, command, why)


def refused(console: Console, command: str, why: str) -> None:
    """Refused, for that reason, nothing was run, and the journal says so."""
    with pytest.raises(RefusedError, match=why):
        console.operator.run(command)
    assert console.stack.asked == []
    (event,) = console.commands
    assert why in event["refused"]
    assert event["argv"] == [command]
    assert event["status"] is None
    assert console.operator.refused == event["refused"]


def test_sql_that_is_refused_is_not_run_and_written_down(console: Console) -> None:
    with pytest.raises(RefusedError):
        console.operator.sql("SELECT 1; DROP TABLE projects")
    assert console.stack.asked == []
    assert "DROP is not among" in console.commands[0]["refused"]


def test_what_is_not_allowed_is_refused_though_there_is_nothing_to_run_it_for(console: Console) -> None:
    with pytest.raises(RefusedError, match="DROP is not among"):
        console.operator.sql("DROP TABLE projects", each={"pid": found()})


def test_without_its_family_there_is_no_sql(console: Console, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "other", "run")
    operator = Operator(console.stack, journal, ConsoleSettings(), console.operator._claim)  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match="psql is not among the families"):
        operator.sql(QUERY)
    assert console.stack.asked == []


@pytest.mark.parametrize("family", ["curl", "lsof", "redis-cli", ""])
def test_not_every_family_runs_sql(console: Console, family: str) -> None:
    with pytest.raises(RefusedError, match=f"{family} runs no SQL|{family} is not among the families"):
        console.operator.sql(QUERY, family=family)
    assert console.stack.asked == []
    assert console.commands[0]["refused"]


@pytest.mark.parametrize("service", ["postgres", "mariadb", "pipeline"])
def test_a_service_that_this_run_did_not_start_is_said_in_one_line(console: Console, service: str) -> None:
    console.stack.started.remove(service)
    console.stack.secret = None  # type: ignore[assignment,method-assign]
    with pytest.raises(RefusedError, match=f"^{service} is not among the services that this run started$"):
        {
            "postgres": lambda: console.operator.sql(QUERY),
            "mariadb": lambda: console.operator.sql(QUERY, family="mariadb"),
            "pipeline": lambda: console.operator.run("curl http://pipeline:8080/"),
        }[service]()
    assert console.stack.asked == []
    assert console.operator.refused == console.commands[0]["refused"]


def test_nothing_found_runs_nothing(console: Console) -> None:
    for attempt in (
        lambda: console.operator.sql(KILL, each={"pid": found()}),
        lambda: console.operator.run("lsof -p <pid>", each={"pid": found()}),
    ):
        with pytest.raises(LookupError, match="no pid was found"):
            attempt()
    assert console.stack.asked == []


@pytest.mark.parametrize("value", ["-o/tmp/canary", "--config=/tmp/x", "-"])
def test_a_value_can_not_become_an_option(console: Console, value: str) -> None:
    with pytest.raises(RefusedError, match="would be an option"):
        console.operator.run("lsof <file>", each={"file": found(value)})
    assert console.stack.asked == []


def test_all_values_are_looked_at_before_the_first_is_used(console: Console) -> None:
    with pytest.raises(RefusedError):
        console.operator.run("lsof <file>", each={"file": found("/a", "-o")})
    with pytest.raises(RefusedError):
        console.operator.sql(KILL, each={"pid": Found((("1", "main:1"), ("\0", "main:1")), "line")})
    assert console.stack.asked == []


@pytest.mark.parametrize("value", ["a b; rm -rf /", "$(touch x)", "<pid>", "'", '"', "a\nb"])
def test_a_value_stays_one_word(console: Console, value: str) -> None:
    console.operator.run("lsof --file=<file> x", each={"file": Found(((value, "main:1"),), "line")})
    assert console.argv() == ["lsof", f"--file={value}", "x"]


def test_a_value_can_not_lead_curl_elsewhere(console: Console) -> None:
    for value in ("evil.example", "pipeline:8080@evil.example", "pipeline:80 evil.example"):
        with pytest.raises(RefusedError):
            console.operator.run("curl http://<host>/", each={"host": found(value)})
    assert console.stack.asked == []
