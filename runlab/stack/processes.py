"""A stack of real servers as processes of this machine: each on a loopback address of its own, or in a sandbox.

No container engine and no privileges are needed. `start` makes a stack, `attach` joins a running one. Who ends what
is told in runlab/stack/guard.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import runlab
from runlab.model import CommandResult, JsonObject, LabError
from runlab.stack import compose, control, folder, planning, programs
from runlab.stack.choice import choose
from runlab.stack.control import StackError
from runlab.stack.plan import Plan, Reservation
from runlab.stack.runtimes import EMBEDDED, PROCESSES, SANDBOX, pick
from runlab.stack.scraping import wait_for_scrapes
from runlab.waiting import DeadlineError, Progress, Silent, wait_until

_START_S = 90.0
_RESTART_S = 60.0
_END_S = 10.0
_ANSWER_S = 10.0


class ProcessStack:
    """A running stack; runlab.model.Stack, and what else the runtime can do. Safe to use from several threads.

    `capabilities` are of the services that run, `available` also of those that nobody needed; `missing` says of each
    other one of compose.yaml why it cannot be had here. `ports`: those of each service that runs, and of each further
    host at which one fronts another. `ready_s`: how long it took until all services were healthy; `start_s`: until
    Prometheus had scraped them, too. `reset_at`: when this object's last `reset` was over (time.monotonic).
    """

    def __init__(self, socket: Path, *, guard: _Guard | None = None) -> None:
        """Join the stack whose keeper listens at `socket`. StackError when none does."""
        self.control = socket
        self._guard = guard
        self._about: JsonObject = control.call(socket, "describe")
        self.run_id: str = self._about["run_id"]
        self.runtime = SANDBOX if self._about["machines"] else PROCESSES
        self.capabilities = frozenset(self._about["capabilities"])
        self.available = frozenset(self._about["available"])
        self.missing: Mapping[str, str] = self._about["missing"]
        self.ports: Mapping[str, tuple[int, ...]] = {host: tuple(on) for host, on in self._about["ports"].items()}
        self.ready_s = self.start_s = self.reset_at = 0.0

    def host(self, service: str) -> str:
        """The address of a service of compose.yaml, or of one of its further hosts and fronts, e.g. "runner"."""
        return str(self._look_up("hosts", service))

    def inside(self, service: str) -> str:
        """The address at which the stack's own processes reach it; outside a sandbox the same as `host`."""
        return str(self._look_up("inside", service))

    def machine(self, service: str) -> str:
        """The sandbox's machine on which it is, e.g. "zone-a"; "" where there is no sandbox."""
        return str(self._look_up("machines", service)) if self.runtime == SANDBOX else ""

    def listen(self, host: str, port: int) -> socket.socket:
        """A listening TCP socket for this process, at a host and port inside the stack. LabError when it is taken."""
        address = self.inside(host)
        try:
            if self.runtime == SANDBOX:
                return control.listener(folder.listeners_socket(self.control.parent), host, port)
            return socket.create_server((address, port))
        except OSError as error:
            raise LabError(
                f"no listener at {host}:{port}: {error.strerror or error}", mend="free the port or take another"
            ) from None

    def secret(self, name: str) -> str:
        """A password made for this run, by its variable's name."""
        return str(self._look_up("secrets", name))

    def log_files(self) -> Mapping[str, Path]:
        """Each service's log, by service name; both of its outputs are in it."""
        return {name: Path(path) for name, path in self._about["logs"].items()}

    def data_folder(self, service: str) -> Path:
        """Where a service keeps its data, ${DATA_<service>} of compose.yaml; it ends with the run."""
        self._look_up("hosts", service)
        return self.control.parent / "services" / service / "data"

    def execute(
        self,
        argv: Sequence[str],
        *,
        account: str,
        on: str = "",
        environment: Mapping[str, str] | None = None,
        time_limit_s: float = 30.0,
    ) -> CommandResult:
        """Run a command where the services run; its whole process group ends with it, at `time_limit_s` at the latest.

        `account` is "operator" or "service", or in a sandbox "root", which is root of the sandbox alone; its
        environment is made from nothing, plus `environment`. `on` is the machine, in a sandbox: "" is the operator's
        for that account, and "control" for others. Status 127 when there is no such program. Of each output 16 MiB are
        kept; a last line says how much was cut.
        """
        outcome = control.call(
            self.control,
            "execute",
            argv=list(argv),
            account=account,
            on=on,
            environment=dict(environment or {}),
            time_limit_s=time_limit_s,
            timeout_s=time_limit_s + _ANSWER_S,
        )
        return CommandResult(argv=tuple(argv), **outcome)

    def hold(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
        account: str = "service",
        on: str = "",
    ) -> None:
        """Start a process and keep it, its standard input open after `stdin`; `account` and `on` as for `execute`."""
        control.call(
            self.control,
            "hold",
            name=name,
            argv=list(argv),
            stdin=stdin,
            environment=dict(environment or {}),
            account=account,
            on=on,
        )

    def release(self, name: str) -> None:
        """End what `hold(name, …)` started, at once; nothing happens when there is none."""
        control.call(self.control, "release", name=name)

    def signal(self, service: str, signum: int) -> None:
        """Send a Unix signal to the service's first process. StackError when it is not running."""
        control.call(self.control, "signal", service=service, number=int(signum))

    def restart(self, service: str) -> None:
        """End the service, start it again on its data, and return once it is healthy. StackError when it is not."""
        control.call(self.control, "restart", service=service, timeout_s=_RESTART_S)

    def reset(self) -> None:
        """Bring every service back to its first day (`x-lab.reset`). StackError when a command fails."""
        control.call(self.control, "reset", timeout_s=_RESTART_S)
        self.reset_at = time.monotonic()

    def resident(self) -> Mapping[str, int]:
        """The memory that each running service holds, in bytes; see runlab/stack/memory.py."""
        found: dict[str, int] = control.call(self.control, "resident")
        return found

    def check(self) -> None:
        """StackError, with its last log line, for a service that has died since it was ready."""
        for name, it in control.call(self.control, "status").items():
            if it["state"] in {"ended", "failed"}:
                raise StackError(f"service {name} has died: {it['detail'] or self._last_line(name)}")

    def ensure_kept(self) -> None:
        """StackGoneError once the keeper, and with it the whole stack, has ended. Takes a fraction of a millisecond."""
        control.keeper_pid(self.control)

    def environment(self) -> JsonObject:
        """What the stack is made of: runtime, namespaces, accounts, capabilities, each service's host and version."""
        versions: JsonObject = control.call(self.control, "versions")
        return {
            "runtime": self.runtime,
            "namespaces": self._about["namespace"],
            "capabilities": sorted(self.capabilities),
            "missing": dict(self.missing),
            "services": {name: {"host": self.host(name), "version": versions[name]} for name in versions},
            "ready_s": self.ready_s,
            "start_s": self.start_s,
        }

    def stop(self) -> None:
        """End every process of the stack and remove its folder; returns when nothing is left. Idempotent."""
        if self._guard:
            self._guard.end()
            return
        with contextlib.suppress(StackError):
            control.call(self.control, "end")
        wait_until("the stack's end", lambda: not self.control.exists(), deadline_s=_END_S)

    @property
    def keeper_pid(self) -> int:
        """The keeper's pid, as this process sees it."""
        return control.keeper_pid(self.control)

    def _last_line(self, service: str) -> str:
        lines = self.log_files()[service].read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "it wrote nothing")

    def _look_up(self, kind: str, name: str) -> Any:
        found = self._about[kind]
        if name not in found:
            raise LabError(f"the stack has no {kind.removesuffix('s')} {name}", mend=f"there are {', '.join(found)}")
        return found[name]


def start(
    compose_file: Path,
    *,
    reports: Path,
    run_id: str,
    time_scale: float,
    rules: Callable[[str, str], str],
    own_rules: Path | None = None,
    needs: Collection[str] | None = None,
    services: Collection[str] | None = None,
    progress: Progress | None = None,
    variables: Mapping[str, str] | None = None,
    runtime: str = EMBEDDED,
    namespaces: bool = True,
    operator_uid: int = planning.OPERATOR_UID,
) -> ProcessStack:
    """Start the services of `compose_file` for one run: those that the capabilities `needs` ask for, None for all; or
    exactly `services` and what they require. See runlab/stack/choice.py.

    Returns once every health check has passed and Prometheus, if it is among them, has scraped every target. Logs go
    to `reports`/logs, `reports` being the run's own folder. `rules` is applied to each file of alert rules, those in
    the folder `own_rules` included.
    `time_scale` is ${TIME_SCALE} in the file; `variables` are further ones. `runtime`: see runlab/stack/runtimes.py.
    `namespaces=False` does without one of PIDs. Raises LabError, one line, with nothing left running.
    """
    began = time.monotonic()
    show = progress or Silent()
    draft = compose.read(compose_file)
    kind, has = pick(runtime, namespaces=namespaces)
    choice = choose(draft, services, needs, programs.find, has)
    ports = planning.listening(draft, choice.services) | draft.lab.hosts
    logs = (reports / "logs").resolve()
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot be written: {error.strerror}", where=str(reports)) from None
    guard = _Guard(run_id, ports, logs, namespaces=namespaces, sandbox=kind == SANDBOX)
    try:
        plan = planning.make(
            compose_file,
            choice,
            run_id=run_id,
            folder=guard.folder,
            logs=logs,
            hosts=planning.reached(draft, choice.services, guard.hosts),
            sandbox=kind == SANDBOX,
            rules=rules,
            own_rules=own_rules,
            variables={"TIME_SCALE": f"{time_scale:g}", **(variables or {})},
            operator_uid=operator_uid,
        )
        guard.go(plan)
        socket = folder.control_socket(guard.folder)
        _wait_for_health(socket, show)
        stack = ProcessStack(socket, guard=guard)
        stack.ready_s = round(time.monotonic() - began, 3)
        if "prometheus" in choice.services:
            started = {stack.inside(name) for name in choice.services}
            alerting = "alertmanager" in choice.services
            wait_for_scrapes(stack.host("prometheus"), started, alerting=alerting, progress=show)
        stack.check()
    except BaseException:
        guard.end()
        raise
    stack.start_s = round(time.monotonic() - began, 3)
    return stack


def attach(socket: Path) -> ProcessStack:
    """Join a running stack from another process of the same account. StackError when it has ended."""
    return ProcessStack(socket)


def _wait_for_health(socket: Path, progress: Progress) -> None:
    last: dict[str, dict[str, str]] = {}

    def healthy() -> bool:
        last.update(control.call(socket, "status"))
        for it in last.values():
            if it["state"] == "failed":
                raise StackError(it["detail"])
        for name, it in last.items():
            if it["state"] == "ended":
                log = f"logs/{name}.log in the run's folder"
                raise StackError(f"service {name} ended right after its start", mend=f"see {log}")
        return all(it["state"] in {"ready", "completed"} for it in last.values())

    try:
        wait_until("the services' health checks", healthy, deadline_s=_START_S, progress=progress)
    except DeadlineError as late:
        states = ", ".join(f"{name} is {it['state']}" for name, it in last.items() if it["state"] != "ready")
        raise StackError(f"the stack did not start in {late.waited_s:g} s: {states}") from None


class _Guard:
    """The runner's end of the pipe to the guard: while it is open and the runner lives, the stack does."""

    def __init__(
        self, run_id: str, ports: Mapping[str, list[int]], logs: Path, *, namespaces: bool, sandbox: bool
    ) -> None:
        root = Path(runlab.__file__).parent.parent
        with (logs / "keeper.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-P", "-m", "runlab.stack.guard", run_id],
                env={"PYTHONPATH": str(root), "PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._log = logs / "keeper.log"
        try:
            self._tell(
                Reservation(
                    run_id=run_id,
                    runner=os.getpid(),
                    parent=tempfile.gettempdir(),
                    hosts=dict(ports),
                    namespaces=namespaces,
                    sandbox=sandbox,
                )
            )
            answer = self._hear()
        except BaseException:
            self.end()
            raise
        self.folder = Path(answer["folder"])
        self.hosts: dict[str, str] = answer["hosts"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def go(self, plan: Plan) -> None:
        """Have the keeper started; returns once it listens."""
        self._tell(plan)
        self._hear()

    def end(self) -> None:
        """Close the pipe and wait for the guard to end everything; do it in its place when it cannot."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()
        if hasattr(self, "folder") and self.folder.exists():
            folder.end_run(self.folder)

    def _tell(self, message: Reservation | Plan) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _hear(self) -> JsonObject:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise StackError("the stack's guard has ended", where=str(self._log), mend="see there why")
        answer: JsonObject = json.loads(line)
        if "error" in answer:
            raise StackError(answer["error"], mend=answer["mend"])
        return answer
