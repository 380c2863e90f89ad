"""The faults of faults/database.py on a real server: in effect when they say so, and undone by whoever has the undo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

import faults.database
from faults.database import IdleInTransaction, LockHolder, LongQuery
from runlab.journal import Journal
from runlab.model import LabError, Undo
from runlab.stack import ending, processes
from runlab.stack.processes import ProcessStack
from runlab.waiting import DeadlineError, wait_until

ROOT = Path(__file__).parent.parent.parent
RUN = "faults"
TABLE = "projects"
FAULTS = [IdleInTransaction(TABLE), LongQuery(TABLE)]
SAYS = {"IdleInTransaction": ("idle in transaction", "ClientRead"), "LongQuery": ("active", "PgSleep")}
HOLDERS = """
SELECT a.pid, l.mode, a.usename, a.state, a.wait_event FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.granted AND l.relation = 'projects'::regclass AND a.application_name LIKE 'report-%'"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    """The platform's database and nothing else of it."""
    running = processes.start(
        ROOT / "compose" / "compose.yaml",
        reports=tmp_path_factory.mktemp("reports"),
        run_id=RUN,
        time_scale=1.0,
        rules=lambda text, _: text,
        services={"postgres", "migrate"},
    )
    yield running
    running.stop()


def connect(stack: ProcessStack, user: str = "postgres", secret: str = "POSTGRES_PASSWORD") -> psycopg.Connection:
    return psycopg.connect(
        host=stack.host("postgres"), dbname="platform", user=user, password=stack.secret(secret), autocommit=True
    )


@pytest.fixture
def database(stack: ProcessStack) -> Iterator[psycopg.Connection]:
    """A connection of the test's own; the table's lock is nobody's before and after."""
    with closing(connect(stack)) as connection:
        assert connection.execute(HOLDERS).fetchall() == []
        yield connection
        assert connection.execute(HOLDERS).fetchall() == []


@pytest.fixture(params=FAULTS, ids=lambda fault: type(fault).__name__)
def fault(request: pytest.FixtureRequest) -> LockHolder:
    found: LockHolder = request.param
    return found


@pytest.fixture
def undo(stack: ProcessStack, fault: LockHolder) -> Iterator[Undo]:
    """The fault's undo; whatever the test does with it, it is reverted afterwards."""
    made = fault.prepare(stack)
    yield made
    fault.revert(stack, made)


def sessions_held() -> int:
    """How many database clients are running below this process."""
    found = 0
    for it in ending.descendants(os.getpid()):
        with suppress(OSError):
            found += Path(f"/proc/{it.pid}/cmdline").read_bytes().partition(b"\0")[0].endswith(b"psql")
    return found


# ----------------------------------------------------------------------------------------------- in effect, or not


def test_prepare_changes_nothing_and_gives_json(
    stack: ProcessStack, database: psycopg.Connection, fault: LockHolder
) -> None:
    clients = "SELECT pid, application_name, state FROM pg_stat_activity WHERE backend_type = 'client backend'"
    before = database.execute(clients).fetchall(), sessions_held()
    first, second = fault.prepare(stack), fault.prepare(stack)
    assert (database.execute(clients).fetchall(), sessions_held()) == before
    assert json.loads(json.dumps(first)) == first
    assert first != second


def test_inject_returns_once_it_is_in_effect(
    stack: ProcessStack, database: psycopg.Connection, fault: LockHolder, undo: Undo
) -> None:
    before = sessions_held()
    fault.inject(stack, undo)
    assert sessions_held() == before + 1
    ((pid, mode, account, *says),) = database.execute(HOLDERS).fetchall()
    assert (mode, account, *says) == ("AccessShareLock", "app", *SAYS[type(fault).__name__])
    database.execute("SET lock_timeout = '50ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        database.execute("ALTER TABLE projects ADD COLUMN later text")
    fault.revert(stack, undo)
    assert database.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall() == []
    database.execute("BEGIN; ALTER TABLE projects ADD COLUMN later text; ROLLBACK")


def test_the_witness_tells_the_holder_from_everybody_else(
    stack: ProcessStack, database: psycopg.Connection, fault: LockHolder, undo: Undo
) -> None:
    with (
        closing(connect(stack, "app", "APP_PASSWORD")) as reader,
        closing(connect(stack, "oncall", "ONCALL_PASSWORD")) as oncall,
    ):
        reader.execute("SELECT count(*) FROM projects")
        reader.execute("BEGIN; SELECT 1")
        assert not fault.witness(stack, undo).holds
        fault.inject(stack, undo)
        seen = fault.witness(stack, undo)
        ((pid, *_),) = database.execute(HOLDERS).fetchall()
        assert seen.holds
        assert seen.truth == {"pid": [pid]}
        innocents = set(seen.innocents["pid"])
        assert {reader.info.backend_pid, database.info.backend_pid} <= innocents
        assert not {pid, oncall.info.backend_pid} & innocents
        assert f"pid {pid} holds AccessShareLock on projects" in seen.detail
    fault.revert(stack, undo)
    after = fault.witness(stack, undo)
    assert (after.holds, after.truth) == (False, {"pid": []})
    assert pid not in after.innocents["pid"]


def test_a_session_that_somebody_else_ended_is_no_fault_any_more(
    stack: ProcessStack, database: psycopg.Connection, fault: LockHolder, undo: Undo
) -> None:
    fault.inject(stack, undo)
    ((pid, *_),) = database.execute(HOLDERS).fetchall()
    database.execute("SELECT pg_terminate_backend(%s, 2000)", (pid,))
    assert not fault.witness(stack, undo).holds
    fault.revert(stack, undo)
    fault.revert(stack, undo)


def test_the_name_is_the_catalogues(stack: ProcessStack, database: psycopg.Connection, fault: LockHolder) -> None:
    odd = type(fault)('Mixed "case"; --')
    database.execute('CREATE TABLE "Mixed ""case""; --" (x int); GRANT SELECT ON "Mixed ""case""; --" TO app')
    undo = odd.prepare(stack)
    try:
        odd.inject(stack, undo)
        assert odd.witness(stack, undo).holds
    finally:
        odd.revert(stack, undo)
        database.execute('DROP TABLE "Mixed ""case""; --"')


# ------------------------------------------------------------------------------------------------- half-injected


def test_what_was_never_injected_can_be_reverted(
    stack: ProcessStack, database: psycopg.Connection, fault: LockHolder, undo: Undo
) -> None:
    for _ in range(2):
        fault.revert(stack, undo)
    assert not fault.witness(stack, undo).holds


def test_a_session_that_still_waits_for_its_lock_is_ended(
    stack: ProcessStack,
    database: psycopg.Connection,
    fault: LockHolder,
    undo: Undo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faults.database, "SESSION_DEADLINE_S", 0.5)
    with closing(connect(stack)) as other, other.transaction():
        other.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DeadlineError, match=f"{type(fault).__name__} on projects"):
            fault.inject(stack, undo)
        assert not fault.witness(stack, undo).holds
        assert len(_sessions(database, undo)) == 1
        fault.revert(stack, undo)
        assert _sessions(database, undo) == []


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.02, 0.04, 0.08])
def test_a_session_that_had_not_come_yet_never_comes(
    stack: ProcessStack, database: psycopg.Connection, fault: LockHolder, undo: Undo, after_s: float
) -> None:
    """The injector breaks off so many seconds after it started its client."""
    with pytest.MonkeyPatch.context() as patch, suppress(DeadlineError):
        patch.setattr(faults.database, "SESSION_DEADLINE_S", after_s)
        fault.inject(stack, undo)
    fault.revert(stack, undo)
    with pytest.raises(DeadlineError):
        wait_until("a session", lambda: _sessions(database, undo), deadline_s=0.3)


def test_a_table_that_is_not_there_is_one_clear_error(
    stack: ProcessStack, database: psycopg.Connection, fault: LockHolder
) -> None:
    nowhere = type(fault)("nowhere")
    undo, before = nowhere.prepare(stack), sessions_held()
    with pytest.raises(LabError) as caught:
        nowhere.inject(stack, undo)
    assert str(caught.value) == (
        f'{type(fault).__name__}-nowhere: database platform has no table "nowhere" that app may read; '
        "give the fault the name of one, as the catalogue has it"
    )
    assert sessions_held() == before
    assert not nowhere.witness(stack, undo).holds
    nowhere.revert(stack, undo)
    assert _sessions(database, undo) == []


def test_a_table_that_may_not_be_read_is_one_clear_error(stack: ProcessStack, database: psycopg.Connection) -> None:
    database.execute("CREATE TABLE secret (x int)")
    closed = IdleInTransaction("secret")
    with pytest.raises(LabError, match='no table "secret" that app may read'):
        closed.inject(stack, closed.prepare(stack))
    database.execute("DROP TABLE secret")


def _sessions(database: psycopg.Connection, undo: Undo) -> list[tuple[object, ...]]:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
    return database.execute(query, (undo["application_name"],)).fetchall()


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


def test_another_process_reverts_from_the_journal_alone_and_twice(
    stack: ProcessStack, database: psycopg.Connection, tmp_path: Path
) -> None:
    made = [(fault, fault.prepare(stack)) for fault in FAULTS]
    run = write_journal(tmp_path, stack, *made)
    for fault, undo in made:
        fault.inject(stack, undo)
    assert len(database.execute(HOLDERS).fetchall()) == 2
    for _ in range(2):
        status, lines, errors = heal(run)
        assert (status, errors) == (0, "")
        assert [line.split(" (")[0] for line in lines] == [f"{fault.name}: reverted" for fault in reversed(FAULTS)]
        assert database.execute(HOLDERS).fetchall() == []
    for fault, undo in made:
        fault.inject(stack, undo)  # the stack is as good as new
        fault.revert(stack, undo)


def test_one_undo_that_fails_keeps_no_other_from_being_reverted(
    stack: ProcessStack, database: psycopg.Connection, fault: LockHolder, undo: Undo, tmp_path: Path
) -> None:
    run = write_journal(tmp_path, stack, (fault, undo), (fault, {}))
    fault.inject(stack, undo)
    status, lines, errors = heal(run)
    assert status == 2
    assert lines[0] == f"{fault.name}: NOT REVERTED: 'application_name' (KeyError)"
    assert lines[1].startswith(f"{fault.name}: reverted (")
    assert errors == "runlab: 1 of 2 faults may still be in effect; end the run: its stack goes too\n"


def test_the_stack_of_another_run_is_left_alone(
    stack: ProcessStack, database: psycopg.Connection, fault: LockHolder, undo: Undo, tmp_path: Path
) -> None:
    run = write_journal(tmp_path, stack, (fault, undo), run="another")
    fault.inject(stack, undo)
    status, lines, errors = heal(run)
    assert (status, lines) == (2, [])
    assert errors == (
        f"runlab: {stack.control}: the stack there is that of run {RUN}, not of another; "
        "give a run's own folder, unchanged\n"
    )
    assert fault.witness(stack, undo).holds


def test_a_dead_server_is_said_in_one_line(stack: ProcessStack, fault: LockHolder, undo: Undo, tmp_path: Path) -> None:
    run = write_journal(tmp_path, stack, (fault, undo))
    fault.inject(stack, undo)
    stack.signal("postgres", signal.SIGQUIT)
    try:
        wait_until(
            "its end", lambda: not stack.data_folder("postgres").joinpath("postmaster.pid").exists(), deadline_s=5
        )
        status, lines, errors = heal(run)
    finally:
        stack.restart("postgres")
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"{fault.name}: NOT REVERTED: connection failed")
    assert len(errors.splitlines()) == 1
    assert heal(run)[0] == 0
