"""Small stacks of the shell's and Python's own programs: fronts, reset, restart, memory."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runlab.model import LabError
from runlab.stack import processes
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

MIB = 1024 * 1024
Begin = Callable[..., ProcessStack]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start a stack of this text; it ends with the test."""
    started: list[ProcessStack] = []

    def start(text: str, **options: object) -> ProcessStack:
        file = tmp_path / "compose.yaml"
        file.write_text(text, encoding="utf-8")
        defaults = {"run_id": "small", "time_scale": 1.0, "rules": lambda text, _: text}
        started.append(processes.start(file, reports=tmp_path, **{**defaults, **options}))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for stack in started:
        stack.stop()


FRONTED = """
services:
  server:
    command: [python, -m, http.server, --bind, "${{HOST_server}}", "8080"]
    expose: [8080]
    healthcheck: {{test: [CMD, curl, -fsS, "http://${{HOST_server}}:8080/"], interval: 50ms, retries: 100}}
  front:
    command: [{program}, -m, http.server, --bind, "${{HOST_my_front}}", "8080"]
    expose: [8474]
    x-lab: {{capabilities: [front], fronts: {{my-front: server}}}}
"""


def test_a_front_has_an_address_of_its_own(begin: Begin) -> None:
    stack = begin(FRONTED.format(program="python"))
    assert stack.host("my-front") not in {stack.host("server"), stack.host("front")}
    assert stack.ports == {"server": (8080,), "front": (8474,), "my-front": (8080,)}
    wait_until("the front", lambda: _listens(stack.host("my-front"), 8080), deadline_s=5)
    assert "front" in stack.capabilities
    assert "front" not in stack.missing


def test_a_front_that_cannot_be_had_is_the_server_behind_it(begin: Begin) -> None:
    stack = begin(FRONTED.format(program="no-such-proxy"))
    assert stack.host("my-front") == stack.host("server")
    assert stack.ports == {"server": (8080,)}
    assert "front" not in stack.capabilities
    why = "service front: no-such-proxy is not installed; run `make setup`"
    assert stack.missing["front"] == why
    assert processes.attach(stack.control).missing == stack.environment()["missing"] == stack.missing


def _listens(host: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


NEEDED = """
services:
  always: {command: [sh, -c, "echo left out: ${HOSTS_LEFT_OUT:-nobody}; exec sleep 60"]}
  sometimes: {profiles: [more], command: [sleep, "60"], x-lab: {capabilities: [more]}}
"""


def test_what_nobody_needs_is_not_started(begin: Begin) -> None:
    stack = begin(NEEDED, needs=["something else"])
    assert set(stack.log_files()) == {"always"}
    wait_until("its word", stack.log_files()["always"].read_text, deadline_s=5)
    assert _first_left_out(stack).fullmatch(stack.inside("sometimes"))
    assert not _first_left_out(stack).search(stack.inside("always"))
    assert "more" in stack.available - stack.capabilities
    needed = begin(NEEDED, needs=["more"])
    assert set(needed.log_files()) == {"always", "sometimes"}
    wait_until("its word", lambda: "nobody" in needed.log_files()["always"].read_text(), deadline_s=5)
    assert 0 < needed.ready_s <= needed.start_s


def _first_left_out(stack: ProcessStack) -> re.Pattern[str]:
    """A pattern that is written without a backslash, which YAML's double quotes would take for their own."""
    said = stack.log_files()["always"].read_text().splitlines()[0].removeprefix("left out: ")
    assert "\\" not in said
    return re.compile(said)


VERSIONS = """
services:
  asked: {command: [sleep, "60"], x-lab: {version: [sh, -c, "cat ${DATA_late}/done || echo too soon"]}}
  late:
    command: [sleep, "60"]
    x-lab: {prepare: [[sh, -c, "sleep 0.3; echo at last > ${DATA_late}/done"]]}
"""


def test_versions_are_asked_for_when_no_service_starts_any_more(begin: Begin) -> None:
    """Asking takes processor time, of which a start has little."""
    services = begin(VERSIONS).environment()["services"]
    assert {name: it["version"] for name, it in services.items()} == {"asked": "at last", "late": ""}


RESET = """
services:
  writer:
    command: [sleep, "60"]
    depends_on: [store]
    x-lab:
      quiesce: [[sh, -c, "echo quiesced >> ${DATA_store}/order"]]
      reset: [[sh, -c, "echo writer >> ${DATA_store}/order"]]
  store:
    command: [sleep, "60"]
    x-lab: {reset: [[sh, -c, "sleep 0.2; echo store >> ${DATA_store}/order"]]}
  left:
    command: [sleep, "60"]
    x-lab:
      prepare: [[mkfifo, "${DATA_left}/pipe"]]
      reset: [[sh, -c, "echo > ${DATA_left}/pipe; cat ${DATA_right}/pipe"]]
  right:
    command: [sleep, "60"]
    x-lab:
      prepare: [[mkfifo, "${DATA_right}/pipe"]]
      reset: [[sh, -c, "cat ${DATA_left}/pipe; echo > ${DATA_right}/pipe"]]
"""


def test_reset_quiesces_first_and_is_side_by_side_but_for_dependencies(begin: Begin) -> None:
    """left and right each wait for the other at a pipe, so one after the other would never end."""
    stack = begin(RESET)
    assert stack.reset_at == 0.0
    began = time.monotonic()
    stack.reset()
    order = stack.data_folder("store") / "order"
    assert order.read_text().split() == ["quiesced", "store", "writer"]
    assert began + 0.2 <= stack.reset_at <= time.monotonic()


QUIESCE_FAILS = """
services:
  one: {command: [sleep, "60"], x-lab: {quiesce: [[sh, -c, "echo it will not >&2; false"]]}}
  two: {command: [sleep, "60"], x-lab: {reset: [[touch, was-reset]]}}
"""


def test_nothing_is_reset_while_something_goes_on(begin: Begin) -> None:
    stack = begin(QUIESCE_FAILS)
    with pytest.raises(LabError, match="service one: quiesce by sh failed: it will not"):
        stack.reset()
    assert not list(stack.data_folder("two").parent.rglob("was-reset"))


STRAYS = """
services:
  nest: {command: [sh, -c, "setsid sleep 61.61 & setsid sleep 62.62 & wait"]}
"""


@pytest.mark.parametrize("namespaces", [True, False], ids=["namespace", "plain"])
def test_a_restart_ends_children_in_sessions_of_their_own(begin: Begin, namespaces: bool) -> None:
    stack = begin(STRAYS, namespaces=namespaces)
    look = f"grep -lzxsF RUNLAB_FOLDER={stack.control.parent} /proc/[0-9]*/environ | xargs -n1 dirname"
    name = 'while read it; do [ "$(cat $it/comm)" = sleep ] && echo $it; done; true'

    def sleeping() -> set[str]:
        return set(stack.execute(["sh", "-c", f"{look} | {name}"], account="service").stdout.split())

    wait_until("both children", lambda: len(sleeping()) == 2, deadline_s=5)
    before = sleeping()
    stack.restart("nest")
    wait_until("two others", lambda: len(sleeping()) == 2 and not sleeping() & before, deadline_s=5)


MEMORY = """
services:
  small: {command: [sleep, "60"]}
  large:
    command:
      - python
      - -c
      - |
        import os, time
        kept = b"x" * 50_000_000
        if os.fork() == 0:
            open("forked", "w").close()
        time.sleep(60)
    healthcheck: {test: [CMD, ls, forked], interval: 20ms, retries: 200}
"""


@pytest.mark.parametrize("namespaces", [True, False], ids=["namespace", "plain"])
def test_memory_counts_all_processes_and_shared_pages_once(begin: Begin, namespaces: bool) -> None:
    """The fork shares its parent's 48 MiB: by RSS it would be 100 MiB and more."""
    resident = begin(MEMORY, namespaces=namespaces).resident()
    assert set(resident) == {"small", "large"}
    assert 0 < resident["small"] < 5 * MIB
    assert 48 * MIB < resident["large"] < 75 * MIB
