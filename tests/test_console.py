"""The operator runs what lab.toml allows, and facts are cut out of outputs and nothing else."""

from __future__ import annotations

import pytest

from runlab.console import Facts, Operator, Output
from runlab.sqltext import RefusedError
from tests.consoles import DROP, KILL, QUERY, SETTINGS, Console, found, printed

# ----------------------------------------------------------------------------------------------------- what is allowed


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


# --------------------------------------------------------------------------------------------------------------- facts


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


# ----------------------------------------------------------------------------------------------------------- the alert


def test_the_operator_has_the_labels_of_the_alert_and_of_none_where_there_was_none(console: Console) -> None:
    assert console.operator.alert == {}
    labels = {"alertname": "Broken", "database": "mariadb"}
    stack, journal = console.stack, console.journal
    operator = Operator(stack, journal, SETTINGS, console.operator._claim, labels)  # type: ignore[arg-type]
    assert operator.alert == labels
