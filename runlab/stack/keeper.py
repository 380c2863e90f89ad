"""The keeper: the process that owns every service and whatever a fault holds open.

Started by the guard, in a PID namespace as its first process where one can be had. It reads its plan from standard
input, listens on a Unix socket in the run's folder, brings the services up and keeps them. It ends everything when the
guard dies, and when the runner dies and the guard has not ended it by then.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from runlab.model import LabError
from runlab.stack import control, ending, entering, folder, memory, packet_filter
from runlab.stack.children import Children, Outcome
from runlab.stack.entering import Network
from runlab.stack.plan import CONTROL, MACHINES, OPERATOR, ROUTER, Account, Plan
from runlab.stack.services import Held, Service, in_order

_GUARD_ACTS_WITHIN_S = 1.0
_MEASURE_S = 10.0


class Keeper:
    """What can be asked of the keeper; each public method is an operation of the control socket."""

    def __init__(self, plan: Plan, network: Network) -> None:
        self._plan, self._network = plan, network
        self.children = Children()
        if network.helper:
            self.children.adopt(network.helper)
        self._folder = Path(plan["folder"])
        self._held: dict[str, Held] = {}
        self._holding = threading.Lock()
        self._services = {
            name: Service(
                name,
                service,
                plan["accounts"]["service"],
                self.children,
                self._record,
                network.enter(service["machine"]),
            )
            for name, service in plan["services"].items()
        }
        self._versions_known = threading.Event()

    @property
    def network_lost(self) -> bool:
        return self._network.lost

    def status(self) -> dict[str, dict[str, str]]:
        return {name: {"state": it.state, "detail": it.detail} for name, it in self._services.items()}

    def describe(self) -> dict[str, Any]:
        return {
            "run_id": self._plan["run_id"],
            "hosts": self._plan["hosts"],
            "inside": self._network.addresses or self._plan["hosts"],
            "machines": self._network.places,
            "secrets": self._plan["secrets"],
            "ports": self._plan["ports"],
            "capabilities": self._plan["capabilities"],
            "available": self._plan["available"],
            "missing": self._plan["missing"],
            "namespace": self._plan["namespace"],
            "logs": {name: it.plan["log"] for name, it in self._services.items()},
        }

    def versions(self) -> dict[str, str]:
        """What each service says of its version; waits until all have been started and asked."""
        self._versions_known.wait()
        return {name: it.version for name, it in self._services.items()}

    def execute(
        self, argv: list[str], account: str, environment: dict[str, str], time_limit_s: float, on: str
    ) -> Outcome:
        return self.children.run(
            argv,
            self._account(account),
            environment=environment,
            time_limit_s=time_limit_s,
            enter=self._network.enter(on or (OPERATOR if account == OPERATOR else CONTROL)),
        )

    def hold(self, name: str, argv: list[str], stdin: str, environment: dict[str, str], account: str, on: str) -> None:
        log = Path(self._plan["logs"], f"hold-{name.replace('/', '_')}.log")
        rights, enter = self._account(account), self._network.enter(on or CONTROL)
        with self._holding:
            if name in self._held and self._held[name].alive:
                raise LabError(f"{name} is held already", mend="release it first")
            try:
                held = Held.start(argv, stdin, rights, self.children, environment=environment, log=log, enter=enter)
            except FileNotFoundError:
                raise LabError(f"cannot hold {name}: {argv[0]}: command not found") from None
            self._held[name] = held
            if it := ending.identify(held.pid):
                self._record(it)

    def release(self, name: str) -> None:
        with self._holding:  # what is just being started counts too
            if held := self._held.pop(name, None):
                held.release()

    def signal(self, service: str, number: int) -> None:
        self._service(service).send(number)

    def restart(self, service: str) -> None:
        self._service(service).restart()

    def reset(self) -> None:
        """Quiesce all services, side by side; then put the machines' files back, and reset each service as soon as what
        it depends on is.
        """
        depends = {name: it.plan["depends"] for name, it in self._services.items()}
        failures = in_order(dict.fromkeys(depends, ()), lambda name: self._services[name].quiesce())
        if not failures:
            entering.restore_files(self._folder)
            packet_filter.load(self._folder / MACHINES, self._on_router)
            failures = in_order(depends, lambda name: self._services[name].reset())
        if failures:
            raise next(iter(failures.values()))

    def _on_router(self, argv: list[str]) -> tuple[int | None, str]:
        done = self.execute(argv, "root", {}, _MEASURE_S, ROUTER)
        return done["status"], done["stderr"]

    def resident(self) -> dict[str, int]:
        """Memory of each running service, in bytes: what its processes hold, shared pages divided among their users."""
        trees = {name: memory.pids_of(it.pid) for name, it in self._services.items() if it.pid}
        return memory.resident(trees, lambda argv: self._measured(argv)["stdout"])

    def _measured(self, argv: list[str]) -> Outcome:
        return self.children.run(argv, self._account("service"), time_limit_s=_MEASURE_S)

    def end(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def bring_up(self) -> None:
        """Start every service, and learn the versions once none is starting; failures are in `status`."""
        depends = {name: it.plan["depends"] for name, it in self._services.items()}
        in_order(depends, lambda name: self._services[name].bring_up())
        self._learn_versions()
        self._versions_known.set()

    def _learn_versions(self) -> None:
        """Several services are of the same program, which is asked once."""
        known: dict[tuple[str, ...], str] = {}
        for it in self._services.values():
            if argv := tuple(it.plan["version"] or ()):
                if argv not in known:
                    known[argv] = it.first_line(argv)
                it.version = known[argv]

    def end_everything(self) -> None:
        """End every process below this one, and the run's folder."""
        if self._plan["namespace"]:
            # the kernel ends what is left, and the namespace's shared memory, together with this process
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            ended = ending.end(lambda: ending.descendants(os.getpid()), folder.recorded(self._folder))
            ending.remove_segments(ended)
        folder.remove(self._folder)

    def _account(self, name: str) -> Account:
        if name not in (accounts := self._plan["accounts"]):
            raise LabError(f"there is no account {name} here", mend=f"there are {', '.join(accounts)}")
        return accounts[name]

    def _service(self, name: str) -> Service:
        if name not in self._services:
            raise LabError(f"no such service here: {name}", mend=f"there are {', '.join(self._services)}")
        return self._services[name]

    def _record(self, process: ending.Process) -> None:
        if not self._plan["namespace"]:
            folder.record(self._folder, process)


def main(guard: int, runner: int, folder_of_sandbox: str = "", *listeners: str) -> None:
    """Keep one stack until its end; `guard` and `runner` are pidfds of these two, `listeners` descriptors for it."""
    for descriptor in (guard, runner):
        os.set_inheritable(descriptor, False)
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    helper = entering.prepare(folder_of_sandbox, list(map(int, listeners))) if folder_of_sandbox else None
    plan: Plan = json.loads(sys.stdin.buffer.readline() or b"null")
    if not plan:
        return
    if not plan["namespace"]:
        ending.adopt_orphans()
    try:
        network = entering.start(plan["network"], helper) if plan["network"] and helper else Network()
    except LabError as error:
        print(json.dumps({"error": error.message, "mend": error.mend}), flush=True)
        return
    keeper = Keeper(plan, network)
    names = "status describe versions execute hold release signal restart reset resident end"
    operations = {name: getattr(keeper, name) for name in names.split()}
    server = control.listen(folder.control_socket(Path(plan["folder"])))
    threading.Thread(target=control.serve, args=(server, operations), daemon=True).start()
    threading.Thread(target=keeper.bring_up, daemon=True).start()
    print(json.dumps({"namespace": plan["namespace"]}), flush=True)
    _keep(keeper, guard, runner, wake)
    keeper.end_everything()
    # other threads may be waiting for processes that are gone
    os._exit(0)


def _keep(keeper: Keeper, guard: int, runner: int, wake: int) -> None:
    """Reap children until guard, runner or the network is gone, or a signal says so."""
    poll = select.poll()
    for descriptor in (guard, runner, wake):
        poll.register(descriptor, select.POLLIN)
    deadline: float | None = None
    while True:
        events = poll.poll(None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000)
        ready = {descriptor for descriptor, _ in events}
        if wake in ready:
            told = any(number != signal.SIGCHLD for number in os.read(wake, 1024))
            keeper.children.reap()
            if told:
                return
            if keeper.network_lost:
                print("the process that makes the sandbox's network has ended: this is the end", file=sys.stderr)
                return
        if guard in ready or not events:
            return
        if runner in ready:
            # the guard is the thorough one: act only if it does not
            deadline = time.monotonic() + _GUARD_ACTS_WITHIN_S
            poll.unregister(runner)


if __name__ == "__main__":
    main(int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
