"""The operator runs what lab.toml allows and nothing else, and facts are cut out of outputs and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runlab.console import Facts, Found, Operator, Output
from runlab.journal import Journal
from runlab.model import Claim, CommandResult, Part
from runlab.settings import ConsoleSettings, Family
from runlab.sqltext import RefusedError

QUERY = "SELECT pid FROM pg_stat_activity"
KILL = "SELECT pg_terminate_backend(pid)"
SETTINGS = ConsoleSettings(
    time_limit_s=7.0,
    families={
        "psql": Family(
            statements=("select",), service="postgres", database="platform", role="oncall", password="ONCALL_PASSWORD"
        ),
        "curl": Family(services=("pipeline", "api")),
        "lsof": Family(account="service"),
    },
)


@dataclass
class RecordingStack:
    """Runs nothing; writes down what it was asked to run, and answers with `stdout`."""

    stdout: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    def host(self, service: str) -> str:
        return {"postgres": "127.9.9.2", "pipeline": "127.9.9.3", "api": "127.9.9.4"}[service]

    def secret(self, name: str) -> str:
        return f"secret of {name}"

    def execute(
        self, argv: Sequence[str], *, account: str, environment: Mapping[str, str] | None = None, time_limit_s: float
    ) -> CommandResult:
        self.asked.append({"argv": list(argv), "account": account, "environment": environment, "limit": time_limit_s})
        return CommandResult(tuple(argv), 0, self.stdout, "", 0.25)


@dataclass
class Console:
    """An operator, what it had run, and what it wrote down."""

    operator: Operator
    stack: RecordingStack
    journal: Journal

    @property
    def commands(self) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in self.journal.path.read_text(encoding="utf-8").splitlines()]
        assert all(event["kind"] == "command" for event in events)
        return events

    def argv(self) -> list[str]:
        (only,) = self.stack.asked
        return list(only["argv"])


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    claim = Claim("RB-1/recover/1", "RB-1", "recover", "", f"Look: `{QUERY}`", "x.md", 3, (), (Part(QUERY, "command"),))
    stack, journal = RecordingStack(), Journal(tmp_path, "run")
    yield Console(Operator(stack, journal, SETTINGS, claim), stack, journal)  # type: ignore[arg-type]
    journal.close()


def found(*values: str) -> Found:
    return Output(CommandResult(("x",), 0, "\n".join(values), "", 0.0), "main:1").lines()


# ------------------------------------------------------------------------------------------------- what is allowed


def test_sql_runs_as_the_on_call_role_and_its_whole_output_is_written_down(console: Console) -> None:
    console.stack.stdout = "pid\n11\n12\n"
    output = console.operator.sql(QUERY)
    (asked,) = console.stack.asked
    assert asked["argv"] == ["psql", "-X", "--csv", "-c", QUERY]
    assert (asked["account"], asked["limit"]) == ("operator", 7.0)
    environment = asked["environment"]
    assert environment["PGHOST"] == "127.9.9.2"
    assert environment["PGUSER"] == "oncall"
    assert environment["PGPASSWORD"] == "secret of ONCALL_PASSWORD"
    (command,) = console.commands
    assert command["printed"] == QUERY
    assert command["stdout"] == "pid\n11\n12\n"
    assert (command["role"], command["status"], command["refused"]) == ("role oncall", 0, None)
    assert list(output.column("pid")) == ["11", "12"]
    assert output.column("pid").as_data()[0] == {"value": "11", "evidence": "main:1", "column": "column pid"}


def test_the_password_is_in_no_argument_and_not_in_the_journal(console: Console) -> None:
    console.operator.sql(QUERY)
    assert not any("secret of" in word for word in console.argv())
    assert "secret of" not in console.journal.path.read_text()


def test_a_query_that_the_text_does_not_print_is_marked_as_ours(console: Console) -> None:
    console.operator.sql("SELECT 1")
    assert console.commands[0]["printed"] is None


def test_sql_is_run_once_for_each_value(console: Console) -> None:
    console.operator.sql(KILL, each={"pid": found("11", "1); DROP TABLE projects; --")})
    assert [asked["argv"][-1] for asked in console.stack.asked] == [
        "SELECT pg_terminate_backend(11)",
        "SELECT pg_terminate_backend('1); DROP TABLE projects; --')",
    ]


def test_a_command_is_run_with_the_account_of_its_family(console: Console) -> None:
    console.operator.run("lsof -p <pid> '+D/a b'", each={"pid": found("11", "12")})
    assert [asked["argv"] for asked in console.stack.asked] == [
        ["lsof", "-p", "11", "+D/a b"],
        ["lsof", "-p", "12", "+D/a b"],
    ]
    assert {asked["account"] for asked in console.stack.asked} == {"service"}


def test_curl_is_led_to_the_service_and_reads_no_options_from_a_file(console: Console) -> None:
    console.operator.run("curl -fsS -X POST http://pipeline:8080/deployment/stop?a=b")
    assert console.argv() == [
        *("curl", "-q", "--connect-to", "pipeline:8080:127.9.9.3:8080"),
        *("-fsS", "-X", "POST", "http://pipeline:8080/deployment/stop?a=b"),
    ]


def test_curl_may_name_several_services_and_leave_out_the_port(console: Console) -> None:
    console.operator.run("curl -fsSI -XGET -H 'accept: */*' -d a=1 -m 3 http://pipeline/x https://api")
    assert console.argv()[2:6] == ["--connect-to", "pipeline:80:127.9.9.3:80", "--connect-to", "api:443:127.9.9.4:443"]


# ------------------------------------------------------------------------------------------------- what is refused

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
    "curl http://pipeline:8080/ -o /tmp/canary": "option -o",
    "curl http://pipeline:8080/ -o/tmp/canary": "option -o/tmp/canary",
    "curl http://pipeline:8080/ -fsSo /tmp/canary": "option -fsSo",
    "curl http://pipeline:8080/ -O": "option -O",
    "curl http://pipeline:8080/ --output /tmp/canary": "option --output",
    "curl http://pipeline:8080/ --output=/tmp/canary": "option --output=",
    "curl http://pipeline:8080/ --outp /tmp/canary": "option --outp",
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


# ----------------------------------------------------------------------------------------------------------- facts


def test_facts_are_cut_out_of_outputs_and_come_from_nowhere_else() -> None:
    for invented in (["11"], "11", 11, None, (("11", "main:1"),)):
        with pytest.raises(TypeError, match="not read from a command's output"):
            Facts(pid=invented)  # type: ignore[arg-type]
    assert list(Facts(pid=found("11")).found["pid"]) == ["11"]


def test_an_output_is_cut_by_column_line_or_group() -> None:
    output = Output(CommandResult(("x",), 0, 'pid,query\n11,"a,\nb"\n,c\n12,d\n', "", 0.0), "main:7")
    assert list(output.column("pid")) == ["11", "12"]
    assert list(output.column("query")) == ["a,\nb", "c", "d"]
    assert list(output.group(r"^(pid),")) == ["pid"]
    assert list(output.group(r"(?m)^(\d+),")) == ["11", "12"]
    assert next(iter(output.lines())) == "pid,query"
    with pytest.raises(LookupError, match="no column blocker, only pid, query"):
        output.column("blocker")


def test_an_empty_output_has_no_column() -> None:
    with pytest.raises(LookupError, match="only nothing"):
        Output(CommandResult(("x",), 0, "", "", 0.0), "main:7").column("pid")
