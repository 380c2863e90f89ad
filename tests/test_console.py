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
DROP = "ALTER TABLE ... DROP COLUMN ..."
HOSTS = {"postgres": "127.9.9.2", "pipeline": "127.9.9.3", "api": "127.9.9.4", "mariadb": "127.9.9.5"}
SETTINGS = ConsoleSettings(
    time_limit_s=7.0,
    families={
        "psql": Family(
            statements=("select",), service="postgres", database="platform", role="oncall", password="ONCALL_PASSWORD"
        ),
        "psql-owner": Family(
            tool="psql",
            statements=("alter table drop column",),
            service="postgres",
            database="platform",
            role="app",
            password="APP_PASSWORD",
        ),
        "mariadb": Family(
            statements=("select", "kill"),
            service="mariadb",
            database="platform",
            role="oncall",
            password="ONCALL_PASSWORD",
        ),
        "mariadb-owner": Family(
            tool="mariadb",
            statements=("alter table drop column",),
            service="mariadb",
            database="platform",
            role="app",
            password="APP_PASSWORD",
        ),
        "curl": Family(services=("pipeline", "api")),
        "lsof": Family(account="service"),
    },
)


@dataclass
class RecordingStack:
    """Runs nothing; writes down what it was asked to run, and answers with each of `stdout`, the last over again."""

    stdout: list[str] = field(default_factory=lambda: [""])
    status: int = 0
    started: set[str] = field(default_factory=lambda: set(HOSTS))
    asked: list[dict[str, Any]] = field(default_factory=list)

    def host(self, service: str) -> str:
        return HOSTS[service]

    def log_files(self) -> Mapping[str, Path]:
        return {service: Path(service) for service in self.started}

    def secret(self, name: str) -> str:
        return f"secret of {name}"

    def execute(
        self, argv: Sequence[str], *, account: str, environment: Mapping[str, str] | None = None, time_limit_s: float
    ) -> CommandResult:
        self.asked.append({"argv": list(argv), "account": account, "environment": environment, "limit": time_limit_s})
        stdout = self.stdout.pop(0) if len(self.stdout) > 1 else self.stdout[0]
        return CommandResult(tuple(argv), self.status, stdout, "", 0.25)


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


def printed(stdout: str, *, program: str = "psql", evidence: str = "main:1", status: int = 0) -> Output:
    return Output(((CommandResult((program,), status, stdout, "", 0.0), evidence),))


def found(*values: str) -> Found:
    return printed("\n".join(values)).lines()


# ------------------------------------------------------------------------------------------------- what is allowed


def test_sql_runs_as_the_on_call_role_and_its_whole_output_is_written_down(console: Console) -> None:
    console.stack.stdout = ["pid\n11\n12\n"]
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


def test_facts_of_every_run_are_had_each_with_its_own_evidence(console: Console) -> None:
    console.stack.stdout = ["pid,x\n11,a\n", "pid,x\n12,b\n13,c\n"]
    output = console.operator.sql(KILL, each={"pid": found("1", "2")})
    assert output.column("pid").values == (("11", "main:1"), ("12", "main:2"), ("13", "main:2"))
    assert output.group(r"(?m),(\w)$").values == (
        ("x", "main:1"),
        ("a", "main:1"),
        *(("x", "main:2"), ("b", "main:2"), ("c", "main:2")),
    )
    assert [value for value, evidence in output.lines().values if evidence == "main:2"] == ["pid,x", "12,b", "13,c"]
    assert [command["argv"][-1] for command in console.commands] == [
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_terminate_backend(2)",
    ]


def test_a_run_without_the_column_is_not_passed_over(console: Console) -> None:
    console.stack.stdout = ["pid\n11\n", ""]
    output = console.operator.sql(KILL, each={"pid": found("1", "2")})
    with pytest.raises(LookupError, match="no column pid, only nothing"):
        output.column("pid")


def test_all_is_well_only_if_every_run_was(console: Console) -> None:
    good, bad = printed("").runs, printed("", evidence="main:2", status=1).runs
    assert [Output(runs).ok for runs in (good, good + bad, bad + good)] == [True, False, False]
    assert (Output(good + bad).result.status, Output(good + bad).evidence) == (1, "main:2")


def test_sql_for_mariadb_runs_by_its_own_client(console: Console) -> None:
    console.stack.stdout = ["Id\tInfo\n11\ta\\tb\\n\n12\tNULL\n"]
    output = console.operator.sql(QUERY, family="mariadb")
    (asked,) = console.stack.asked
    assert asked["argv"][0] == "mariadb"
    assert asked["argv"][-1] == f"--execute={QUERY}"
    assert {"--host=127.9.9.5", "--user=oncall", "--database=platform"} < set(asked["argv"])
    assert asked["environment"] == {"MYSQL_PWD": "secret of ONCALL_PASSWORD"}
    assert "secret of" not in console.journal.path.read_text()
    assert console.commands[0]["printed"] == QUERY
    assert list(output.column("Id")) == ["11", "12"]
    assert output.column("Info").as_data() == [{"value": "a\tb\n", "evidence": "main:1", "column": "column Info"}]


def test_a_family_by_another_name_has_a_role_of_its_own(console: Console) -> None:
    console.operator.sql("ALTER TABLE t DROP COLUMN c", family="psql-owner")
    console.operator.sql("ALTER TABLE t DROP COLUMN c", family="mariadb-owner")
    of_psql, of_mariadb = console.stack.asked
    assert (of_psql["argv"][0], of_psql["environment"]["PGUSER"]) == ("psql", "app")
    assert of_psql["environment"]["PGPASSWORD"] == of_mariadb["environment"]["MYSQL_PWD"] == "secret of APP_PASSWORD"
    assert "--user=app" in of_mariadb["argv"]
    assert [command["role"] for command in console.commands] == ["role app", "role app"]


def test_a_session_of_mariadb_is_ended_by_its_number(console: Console) -> None:
    console.operator.sql("KILL id;", family="mariadb", each={"id": found("11", "12")})
    assert [asked["argv"][-1] for asked in console.stack.asked] == ["--execute=KILL 11;", "--execute=KILL 12;"]
    with pytest.raises(RefusedError, match="no session's number"):
        console.operator.sql("KILL id", family="mariadb", each={"id": found("13", "USER root")})
    assert len(console.stack.asked) == 2


@pytest.mark.parametrize(
    ("family", "run"),
    [
        ("psql-owner", 'ALTER TABLE "projects" DROP COLUMN "owner"'),
        ("mariadb-owner", "--execute=ALTER TABLE `projects` DROP COLUMN `owner`"),
    ],
)
def test_blanks_are_filled_in_order_with_the_first_value_of_each(console: Console, family: str, run: str) -> None:
    console.operator.sql(DROP, family=family, blanks=[found("projects"), found("owner", "title")])
    assert console.argv()[-1] == run


@pytest.mark.parametrize("family", ["psql-owner", "mariadb-owner"])
def test_blanks_need_a_plain_name_each(console: Console, family: str) -> None:
    for blanks, why in (
        ([found("projects")], "it leaves 2 names open"),
        ([found("projects"), found("owner, DROP COLUMN title")], "is no plain name"),
        ([found("projects"), found("owner` , DROP COLUMN `title")], "is no plain name"),
        ([], "not SQL"),
    ):
        with pytest.raises(RefusedError, match=why):
            console.operator.sql(DROP, family=family, blanks=blanks)
    with pytest.raises(LookupError, match=r"no name was found for a \.\.\."):
        console.operator.sql(DROP, family=family, blanks=[found("projects"), found()])
    with pytest.raises(RefusedError, match="is not among the statements"):
        console.operator.sql("DROP TABLE ...", family=family, blanks=[found()])
    assert console.stack.asked == []


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


# ----------------------------------------------------------------------------------------------------------- facts


def test_facts_are_cut_out_of_outputs_and_come_from_nowhere_else() -> None:
    for invented in (["11"], "11", 11, None, (("11", "main:1"),)):
        with pytest.raises(TypeError, match="not read from a command's output"):
            Facts(pid=invented)  # type: ignore[arg-type]
    assert list(Facts(pid=found("11")).found["pid"]) == ["11"]


def test_an_output_is_cut_by_column_line_or_group() -> None:
    output = printed('pid,query\n11,"a,\nb"\n,c\n12,d\n')
    assert list(output.column("pid")) == ["11", "12"]
    assert list(output.column("query")) == ["a,\nb", "c", "d"]
    assert list(output.group(r"^(pid),")) == ["pid"]
    assert list(output.group(r"(?m)^(\d+),")) == ["11", "12"]
    assert next(iter(output.lines())) == "pid,query"
    with pytest.raises(LookupError, match="no column blocker, only pid, query"):
        output.column("blocker")


@pytest.mark.parametrize("program", ["psql", "mariadb", "curl"])
def test_an_empty_output_has_no_column(program: str) -> None:
    with pytest.raises(LookupError, match="only nothing"):
        printed("", program=program).column("pid")


# ------------------------------------------------------------------------------------------------------- the alert


def test_the_operator_has_the_labels_of_the_alert_and_of_none_where_there_was_none(console: Console) -> None:
    assert console.operator.alert == {}
    labels = {"alertname": "Broken", "database": "mariadb"}
    stack, journal = console.stack, console.journal
    operator = Operator(stack, journal, SETTINGS, console.operator._claim, labels)  # type: ignore[arg-type]
    assert operator.alert == labels
