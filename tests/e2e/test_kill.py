"""Whoever is killed, and with whatever signal: nothing of the stack is left after 2 s."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab.stack import folder
from runlab.waiting import wait_until
from tests.e2e.killing import LEFT_AFTER_S, Run, alive, nothing_left, running

# the second command makes a daemon: in a session of its own, orphaned, with an environment of its own
RUNNER = """
import json, sys, time
from pathlib import Path
from runlab.stack import processes
stack = processes.start(
    Path("compose/compose.yaml"), reports=Path(sys.argv[1]), run_id="killed", time_scale=1.0,
    rules=lambda text, _: text, services={"postgres"}, runtime="processes",
    namespaces=sys.argv[2] == "namespace")
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
    rules=lambda text, _: text, runtime="processes", namespaces=sys.argv[2] == "namespace")
print(json.dumps([str(stack.control.parent), stack.keeper_pid, stack.host("lb")]), flush=True)
time.sleep(60)
"""


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    with running(RUNNER, tmp_path, request.param) as made:
        assert "sleep" in made.names()
        assert len(made.processes) >= 8
        yield made


@pytest.fixture
def others(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "compose.yaml").write_text(OTHERS, encoding="utf-8")
    with running(OTHERS_RUNNER, tmp_path, request.param) as made:
        names = made.names()
        assert (names.count("mariadbd"), names.count("haproxy")) == (1, 2)
        yield made


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
    nothing_left(run)
    wait_until("the guard's end", lambda: not alive(run.guard), deadline_s=LEFT_AFTER_S)


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
    nothing_left(others)


@pytest.mark.parametrize("run", ["plain", "namespace"], indirect=True)
def test_a_stopped_guard_is_not_waited_for(run: Run) -> None:
    os.kill(run.guard, signal.SIGSTOP)
    os.kill(run.runner.pid, signal.SIGKILL)
    nothing_left(run)


@pytest.mark.parametrize("run", ["plain"], indirect=True)
def test_what_outlives_all_three_is_ended_by_the_next_run(run: Run) -> None:
    """The stated gap: without a namespace nobody is left to act when guard, keeper and runner go at once."""
    os.kill(run.keeper, signal.SIGSTOP)
    for pid in (run.guard, run.runner.pid, run.keeper):
        os.kill(pid, signal.SIGKILL)
    wait_until("the end of all three", lambda: not alive(run.guard), deadline_s=LEFT_AFTER_S)
    assert run.folder.exists()
    _age(run.folder)
    folder.end_dead_runs(str(run.folder.parent))
    nothing_left(run)


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
