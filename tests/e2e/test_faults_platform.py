"""The faults of data, schema, migrations and releases, and Toxiproxy, on real servers: in effect, and undone whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from faults import migrations, schema
from faults.drift import ColumnAddedByHand, TableLeftBehind
from faults.migrations import AbandonedMigration, UpgradeByHand
from faults.releases import MixedReleases
from faults.rows import NullValues, OrphanRows, RowsInTable
from faults.toxiproxy import Toxic, Toxiproxy
from runlab import databases
from runlab.databases import Connection
from runlab.model import Fault, LabError, Undo
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until
from tests.e2e import fault_stacks

TABLES = ("projects", "tasks", "comments", "milestones", "alembic_version")
ON_POSTGRES = [RowsInTable(), NullValues(), OrphanRows(), ColumnAddedByHand(), TableLeftBehind()]
ON_BOTH = [replace(fault, database=name) for fault in ON_POSTGRES for name in ("postgres", "mariadb")]
MIGRATIONS = [AbandonedMigration("projects"), AbandonedMigration("projects", "cut off"), UpgradeByHand()]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    """The platform without its users, so that nothing changes but by a fault."""
    services = ("postgres", "migrate", "mariadb", "migrate-mariadb", "toxiproxy", "api1", "api2")
    yield from fault_stacks.start(tmp_path_factory.mktemp("reports"), *services)


def is_of(fault: Fault) -> str:
    return fault.name


@pytest.fixture
def undo(stack: ProcessStack, fault: Fault) -> Iterator[Undo]:
    """The fault's undo, as the journal gives it back; reverted whatever the test does. The platform is then as new."""
    fault_stacks.need(stack, fault)
    before = everything(stack)
    made = json.loads(json.dumps(fault.prepare(stack)))
    assert everything(stack) == before, "preparing changes nothing"
    yield made
    fault.revert(stack, made)
    assert not fault.witness(stack, made).holds
    assert everything(stack) == before


def everything(stack: ProcessStack) -> list[object]:
    """All rows of all tables with their columns, on both servers, and who serves what."""
    seen: list[object] = []
    for name in {"postgres", "mariadb"} & stack.capabilities:
        with databases.connect(stack, name) as connection:
            seen += [(name, table, schema.columns(connection, name, table)) for table in (*TABLES, "milestone_archive")]
            seen += [(name, table, list(connection.execute(f"SELECT * FROM {table} ORDER BY 1"))) for table in TABLES]
    if "api" in stack.capabilities:
        seen += [httpx.get(f"http://{stack.host(name)}:8000/health").json()["release"] for name in ("api1", "api2")]
    return seen


# ------------------------------------------------------------------------------------------------- what all promise


@pytest.mark.parametrize("fault", [*ON_BOTH, *MIGRATIONS], ids=is_of)
def test_the_fault_is_in_effect_between_inject_and_revert_and_reverts_twice(
    stack: ProcessStack, fault: Fault, undo: Undo
) -> None:
    assert not fault.witness(stack, undo).holds
    fault.revert(stack, undo)  # of what was never injected
    fault.inject(stack, undo)
    assert fault.witness(stack, undo).holds
    for _ in range(2):
        fault.revert(stack, undo)
        assert not fault.witness(stack, undo).holds


@pytest.mark.parametrize("fault", [*ON_BOTH, *MIGRATIONS[:2]], ids=is_of)
def test_a_table_that_is_not_there_is_one_clear_error(stack: ProcessStack, fault: Fault) -> None:
    fault_stacks.need(stack, fault)
    if isinstance(fault, TableLeftBehind):
        fault = replace(fault, table="projects")
        expected = "table projects is there before"
    else:
        fault = replace(fault, table="nowhere")  # type: ignore[type-var]
        expected = "has no table .nowhere."
    with pytest.raises(LabError, match=expected):
        fault.inject(stack, fault.prepare(stack))


# ---------------------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("fault", [f for f in ON_BOTH if isinstance(f, RowsInTable)], ids=is_of)
def test_only_rows_of_its_own_are_taken_back(stack: ProcessStack, fault: RowsInTable, undo: Undo) -> None:
    other = fault.prepare(stack)
    fault.inject(stack, undo)
    fault.inject(stack, other)
    with databases.connect(stack, fault.database) as connection:
        assert count(connection, "milestones") == 40
        fault.revert(stack, undo)
        assert count(connection, "milestones") == 20
        assert fault.witness(stack, other).holds
        fault.revert(stack, other)


@pytest.mark.parametrize("fault", [f for f in ON_BOTH if isinstance(f, NullValues)], ids=is_of)
def test_values_that_were_filled_in_are_missing_no_more(stack: ProcessStack, fault: NullValues, undo: Undo) -> None:
    fault.inject(stack, undo)
    with databases.connect(stack, fault.database) as connection:
        truth = fault.witness(stack, undo).truth["id"]
        assert len(truth) == 20
        connection.execute("UPDATE tasks SET assignee = 'ann' WHERE assignee IS NULL AND id <> %s", (truth[0],))
        seen = fault.witness(stack, undo)
        assert (seen.holds, seen.truth) == (True, {"id": truth[:1]})
        connection.execute("UPDATE tasks SET assignee = 'ann' WHERE assignee IS NULL")
        assert not fault.witness(stack, undo).holds


@pytest.mark.parametrize("fault", [f for f in ON_BOTH if isinstance(f, OrphanRows)], ids=is_of)
def test_rows_that_the_table_does_not_take_are_refused_in_the_servers_words(
    stack: ProcessStack, fault: OrphanRows, undo: Undo
) -> None:
    with databases.connect(stack, fault.database) as connection:
        connection.execute("ALTER TABLE comments ADD CONSTRAINT of_a_task FOREIGN KEY (task_id) REFERENCES tasks (id)")
        try:
            with pytest.raises(LabError, match=r"OrphanRows.*foreign key constraint.*of_a_task"):
                fault.inject(stack, undo)
        finally:
            drop = "CONSTRAINT" if fault.database == "postgres" else "FOREIGN KEY"
            connection.execute(f"ALTER TABLE comments DROP {drop} of_a_task")
            if fault.database == "mariadb":
                connection.execute("ALTER TABLE comments DROP KEY IF EXISTS of_a_task")


def count(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) AS n FROM {table}").fetchone()
    assert row
    return int(row["n"])


# --------------------------------------------------------------------------------------------------------- drift


@pytest.mark.parametrize("fault", [f for f in ON_BOTH if isinstance(f, ColumnAddedByHand | TableLeftBehind)], ids=is_of)
def test_what_a_migration_has_taken_over_is_the_migrations(stack: ProcessStack, fault: Fault, undo: Undo) -> None:
    fault.inject(stack, undo)
    with databases.connect(stack, fault.database) as connection:  # type: ignore[attr-defined]
        connection.execute("UPDATE alembic_version SET version_num = 'later'")
        try:
            seen = fault.witness(stack, undo)
            fault.revert(stack, undo)
            assert not seen.holds
            assert fault.witness(stack, undo).detail == seen.detail
            assert "is there; the schema's revision is later" in seen.detail
        finally:
            connection.execute("UPDATE alembic_version SET version_num = '0001_baseline'")


@pytest.mark.parametrize("fault", [f for f in ON_BOTH if isinstance(f, ColumnAddedByHand)], ids=is_of)
def test_a_schema_that_has_it_is_refused(stack: ProcessStack, fault: ColumnAddedByHand, undo: Undo) -> None:
    fault.inject(stack, undo)
    with pytest.raises(LabError, match="column owner is there before"):
        fault.prepare(stack)


# ----------------------------------------------------------------------------------------------------- migrations


@pytest.mark.parametrize("fault", MIGRATIONS[:2], ids=is_of)
def test_an_abandoned_migration_has_the_table_and_no_client(
    stack: ProcessStack, fault: AbandonedMigration, undo: Undo
) -> None:
    before = fault_stacks.clients_running()
    fault.inject(stack, undo)
    assert fault_stacks.clients_running() == before
    with databases.connect(stack) as connection:
        connection.execute("SET lock_timeout = '50ms'")
        with pytest.raises(databases.ERRORS):  # not even a user's read
            connection.execute("SELECT 1 FROM projects LIMIT 1")
        seen = fault.witness(stack, undo)
        (pid,) = seen.truth["pid"]
        assert fault_stacks.own_pid(connection, "postgres") in seen.innocents["pid"]
        assert pid not in seen.innocents["pid"]
        connection.execute("SELECT pg_terminate_backend(%s, 2000)", (pid,))
    assert not fault.witness(stack, undo).holds


@pytest.mark.parametrize("fault", MIGRATIONS[1:2], ids=is_of)
def test_a_migration_whose_client_lives_is_not_abandoned(
    stack: ProcessStack, fault: AbandonedMigration, undo: Undo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProcessStack, "release", lambda *_: None)
    monkeypatch.setattr(migrations, "SESSION_DEADLINE_S", 0.5)
    with pytest.raises(TimeoutError, match="the client's end"):
        fault.inject(stack, undo)
    seen = fault.witness(stack, undo)
    monkeypatch.undo()
    assert (seen.holds, seen.detail.endswith("its client is there")) == (False, True)


@pytest.mark.parametrize("fault", MIGRATIONS[1:2], ids=is_of)
def test_the_toxic_timeout_passes_on_that_the_client_is_gone(
    stack: ProcessStack, fault: AbandonedMigration, undo: Undo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the fault does with another one."""
    swallows = Toxic("cut", "timeout", "upstream", attributes={"timeout": 0})
    monkeypatch.setattr(migrations, "_KEEPS_THE_END", swallows)
    fault.inject(stack, undo)
    wait_until("the session's end", lambda: not fault.witness(stack, undo).truth["pid"], deadline_s=2)


@pytest.mark.parametrize("fault", MIGRATIONS[2:], ids=is_of)
def test_an_upgrade_by_hand_commits_once_another_wants_the_table(
    stack: ProcessStack, fault: UpgradeByHand, undo: Undo
) -> None:
    fault.inject(stack, undo)
    before = fault.witness(stack, undo)
    assert (before.holds, len(before.truth["pid"])) == (True, 1)
    with databases.connect(stack) as connection:
        assert schema.revision(connection) == "0001_baseline"
        with pytest.raises(databases.ERRORS, match='column "owner" of relation "projects"'):
            connection.execute("ALTER TABLE projects ADD COLUMN owner text")
        assert schema.revision(connection) == "add_project_owner"
        after = fault.witness(stack, undo)
        assert (after.holds, after.truth) == (True, {"pid": []})
        connection.execute("ALTER TABLE projects DROP COLUMN owner")
        connection.execute("ALTER TABLE projects ADD COLUMN owner text")
        assert not fault.witness(stack, undo).holds, "the same column of somebody else's is none of the fault"
        fault.revert(stack, undo)
        assert "owner" in schema.columns(connection, "postgres", "projects")
        connection.execute("ALTER TABLE projects DROP COLUMN owner")
        connection.execute("UPDATE alembic_version SET version_num = '0001_baseline'")


# ------------------------------------------------------------------------------------------------------- releases


@pytest.mark.parametrize("fault", [MixedReleases()], ids=is_of)
def test_a_release_that_does_not_start_is_said_in_its_last_words_and_taken_back(
    stack: ProcessStack, fault: MixedReleases, undo: Undo
) -> None:
    with pytest.raises(LabError, match=r"api2 does not serve release 2: .*owner"):
        fault.inject(stack, undo)
    assert not fault.witness(stack, undo).holds


def test_one_replica_serves_another_release(stack: ProcessStack) -> None:
    fault, column = MixedReleases(), ColumnAddedByHand()
    fault_stacks.need(stack, fault)
    added = column.prepare(stack)
    column.inject(stack, added)
    undo = fault.prepare(stack)
    try:
        fault.inject(stack, undo)
        seen = fault.witness(stack, undo)
        assert (seen.holds, seen.detail) == (True, "api2 serves release 2, api1 serves release 1")
        with pytest.raises(LabError, match="api2 is at release 2 before"):
            fault.prepare(stack)
        finished = MixedReleases("api1")
        rest = finished.prepare(stack)
        finished.inject(stack, rest)
        assert not fault.witness(stack, undo).holds
        fault.revert(stack, undo)
        assert not fault.witness(stack, undo).holds
        assert httpx.get(f"http://{stack.host('api2')}:8000/health").json()["release"] == "2", "the roll-out is whole"
    finally:
        for name in ("api1", "api2"):
            httpx.put(f"http://{stack.host(name)}:8001/release", json={"release": "1"}, timeout=15)
        column.revert(stack, added)


# ------------------------------------------------------------------------------------------------------ toxiproxy


def test_proxies_and_toxics_come_and_go(stack: ProcessStack) -> None:
    fault_stacks.need(stack, MIGRATIONS[1])
    server = Toxiproxy(stack.host("toxiproxy"), inside=stack.inside("toxiproxy"))
    before = server.proxies()
    proxy = server.create("there", upstream=f"{stack.inside('postgres')}:5432")
    try:
        host, port = proxy.address
        asked = ("pg_isready", f"--host={host}", f"--port={port}", "--username=app")
        assert stack.execute(asked, account="operator").status == 0
        with pytest.raises(LabError, match=r"^toxiproxy .*: proxy already exists"):
            server.create("there", upstream="127.0.0.1:1")
        slow = Toxic("slow", "latency", attributes={"latency": 30, "jitter": 0})
        server.add_toxic("there", slow)
        assert server.proxies()["there"].toxics == (slow,)
        with pytest.raises(LabError, match="toxic already exists"):
            server.add_toxic("there", slow)
        with pytest.raises(LabError, match="invalid toxic type"):
            server.add_toxic("there", Toxic("odd", "no such kind"))
        with pytest.raises(LabError, match="toxic odd has attributes"):
            server.add_toxic("there", Toxic("odd", "latency", attributes={"latencey": 30}))
        with pytest.raises(LabError, match="proxy not found"):
            server.add_toxic("nowhere", slow)
        with pytest.raises(LabError, match="address already in use"):
            server.create("again", upstream="127.0.0.1:1", listen=proxy.listen)
        server.remove_toxic("there", "slow")
        server.remove_toxic("there", "slow")
        assert [it.name for it in server.proxies()["there"].toxics] == ["odd"]
    finally:
        for name in ("there", "again"):
            server.remove(name)
            server.remove(name)
    assert server.proxies() == before
