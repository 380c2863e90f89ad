"""The faults of faults/database.py on real servers: in effect when they say so, undone by whoever has the undo."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

import faults.database
from faults.database import HeavyTraffic, IdleInTransaction, LockHolder, LongQuery
from runlab import databases
from runlab.databases import Connection, quoted
from runlab.journal import Journal
from runlab.model import LabError, Undo
from runlab.stack.processes import ProcessStack
from runlab.waiting import DeadlineError, wait_until
from tests.e2e import fault_stacks
from tests.e2e.fault_stacks import ROOT, RUN, clients_running, is_locked, own_pid

TABLE = "projects"
ON_POSTGRES = [IdleInTransaction(TABLE), LongQuery(TABLE), HeavyTraffic(TABLE, sessions=3)]
FAULTS = [replace(fault, database=database) for fault in ON_POSTGRES for database in ("postgres", "mariadb")]
SAYS = {"IdleInTransaction": "idle in transaction", "LongQuery": "active", "HeavyTraffic": "active"}
MODE = {"postgres": "AccessShareLock", "mariadb": "a metadata lock"}
CLIENTS = {
    "postgres": "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'report-%' ORDER BY pid",
    "mariadb": "SELECT id AS pid FROM information_schema.processlist WHERE user = 'app' AND command <> 'Daemon'"
    " ORDER BY pid",
}
READ = "SELECT count(*) FROM projects"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    """The platform's databases and nothing else of it."""
    yield from fault_stacks.start(
        tmp_path_factory.mktemp("reports"), "postgres", "migrate", "mariadb", "migrate-mariadb"
    )


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.name)
def fault(request: pytest.FixtureRequest, stack: ProcessStack) -> LockHolder:
    found: LockHolder = request.param
    fault_stacks.need(stack, found)
    return found


@pytest.fixture
def database(stack: ProcessStack, fault: LockHolder) -> Iterator[Connection]:
    """A connection of the test's own; the table's lock is nobody's before and after."""
    with databases.connect(stack, fault.database) as connection:
        assert not is_locked(connection, fault.database, TABLE)
        yield connection
        assert not is_locked(connection, fault.database, TABLE)


@pytest.fixture
def undo(stack: ProcessStack, fault: LockHolder) -> Iterator[Undo]:
    """The fault's undo; whatever the test does with it, it is reverted afterwards."""
    made = fault.prepare(stack)
    yield made
    fault.revert(stack, made)


def sessions(database: Connection, fault: LockHolder) -> list[int]:
    return [row["pid"] for row in database.execute(CLIENTS[fault.database])]


# ----------------------------------------------------------------------------------------------- in effect, or not


def test_prepare_changes_nothing_and_gives_json(stack: ProcessStack, database: Connection, fault: LockHolder) -> None:
    before = sessions(database, fault), clients_running()
    first, second = fault.prepare(stack), fault.prepare(stack)
    assert (sessions(database, fault), clients_running()) == before
    assert json.loads(json.dumps(first)) == first
    assert first != second


def test_inject_returns_once_it_is_in_effect(
    stack: ProcessStack, database: Connection, fault: LockHolder, undo: Undo
) -> None:
    before = clients_running()
    fault.inject(stack, undo)
    assert clients_running() == before + fault.count
    assert len(sessions(database, fault)) == fault.count
    assert is_locked(database, fault.database, TABLE)
    database.execute(READ)  # users only come to wait behind who wants to alter it
    fault.revert(stack, undo)
    assert (clients_running(), sessions(database, fault)) == (before, [])
    assert not is_locked(database, fault.database, TABLE)


def test_the_witness_tells_the_holders_from_everybody_else(
    stack: ProcessStack, database: Connection, fault: LockHolder, undo: Undo
) -> None:
    with (
        databases.connect(stack, fault.database, account="app", program="reader") as reader,
        closing(fault_stacks.oncall(stack, fault.database)) as oncall,
    ):
        reader.execute(READ)
        reader.execute("BEGIN")
        assert not fault.witness(stack, undo).holds
        fault.inject(stack, undo)
        seen = fault.witness(stack, undo)
        holders = [pid for pid in sessions(database, fault) if pid != own_pid(reader, fault.database)]
        assert seen.holds
        assert sorted(seen.truth["pid"]) == holders  # type: ignore[type-var]
        innocents = set(seen.innocents["pid"])
        assert {own_pid(reader, fault.database), own_pid(database, fault.database)} <= innocents
        with oncall.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()" if fault.database == "postgres" else "SELECT CONNECTION_ID()")
            (pid,) = cursor.fetchone()  # type: ignore[misc]
        assert not {pid, *holders} & innocents
        for holder in holders:
            assert f"pid {holder} holds {MODE[fault.database]} on projects, {SAYS[type(fault).__name__]}" in seen.detail
    fault.revert(stack, undo)
    after = fault.witness(stack, undo)
    assert (after.holds, after.truth) == (False, {"pid": []})
    assert not set(holders) & set(after.innocents["pid"])


def test_what_the_person_on_call_ended_is_no_fault_any_more(
    stack: ProcessStack, database: Connection, fault: LockHolder, undo: Undo
) -> None:
    fault.inject(stack, undo)
    with closing(fault_stacks.oncall(stack, fault.database)) as oncall, oncall.cursor() as cursor:
        for pid in sessions(database, fault):
            assert fault.witness(stack, undo).holds
            end = f"SELECT pg_terminate_backend({pid}, 2000)" if fault.database == "postgres" else f"KILL {pid}"
            cursor.execute(end)
    wait_until("their end", lambda: not fault.witness(stack, undo).holds, deadline_s=2)
    assert not is_locked(database, fault.database, TABLE)
    fault.revert(stack, undo)
    fault.revert(stack, undo)


def test_a_transaction_that_ended_holds_nothing_although_its_session_is_there(
    stack: ProcessStack, database: Connection
) -> None:
    """The witness looks at the lock, not at whether somebody of that name is there."""
    for name in ("postgres", "mariadb"):
        fault = IdleInTransaction("milestones", name)
        elsewhere = replace(fault, table="tasks")
        undo = fault.prepare(stack)
        try:
            fault.inject(stack, undo)
            assert fault.witness(stack, undo).holds
            assert not elsewhere.witness(stack, undo).holds
        finally:
            fault.revert(stack, undo)


def test_the_name_is_the_catalogues(stack: ProcessStack, database: Connection, fault: LockHolder) -> None:
    odd = replace(fault, table="Mixed \"`case'; --")
    name = quoted(odd.table, odd.database)
    database.execute(f"CREATE TABLE {name} (x int)")
    if odd.database == "postgres":
        database.execute(f"GRANT SELECT ON {name} TO app")
    undo = odd.prepare(stack)
    try:
        odd.inject(stack, undo)
        assert odd.witness(stack, undo).holds
        assert is_locked(database, odd.database, name)
    finally:
        odd.revert(stack, undo)
        database.execute(f"DROP TABLE {name}")


# ------------------------------------------------------------------------------------------------- half-injected


def test_what_was_never_injected_can_be_reverted(
    stack: ProcessStack, database: Connection, fault: LockHolder, undo: Undo
) -> None:
    for _ in range(2):
        fault.revert(stack, undo)
    assert not fault.witness(stack, undo).holds


def test_a_session_that_still_waits_for_its_lock_is_ended(
    stack: ProcessStack, database: Connection, fault: LockHolder, undo: Undo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults.database, "SESSION_DEADLINE_S", 0.5)
    with databases.connect(stack, fault.database) as other:
        if fault.database == "postgres":
            other.execute("BEGIN")
            other.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
        else:
            other.execute("LOCK TABLES projects WRITE")
        with pytest.raises(DeadlineError, match=f"{type(fault).__name__} on projects"):
            fault.inject(stack, undo)
        assert not fault.witness(stack, undo).holds
        assert len(sessions(database, fault)) == fault.count
        fault.revert(stack, undo)
        assert sessions(database, fault) == []


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.08])
def test_a_session_that_had_not_come_yet_never_comes(
    stack: ProcessStack, database: Connection, fault: LockHolder, undo: Undo, after_s: float
) -> None:
    """The injector breaks off so many seconds after it started its clients."""
    with pytest.MonkeyPatch.context() as patch, suppress(DeadlineError):
        patch.setattr(faults.database, "SESSION_DEADLINE_S", after_s)
        fault.inject(stack, undo)
    fault.revert(stack, undo)
    with pytest.raises(DeadlineError):
        wait_until("a session", lambda: sessions(database, fault), deadline_s=0.3)


def test_a_table_that_is_not_there_is_one_clear_error(
    stack: ProcessStack, database: Connection, fault: LockHolder
) -> None:
    nowhere = replace(fault, table="nowhere")
    undo, before = nowhere.prepare(stack), clients_running()
    with pytest.raises(LabError) as caught:
        nowhere.inject(stack, undo)
    assert str(caught.value) == (
        f"{nowhere.name}: database platform has no table {quoted('nowhere', fault.database)} that app may read; "
        "give the fault the name of one, as the catalogue has it"
    )
    assert clients_running() == before
    assert not nowhere.witness(stack, undo).holds
    nowhere.revert(stack, undo)
    assert sessions(database, fault) == []


def test_a_table_that_may_not_be_read_is_one_clear_error(stack: ProcessStack) -> None:
    with databases.connect(stack) as database:
        database.execute("CREATE TABLE secret (x int)")
        closed = IdleInTransaction("secret")
        with pytest.raises(LabError, match='no table "secret" that app may read'):
            closed.inject(stack, closed.prepare(stack))
        database.execute("DROP TABLE secret")


# ------------------------------------------------------------------------------------- from the journal alone


def write_journal(folder: Path, stack: ProcessStack, *undos: tuple[LockHolder, Undo], run: str = RUN) -> Path:
    """A run's folder with nothing but the two events that healing needs."""
    journal = Journal(folder / "journal", run)
    journal.write("stack", control=str(stack.control), services={}, start_s=0.0)
    for fault, undo in undos:
        journal.write("undo", fault=fault.as_data(), undo=undo)
    journal.close()
    return folder


def heal(run: Path) -> tuple[int, list[str], str]:
    """Exit status, lines and error of `runlab heal`, a process of its own."""
    command = Path(sys.executable).with_name("runlab")
    done = subprocess.run([command, "heal", run], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_another_process_reverts_from_the_journal_alone_and_twice(stack: ProcessStack, tmp_path: Path) -> None:
    there = [fault for fault in FAULTS if fault.needs <= stack.capabilities]
    made = [(fault, fault.prepare(stack)) for fault in there]
    run = write_journal(tmp_path, stack, *made)
    for fault, undo in made:
        fault.inject(stack, undo)
        assert fault.witness(stack, undo).holds
    for _ in range(2):
        status, lines, errors = heal(run)
        assert (status, errors) == (0, "")
        assert [line.split(" (")[0] for line in lines] == [f"{fault.name}: reverted" for fault in reversed(there)]
        assert not any(fault.witness(stack, undo).holds for fault, undo in made)
    for fault, undo in made:
        fault.inject(stack, undo)  # the stack is as good as new
        fault.revert(stack, undo)


def test_one_undo_that_fails_keeps_no_other_from_being_reverted(
    stack: ProcessStack, database: Connection, fault: LockHolder, undo: Undo, tmp_path: Path
) -> None:
    run = write_journal(tmp_path, stack, (fault, undo), (fault, {}))
    fault.inject(stack, undo)
    status, lines, errors = heal(run)
    assert status == 2
    assert lines[0] == f"{fault.name}: NOT REVERTED: 'clients' (KeyError)"
    assert lines[1].startswith(f"{fault.name}: reverted (")
    assert errors == "runlab: 1 of 2 faults may still be in effect; end the run: its stack goes too\n"


def test_the_stack_of_another_run_is_left_alone(stack: ProcessStack, tmp_path: Path) -> None:
    fault = IdleInTransaction(TABLE)
    undo = fault.prepare(stack)
    run = write_journal(tmp_path, stack, (fault, undo), run="another")
    try:
        fault.inject(stack, undo)
        status, lines, errors = heal(run)
        assert (status, lines) == (2, [])
        assert errors == (
            f"runlab: {stack.control}: the stack there is that of run {RUN}, not of another; "
            "give a run's own folder, unchanged\n"
        )
        assert fault.witness(stack, undo).holds
    finally:
        fault.revert(stack, undo)


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_a_dead_server_is_said_in_one_line(stack: ProcessStack, tmp_path: Path, database: str) -> None:
    fault = IdleInTransaction(TABLE, database)
    fault_stacks.need(stack, fault)
    undo = fault.prepare(stack)
    run = write_journal(tmp_path, stack, (fault, undo))
    fault.inject(stack, undo)
    before = clients_running()
    stack.signal(database, signal.SIGQUIT if database == "postgres" else signal.SIGKILL)
    try:

        def gone() -> bool:
            with suppress(*databases.ERRORS):
                databases.connect(stack, database).close()
                return False
            return True

        wait_until("its end", gone, deadline_s=5)
        status, lines, errors = heal(run)
    finally:
        stack.restart(database)
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"{fault.name}: NOT REVERTED: ")
    assert len(errors.splitlines()) == 1
    assert clients_running() < before, "the client is ended although its server can't be asked"
    assert heal(run)[0] == 0
