"""What this machine has of what the lab can use: every server, tool and capability, and how to get what is missing."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runlab.setup import environment, programs, toxiproxy
from runlab.setup.distribution import package_name
from runlab.setup.interpreter import ACCOUNT, can_switch_accounts
from runlab.setup.programs import PROGRAMS, Program
from runlab.stack.namespaces import sandbox_obstacle

NEEDED_MIB = 512  # a run's clusters, logs and reports; 120 MiB were seen
APPARMOR_PROFILES = Path("/sys/kernel/security/apparmor/profiles")
USER_NAMESPACES_RESTRICTED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")  # Ubuntu 23.10 and newer
PID_NAMESPACE = ("unshare", "--pid", "--mount", "--propagation", "unchanged", "--fork", "--kill-child")
AS_USER = ("--user", "--map-current-user", "--keep-caps")
# unshare's own --mount-proc fails in a chroot; the mount that lies at /proc is made private first, so that the new one
# is seen in the namespace alone
OWN_PROC = "mount --make-rprivate /proc && mount -t proc proc /proc"

VERSION_OPTIONS: Mapping[str, str] = {"tc": "-V", "ping": "-V", "dig": "-v"}


@dataclass(frozen=True)
class Row:
    """One thing that the lab can use. `detail` is its version and place, or why not; `mend` how to get it."""

    name: str
    kind: Literal["server", "tool", "capability"]
    present: bool
    detail: str
    mend: str = ""
    needed: bool = False  # without it nothing can be run


def examine(checkout: Path) -> tuple[Row, ...]:
    """Look at this machine; takes about half a second and changes nothing."""
    return (
        *(_program(program) for program in PROGRAMS),
        _git(),
        # where the wheel was installed, its packages are for others to set up
        *((_environment(checkout),) if (checkout / "requirements.lock").exists() else ()),
        _squawk(checkout),
        _toxiproxy(),
        _confinement(),
        _pid_namespace(),
        _sandbox(),
        _accounts(),
        _loopback(),
        _temporary_folder(),
    )


def as_text(rows: Iterable[Row]) -> str:
    """The rows as plain columns, one line each."""
    rows = tuple(rows)
    cells = [(row.name, row.kind, "yes" if row.present else "NO", row.detail, row.mend) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = []
    for name, kind, present, detail, mend in cells:
        start = f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {present:<{widths[2]}}  {detail}"
        lines.append(f"{start}; {mend}" if mend else start)
    return "\n".join(lines)


def _program(program: Program) -> Row:
    path = program.find()
    needed = program.kind == "server" and not program.optional
    if path is None:
        if program.package is None:
            mend = toxiproxy.mend()
        else:
            mend = f"apt-get install --no-install-recommends {package_name(program.package)}"
        return Row(program.name, program.kind, False, f"not found; {program.purpose}", mend, needed)
    detail = f"{_version(path)} ({path})" if program.tells_version else f"({path})"
    return Row(program.name, program.kind, True, detail, needed=needed)


def _toxiproxy() -> Row:
    what = "toxiproxy"
    if programs.find(toxiproxy.BINARY) is not None:
        return Row(what, "capability", True, "connections to the databases can be slowed and cut")
    return Row(
        what, "capability", False, "without it they go directly, and faults on them are untested", toxiproxy.mend()
    )


def _squawk(checkout: Path) -> Row:
    path = checkout / ".venv" / "bin" / "squawk"
    if not path.exists():
        return Row("squawk", "tool", False, "not found; lints migrations in the pipeline", "make setup")
    return Row("squawk", "tool", True, f"{_version(path)} ({path})")


def _confinement() -> Row:
    """An AppArmor profile for a server names the folders of the system's own service, which a run's are not."""
    what = "unconfined-servers"
    try:
        profiles = re.findall(r"^(\S+) \((?:enforce|kill)\)$", APPARMOR_PROFILES.read_text(), re.MULTILINE)
    except FileNotFoundError:
        return Row(what, "capability", True, "no AppArmor here")
    except OSError as error:
        return Row(what, "capability", False, f"unknown: {APPARMOR_PROFILES}: {error.strerror}", "look as root")
    found = {str(path): program.name for program in PROGRAMS if (path := program.find())}
    confined = sorted(path for path, name in found.items() if {path, name, Path(path).name} & set(profiles))
    if not confined:
        return Row(what, "capability", True, "AppArmor enforces no profile of the lab's programs")
    detail = f"AppArmor keeps {', '.join(confined)} to the system's own folders"
    return Row(what, "capability", False, detail, f"aa-complain {' '.join(confined)} (package apparmor-utils)")


def _git() -> Row:
    path = shutil.which("git")
    if path is None:
        return Row("git", "tool", False, "not found; names the commit in a report", "apt-get install git")
    return Row("git", "tool", True, f"{_version(Path(path))} ({path})")


def _version(program: Path) -> str:
    _, output = _try((program, VERSION_OPTIONS.get(program.name, "--version")))
    # MariaDB's clients name their own version first, then that of the distribution which they belong to; that of
    # iputils is a date
    match = re.search(r"(?:Distrib|iputils) (\d\S+)", output) or re.search(r"(\d+(?:\.\d+)+\S*)", output)
    return match[1].rstrip(",") if match else "version unknown"


def _environment(checkout: Path) -> Row:
    if environment.ready(checkout):
        return Row("python packages", "tool", True, "as requirements.lock says (.venv)")
    return Row("python packages", "tool", False, ".venv is missing, broken or out of date", "make setup")


def _pid_namespace() -> Row:
    """Good only with a /proc of its own: without, programs that look themselves up there fail (psutil, so Locust)."""
    what = "pid-namespace"
    command = PID_NAMESPACE if os.geteuid() == 0 else (*PID_NAMESPACE, *AS_USER)
    status, output = _try((*command, "sh", "-c", OWN_PROC))
    if status == 0:
        return Row(what, "capability", True, "the kernel ends whatever a run started")
    mend = _allow_namespaces("without them a keeper and a guard end what a run started")
    return Row(what, "capability", False, (output.strip().splitlines() or ["unshare failed"])[0], mend)


def _sandbox() -> Row:
    """A network of a run's own, with hosts, routes, resolvers and packet filters."""
    what = "sandbox"
    obstacle = sandbox_obstacle()
    if obstacle is None:
        return Row(what, "capability", True, "hosts, routes, resolvers and packet filters of a run's own")
    return Row(what, "capability", False, obstacle, _allow_namespaces("without them all services share one host"))


def _allow_namespaces(without: str) -> str:
    if USER_NAMESPACES_RESTRICTED.exists() and USER_NAMESPACES_RESTRICTED.read_text().strip() == "1":
        return f"run as root, or: sysctl -w kernel.{USER_NAMESPACES_RESTRICTED.name}=0"
    return f"allow namespaces (in a container: CAP_SYS_ADMIN); {without}"


def _accounts() -> Row:
    what = "switch-accounts"
    if can_switch_accounts():
        return Row(what, "capability", True, f"services run as {ACCOUNT}")
    why = "root, but it cannot become another account" if os.geteuid() == 0 else f"uid {os.geteuid()}; all runs as it"
    return Row(what, "capability", False, why, "run as root")


def _loopback() -> Row:
    address = f"127.{20 + os.getpid() % 200}.{os.getpid() // 200 % 256}.7"
    try:
        with socket.socket() as listener:
            listener.bind((address, 0))
    except OSError as error:
        return Row("loopback-block", "capability", False, f"{address}: {error.strerror}", "bring up 127.0.0.0/8 on lo")
    return Row("loopback-block", "capability", True, f"127.0.0.0/8 (tried {address})")


def _temporary_folder() -> Row:
    what = "temporary-folder"
    try:
        with tempfile.TemporaryDirectory(prefix="runlab-doctor-") as folder:
            free_mib = shutil.disk_usage(folder).free // 2**20
    except OSError as error:
        return Row(what, "capability", False, str(error), "set TMPDIR to a folder that can be written")
    detail = f"{tempfile.gettempdir()}, {free_mib} MiB free"
    if free_mib < NEEDED_MIB:
        return Row(what, "capability", False, f"{detail}; {NEEDED_MIB} are needed", "free some, or set TMPDIR")
    return Row(what, "capability", True, detail)


def _try(command: Sequence[str | Path]) -> tuple[int, str]:
    """Status and output; a program that is missing or hangs for 5 s failed."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout
