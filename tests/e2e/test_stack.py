"""Real servers: start, use, break, stop; in a sandbox, and as processes with a PID namespace and without."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runlab.model import LabError
from runlab.stack import processes
from runlab.stack.children import OUTPUT_LIMIT
from runlab.stack.namespaces import sandbox_obstacle
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "compose" / "compose.yaml"


def begin(reports: Path, file: Path = COMPOSE, **options: Any) -> ProcessStack:
    defaults: dict[str, Any] = {"run_id": "e2e", "time_scale": 1.0, "rules": lambda text, _: text}
    defaults["runtime"] = "processes"
    return processes.start(file, reports=reports, **{**defaults, **options})


def login(stack: ProcessStack, application: str = "") -> dict[str, str]:
    password = stack.secret("POSTGRES_PASSWORD")
    names = {"PGHOST": stack.inside("postgres"), "PGUSER": "postgres", "PGPASSWORD": password}
    return {**names, "PGAPPNAME": application}


def ask(stack: ProcessStack, sql: str) -> list[str]:
    result = stack.execute(["psql", "-XAtc", sql, "postgres"], account="operator", environment=login(stack))
    assert result.status == 0, result.stderr
    return result.stdout.splitlines()


KINDS: dict[str, dict[str, Any]] = {
    "sandbox": {"runtime": "sandbox"},
    "namespace": {"runtime": "processes"},
    "plain": {"runtime": "processes", "namespaces": False},
}


@pytest.fixture(scope="module", params=KINDS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    if request.param == "sandbox" and (why := sandbox_obstacle()):
        pytest.skip(why)
    reports, services = tmp_path_factory.mktemp("reports"), {"postgres", "pushgateway"}
    running = begin(reports, services=services, **KINDS[request.param])
    yield running
    folder, host = running.control.parent, running.host("postgres")
    running.stop()
    running.stop()
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, 5432), 1)


def test_a_command_runs_as_the_operator_and_finds_the_servers(stack: ProcessStack) -> None:
    assert ask(stack, "select 6 * 7") == ["42"]


def test_accounts_are_apart_where_they_can_be(stack: ProcessStack) -> None:
    operator, service = (int(stack.execute(["id", "-u"], account=a).stdout) for a in ("operator", "service"))
    if os.geteuid() == 0:
        assert "accounts" in stack.capabilities
        assert 0 not in {operator, service}
        assert operator != service
    else:
        assert "accounts" not in stack.capabilities
        assert operator == service == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="one account cannot be kept from its own files")
def test_the_operator_reads_neither_data_nor_secrets(stack: ProcessStack) -> None:
    data, hidden = stack.data_folder("postgres"), stack.runtime == "sandbox"
    server = data.joinpath("postmaster.pid").read_text().split()[0]
    for path in (data, data / "pg_hba.conf", stack.control.parent / "config", f"/proc/{server}/environ"):
        refused = stack.execute(["cat", str(path)], account="operator")
        assert refused.status != 0
        # in a sandbox the operator does not even see them
        assert ("No such file" if hidden and str(path).startswith("/tmp") else "Permission denied") in refused.stderr
    join = f"import socket; socket.socket(socket.AF_UNIX).connect({str(stack.control)!r})"
    refusal = "FileNotFoundError" if hidden else "PermissionError"
    assert refusal in stack.execute([sys.executable, "-c", join], account="operator").stderr


def test_the_environment_is_made_from_nothing(stack: ProcessStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_OF_OURS", "1")
    names = {line.split("=")[0] for line in stack.execute(["env"], account="operator").stdout.splitlines()}
    assert names == {"PATH", "LANG", "HOME", "TMPDIR", "RUNLAB_FOLDER"}


def test_a_command_ends_at_its_time_limit_with_its_children(stack: ProcessStack) -> None:
    argv = ["sh", "-c", "echo begun; sleep 77.77 & wait"]
    result = stack.execute(argv, account="operator", time_limit_s=0.3)
    assert (result.status, result.stdout, result.argv) == (None, "begun\n", tuple(argv))
    assert result.seconds < 2
    # not ps, which a bare machine lacks
    seen = stack.execute(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"], account="service").stdout
    assert "postgres" in seen
    assert "sleep 77.77" not in seen


def test_a_missing_program_is_status_127(stack: ProcessStack) -> None:
    result = stack.execute(["no-such-program"], account="operator")
    assert (result.status, result.stderr) == (127, "no-such-program: command not found\n")


def test_a_flood_of_output_is_cut_and_says_so(stack: ProcessStack) -> None:
    result = stack.execute(["head", "-c", str(OUTPUT_LIMIT + 5), "/dev/zero"], account="operator")
    assert result.status == 0
    assert result.stdout.endswith("[output cut here: 5 bytes more]\n")


def test_what_is_held_stays_until_it_is_released(stack: ProcessStack) -> None:
    sessions = "select state from pg_stat_activity where application_name = 'held'"
    stack.hold("a session", ["psql", "-Xq", "postgres"], stdin="begin; select 1;\n", environment=login(stack, "held"))
    wait_until("the session", lambda: ask(stack, sessions) == ["idle in transaction"], deadline_s=5)
    with pytest.raises(LabError, match="is held already"):
        stack.hold("a session", ["sleep", "1"])
    stack.release("a session")
    wait_until("its end", lambda: ask(stack, sessions) == [], deadline_s=5)
    stack.release("a session")


def test_what_cannot_be_held_is_an_error(stack: ProcessStack) -> None:
    with pytest.raises(LabError, match="cannot hold nothing: no-such-program: command not found"):
        stack.hold("nothing", ["no-such-program"])


def test_a_service_that_dies_is_named_with_its_last_words_and_restarts(stack: ProcessStack) -> None:
    stack.check()
    ask(stack, "create table kept (x int)")
    stack.signal("postgres", signal.SIGINT)

    def noticed() -> str:
        try:
            stack.check()
        except LabError as error:
            return str(error)
        return ""

    said = wait_until("the death to be noticed", noticed, deadline_s=5)
    assert said.startswith("service postgres has died: ")
    assert said.endswith("database system is shut down")
    with pytest.raises(LabError, match="service postgres is not running"):
        stack.signal("postgres", signal.SIGINT)
    stack.restart("postgres")
    stack.check()
    assert ask(stack, "select count(*) from kept") == ["0"]
    stack.restart("postgres")
    assert ask(stack, "drop table kept") == ["DROP TABLE"]


def test_reset_runs_the_services_commands(stack: ProcessStack) -> None:
    gateway = f"http://{stack.inside('pushgateway')}:9091/metrics"
    push = ["sh", "-c", f"echo 'left_over 1' | curl -fsS --data-binary @- {gateway}/job/x"]
    assert stack.execute(push, account="operator").status == 0
    assert "left_over" in stack.execute(["curl", "-s", gateway], account="operator").stdout
    stack.reset()
    assert "left_over" not in stack.execute(["curl", "-s", gateway], account="operator").stdout


def test_another_process_can_join(stack: ProcessStack) -> None:
    code = (
        "import json, sys; from pathlib import Path; from runlab.stack import processes;"
        "s = processes.attach(Path(sys.argv[1]));"
        "print(json.dumps([s.run_id, s.host('postgres'), s.secret('POSTGRES_PASSWORD'),"
        " s.execute(['echo', 'hi'], account='operator').stdout]))"
    )
    joined = subprocess.run(
        [sys.executable, "-c", code, str(stack.control)], capture_output=True, text=True, check=True, timeout=20
    )
    assert json.loads(joined.stdout) == [
        stack.run_id,
        stack.host("postgres"),
        stack.secret("POSTGRES_PASSWORD"),
        "hi\n",
    ]


def test_passwords_are_in_no_log_and_no_argument_list(stack: ProcessStack) -> None:
    secret = stack.secret("POSTGRES_PASSWORD").encode()
    logs = stack.log_files()["postgres"].parent
    assert len(list(logs.iterdir())) >= 3
    assert not [path for path in logs.iterdir() if secret in path.read_bytes()]
    assert not [path for path in stack.control.parent.rglob("*") if path.is_file() and secret in path.read_bytes()]
    arguments = stack.execute(["sh", "-c", "cat /proc/[0-9]*/cmdline"], account="service").stdout
    assert "postgres" in arguments
    assert secret.decode() not in arguments


def test_the_environment_names_every_version(stack: ProcessStack) -> None:
    about = stack.environment()
    assert about["runtime"] == stack.runtime
    assert "PostgreSQL" in about["services"]["postgres"]["version"]
    assert about["services"]["pushgateway"] == {
        "host": stack.host("pushgateway"),
        "version": about["services"]["pushgateway"]["version"],
    }
    assert {"postgres", "pushgateway"} <= set(about["capabilities"])


def test_two_stacks_do_not_meet(stack: ProcessStack, tmp_path: Path) -> None:
    other = begin(tmp_path, services={"postgres"})
    try:
        assert other.host("postgres") != stack.host("postgres")
        assert other.secret("POSTGRES_PASSWORD") != stack.secret("POSTGRES_PASSWORD")
        ask(other, "create database only_here")
        assert ask(stack, "select count(*) from pg_database where datname = 'only_here'") == ["0"]
    finally:
        other.stop()
    assert ask(stack, "select 1") == ["1"]


# ------------------------------------------------------------------------------------------------ what fails to start


def small(folder: Path, service: str, more: str = "") -> Path:
    file = folder / "compose.yaml"
    file.write_text(f"services:\n  broken:\n{service}\n{more}", encoding="utf-8")
    return file


def folders() -> set[Path]:
    return set(Path("/tmp").glob("runlab-failing-*"))


BROKEN = {
    "no such program": (
        "    command: [no-such-server]",
        "service broken: no-such-server is not installed; run `make setup`",
    ),
    "dies": (
        """
    command: [sh, -c, 'echo first; echo my last words; exit 3']
    healthcheck: {test: [CMD, "false"], interval: 10ms}""",
        "service broken ended with status 3: my last words",
    ),
    "never healthy": (
        """
    command: [sleep, "60"]
    healthcheck: {test: [CMD, sh, -c, 'echo not yet >&2; false'], interval: 10ms, retries: 3}""",
        "service broken is not healthy after 0.03 s: not yet",
    ),
    "not prepared": (
        """
    command: [sleep, "60"]
    x-lab: {prepare: [[sh, -c, 'echo no room >&2; false']]}""",
        "service broken: prepare by sh failed: no room",
    ),
    "what it waits for fails": (
        """
    command: [sleep, "60"]
    depends_on: {first: {condition: service_completed_successfully}}
  first:
    command: [sh, -c, 'echo did not work; exit 1']""",
        "service first ended with status 1: did not work",
    ),
}


@pytest.mark.parametrize(("service", "said"), BROKEN.values(), ids=list(BROKEN))
def test_a_stack_that_fails_to_start_says_why_in_one_line_and_leaves_nothing(
    tmp_path: Path, service: str, said: str
) -> None:
    with pytest.raises(LabError) as caught:
        begin(tmp_path / "reports", small(tmp_path, service), run_id="failing")
    assert str(caught.value) == said
    assert not folders()


def test_an_occupied_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        file = small(tmp_path, f"    command: [sleep, '60']\n    expose: [{port}]")
        with pytest.raises(LabError, match=rf"port {port}, needed by broken, is occupied"):
            begin(tmp_path / "reports", file, run_id="failing")
    assert not folders()


def test_refused_rules_start_nothing(tmp_path: Path) -> None:
    def refuse(text: str, file: str) -> str:
        raise LabError("cannot be scaled", where=f"{file}:{1 + text.count('none')}")

    with pytest.raises(LabError, match=r"rules/.*\.yml:1: cannot be scaled"):
        begin(tmp_path, rules=refuse, run_id="failing")
    assert not folders()


def test_reports_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LabError, match="file: cannot be written"):
        begin(tmp_path / "file", run_id="failing")


# ------------------------------------------------------------------------------------------------------ the alert path

RULES = """
groups:
  - name: e2e
    rules:
      - {alert: AlwaysTrue, expr: "vector(1)", labels: {severity: none}}
"""


def test_an_alert_reaches_the_runner_with_the_runs_id(tmp_path: Path) -> None:
    received: queue.Queue[Any] = queue.Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    stack = begin(tmp_path, services={"prometheus", "alertmanager", "pushgateway"}, rules=lambda *_: RULES)
    try:
        with ThreadingHTTPServer(("", 0), Receiver, bind_and_activate=False) as server:
            server.socket.close()
            server.socket = stack.listen("runner", 9099)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            alert = received.get(timeout=10)["alerts"][0]
            server.shutdown()
        assert alert["labels"]["alertname"] == "AlwaysTrue"
        assert alert["labels"]["run"] == "e2e"
        assert stack.start_s < 15
    finally:
        stack.stop()
