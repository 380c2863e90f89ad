"""What this machine has of what the lab can use: every server, tool and capability, and how to get what is missing."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runlab.setup import environment
from runlab.setup.interpreter import ACCOUNT, can_switch_accounts
from runlab.setup.programs import PROGRAMS, Program

NEEDED_MIB = 512  # a run's clusters, logs and reports; 120 MiB were seen
PID_NAMESPACE = ("unshare", "--pid", "--mount", "--propagation", "unchanged", "--fork", "--kill-child")
AS_USER = ("--user", "--map-current-user", "--keep-caps")
# unshare's own --mount-proc fails in a chroot; the mount that lies at /proc is made private first, so that the new one
# is seen in the namespace alone
OWN_PROC = "mount --make-rprivate /proc && mount -t proc proc /proc"


@dataclass(frozen=True)
class Row:
    """One thing that the lab can use. `detail` is its version and place, or why not; `mend` how to get it."""

    name: str
    kind: Literal["server", "tool", "capability"]
    present: bool
    detail: str
    mend: str = ""


def examine(checkout: Path) -> tuple[Row, ...]:
    """Look at this machine; takes about half a second and changes nothing."""
    return (
        *(_program(program) for program in PROGRAMS),
        _git(),
        _environment(checkout),
        _pid_namespace(),
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
    if path is None:
        mend = f"apt-get install --no-install-recommends {program.package}"
        return Row(program.name, program.kind, False, f"not found; {program.purpose}", mend)
    return Row(program.name, program.kind, True, f"{_version(path)} ({path})")


def _git() -> Row:
    path = shutil.which("git")
    if path is None:
        return Row("git", "tool", False, "not found; names the commit in a report", "apt-get install git")
    return Row("git", "tool", True, f"{_version(Path(path))} ({path})")


def _version(program: Path) -> str:
    _, output = _try((program, "--version"))
    match = re.search(r"\d+(\.\d+)+\S*", output)
    return match[0].rstrip(",") if match else "version unknown"


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
    mend = "allow namespaces (in a container: CAP_SYS_ADMIN); without them a keeper and a guard end what a run started"
    return Row(what, "capability", False, (output.strip().splitlines() or ["unshare failed"])[0], mend)


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
