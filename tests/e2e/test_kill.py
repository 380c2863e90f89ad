"""Whoever is killed, and with whatever signal: nothing of the stack is left after 2 s."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runlab.stack import ending, folder
from runlab.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
LEFT_AFTER_S = 2.0
LISTENING = "0A"

# the second command makes a daemon: in a session of its own, orphaned, with an environment of its own
RUNNER = """
import json, sys, time
from pathlib import Path
from runlab.stack import processes
stack = processes.start(
    Path("compose/compose.yaml"), reports=Path(sys.argv[1]), run_id="killed", time_scale=1.0,
    rules=lambda text, _: text, services={"postgres"}, namespaces=sys.argv[2] == "namespace")
login = {"PGHOST": stack.host("postgres"), "PGUSER": "postgres", "PGPASSWORD": stack.secret("POSTGRES_PASSWORD")}
stack.hold("session", ["psql", "-Xq", "postgres"], stdin="begin; select 1;\\n", environment=login)
stack.execute(["env", "-i", "sh", "-c", "setsid sleep 300 <&- >&- 2>&- & sleep 0.2"], account="operator")
print(json.dumps([str(stack.control.parent), stack.keeper_pid, stack.host("postgres")]), flush=True)
time.sleep(60)
"""


# a server that starts threads by the dozen, and one whose first process is a supervisor of the one that listens
OTHERS = """
services:
  mariadb:
    command:
      - mariadbd
      - --no-defaults
      - --datadir=${DATA_mariadb}
      - --bind-address=${HOST_mariadb}
      - --socket=${DATA_mariadb}/socket
      - --pid-file=${DATA_mariadb}/pid
      - --innodb-buffer-pool-size=8M
    expose: [3306]
    healthcheck:
      test: [CMD, mariadb-admin, --no-defaults, "--socket=${DATA_mariadb}/socket", --user=root, ping]
      interval: 100ms
      retries: 200
    x-lab:
      prepare:
        - - mariadb-install-db
          - --no-defaults
          - --datadir=${DATA_mariadb}
          - --skip-test-db
          - --auth-root-authentication-method=normal
  lb:
    command: [haproxy, -W, -db, -f, "${CONFIG_haproxy}"]
    configs: [{source: haproxy}]
    expose: [8000]
    healthcheck: {test: [CMD, curl, -sS, "http://${HOST_lb}:8000"], interval: 50ms, retries: 100}
configs:
  haproxy:
    content: |
      defaults
        mode http
        timeout connect 1s
        timeout client 1s
        timeout server 1s
      frontend all
        bind ${HOST_lb}:8000
        default_backend nobody
      backend nobody
"""
OTHERS_RUNNER = """
import json, sys, time
from pathlib import Path
from runlab.stack import processes
stack = processes.start(
    Path(sys.argv[1], "compose.yaml"), reports=Path(sys.argv[1]), run_id="killed", time_scale=1.0,
    rules=lambda text, _: text, namespaces=sys.argv[2] == "namespace")
print(json.dumps([str(stack.control.parent), stack.keeper_pid, stack.host("lb")]), flush=True)
time.sleep(60)
"""


@dataclass(frozen=True)
class Run:
    """A stack in another process: whom to kill, and what must be gone."""

    runner: subprocess.Popen[str]
    guard: int
    keeper: int
    folder: Path
    address: str
    processes: frozenset[ending.Process]

    def pid(self, who: str) -> int:
        return {"runner": self.runner.pid, "guard": self.guard, "keeper": self.keeper}[who]

    def left(self) -> list[str]:
        """What is still there of the run."""
        found = [f"process {it.pid}" for it in self.processes if ending.identify(it.pid) and _same(it)]
        found += [f"file {self.folder}"] if self.folder.exists() else []
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        found += [f"socket {row[1]}" for row in rows if row[1].startswith(self.address) and row[3] == LISTENING]
        pids = {it.pid for it in self.processes}
        segments = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        return found + [f"shared memory {row[1]}" for row in segments if int(row[4]) in pids]


def _same(it: ending.Process) -> bool:
    now = ending.identify(it.pid)
    return now is not None and now.started == it.started


def _in_hex(address: str) -> str:
    """An address as /proc/net/tcp has it."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split("."))) + ":"


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    with _running(RUNNER, tmp_path, request.param) as made:
        assert "sleep" in _names(made)
        assert len(made.processes) >= 8
        yield made


@pytest.fixture
def others(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "compose.yaml").write_text(OTHERS, encoding="utf-8")
    with _running(OTHERS_RUNNER, tmp_path, request.param) as made:
        names = _names(made)
        assert (names.count("mariadbd"), names.count("haproxy")) == (1, 2)
        yield made


@contextmanager
def _running(code: str, reports: Path, namespace: str) -> Iterator[Run]:
    runner = subprocess.Popen(
        [sys.executable, "-c", code, str(reports), namespace], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        made = _observe(runner)
        yield made
    finally:
        runner.kill()
        runner.wait()
    if _alive(made.guard):
        os.kill(made.guard, signal.SIGCONT)
    wait_until("the guard's end", lambda: not _alive(made.guard), deadline_s=5)
    folder.end_run(made.folder)


def _observe(runner: subprocess.Popen[str]) -> Run:
    assert runner.stdout
    with runner.stdout:
        place, keeper, host = json.loads(runner.stdout.readline())
    guard = next(it.pid for it in ending.descendants(runner.pid) if _parent(it.pid) == runner.pid)
    processes = frozenset(it for it in ending.descendants(runner.pid) if it.pid != guard)
    run = Run(runner, guard, keeper, Path(place), _in_hex(host), processes)
    assert {what.split()[0] for what in run.left()} >= {"process", "file", "socket"}
    return run


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _names(run: Run) -> list[str]:
    return [Path(f"/proc/{it.pid}/comm").read_text().strip() for it in run.processes]


KILL, STOP, TERM, INTERRUPT = signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT
KILLED = [
    ("runner", KILL),
    ("keeper", KILL),
    ("keeper", KILL, "runner", KILL),
    ("guard", KILL),
    ("guard", KILL, "runner", KILL),
    ("keeper", STOP, "runner", KILL),
    ("runner", TERM),
    ("runner", INTERRUPT),
    ("guard", TERM),
]


@pytest.mark.parametrize(
    ("run", "killed"),
    [("plain", case) for case in KILLED] + [("namespace", case) for case in KILLED[:6]],
    ids=lambda value: value if isinstance(value, str) else "-".join(getattr(it, "name", it) for it in value),
    indirect=["run"],
)
def test_nothing_is_left(run: Run, killed: tuple[str | signal.Signals, ...]) -> None:
    for who, number in zip(killed[::2], killed[1::2], strict=True):
        os.kill(run.pid(str(who)), int(number))
    _nothing_left(run)
    wait_until("the guard's end", lambda: not _alive(run.guard), deadline_s=LEFT_AFTER_S)


@pytest.mark.parametrize(
    ("others", "killed"),
    [
        ("plain", ("runner",)),
        ("plain", ("guard", "runner")),
        ("plain", ("keeper", "runner")),
        ("namespace", ("runner",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
    indirect=["others"],
)
def test_nothing_is_left_of_other_servers(others: Run, killed: tuple[str, ...]) -> None:
    for who in killed:
        os.kill(others.pid(who), KILL)
    _nothing_left(others)


@pytest.mark.parametrize("run", ["plain", "namespace"], indirect=True)
def test_a_stopped_guard_is_not_waited_for(run: Run) -> None:
    os.kill(run.guard, signal.SIGSTOP)
    os.kill(run.runner.pid, signal.SIGKILL)
    _nothing_left(run)


@pytest.mark.parametrize("run", ["plain"], indirect=True)
def test_what_outlives_all_three_is_ended_by_the_next_run(run: Run) -> None:
    """The stated gap: without a namespace nobody is left to act when guard, keeper and runner go at once."""
    os.kill(run.keeper, signal.SIGSTOP)
    for pid in (run.guard, run.runner.pid, run.keeper):
        os.kill(pid, signal.SIGKILL)
    wait_until("the end of all three", lambda: not _alive(run.guard), deadline_s=LEFT_AFTER_S)
    assert run.folder.exists()
    _age(run.folder)
    folder.end_dead_runs(str(run.folder.parent))
    _nothing_left(run)


@pytest.mark.parametrize("run", ["plain"], indirect=True)
def test_a_living_run_is_left_alone_by_others(run: Run) -> None:
    _age(run.folder)
    before = len(run.left())
    folder.end_dead_runs(str(run.folder.parent))
    assert len(run.left()) == before


def _age(path: Path) -> None:
    """A folder younger than 2 s is left alone: its guard may not have locked it yet."""
    long_ago = time.time() - 60
    os.utime(path, (long_ago, long_ago))


def _nothing_left(run: Run) -> None:
    seen: list[str] = []

    def gone() -> bool:
        run.runner.poll()
        seen[:] = run.left()
        return not seen

    try:
        wait_until("the end of everything", gone, deadline_s=LEFT_AFTER_S, every_s=0.02)
    except TimeoutError:
        pytest.fail(f"left after {LEFT_AFTER_S} s: {seen}")


def _alive(pid: int) -> bool:
    return ending.identify(pid) is not None
