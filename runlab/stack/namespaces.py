"""Which namespaces the kernel allows here, and the commands that enter them. Nothing here changes the machine.

Standard library only: the guard uses it, which starts in some 50 ms.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

Capability = Literal["sandbox", "packet-filter", "route", "port-range", "bandwidth", "ping"]
SANDBOX_CAPABILITIES: tuple[str, ...] = get_args(Capability)
"""What faults and services may count on in the sandbox, and nowhere else."""

_PID = ("--pid", "--ipc", "--fork", "--kill-child")
_NET = ("--net", "--mount")
_AS_USER = ("--user", "--map-current-user", "--keep-caps")
_MOUNT_PROC = 'mount --make-rprivate /proc && mount -t proc proc /proc && exec "$@"'
# in a chroot unshare can't make everything private, since / is no mount there; /proc alone is enough
_OWN_PROC = ("--mount", "--propagation", "unchanged", "--", "sh", "-c", _MOUNT_PROC, "sh")
_OWN_FILES = ("/etc/resolv.conf", "/etc/hosts")
_PROBE_S = 5.0
# what a sandbox does: settings of its own network, mounts of its own, and a mount namespace that is entered again,
# where one stands before and after on the same folder
_PROBE = """
effective=$((0x$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)))
for capability in 12:NET_ADMIN 18:SYS_CHROOT 21:SYS_ADMIN; do
    test $((effective >> ${capability%:*} & 1)) = 1 || { echo "CAP_${capability#*:} is missing" >&2; exit 1; }
done
forward=/proc/sys/net/ipv4/ip_forward
{ echo 1 > $forward; } 2> /dev/null || { mount -o remount,bind,rw /proc/sys && echo 1 > $forward; }
mount -t tmpfs -o size=64k runlab /run
test "$(nsenter --net=/proc/self/ns/net --mount=/proc/self/ns/mnt -- stat -c %d:%i "$1")" = "$(stat -c %d:%i "$1")" ||
    { echo "a process that enters a mount namespace leaves the chroot" >&2; exit 1; }
"""


def process_command() -> list[str] | None:
    """The command that makes a PID and an IPC namespace with a /proc of its own; None where none is to be had.

    Without its own /proc a process does not find itself there, and Locust, for one, does not start.
    """
    for proc in (("--mount-proc", "--"), _OWN_PROC):
        command = ["unshare", *_PID, *_user(), *proc]
        if _try([*command, "true"]) is None:
            return command
    return None


def sandbox_command(*, pid_namespace: bool = True) -> tuple[list[str], str | None]:
    """The command that makes network and mount namespaces, with a PID namespace where one can be had besides.

    The second is why it would fail, in one line, and None where it does not. Takes some 20 ms.
    """
    command: list[str] = []
    obstacle = _missing()
    for more in (((*_PID, "--mount-proc"), ()) if pid_namespace else ((),)) if obstacle is None else ():
        command = ["unshare", *_NET, *more, *_user(), "--"]
        obstacle = _try([*command, "sh", "-ec", _PROBE, "sh", str(Path(__file__).parent)])
        if obstacle is None:
            break
    return command, f"no network namespaces: {obstacle}" if obstacle else None


def sandbox_obstacle() -> str | None:
    """Why there can be no network of one's own here, in one line; None where there can. Takes some 20 ms."""
    return sandbox_command()[1]


def has_pid_namespace(command: Sequence[str]) -> bool:
    """Whether what runs under `command` is in a PID namespace, and ends with its first process."""
    return "--pid" in command


def _missing() -> str | None:
    if sys.platform != "linux":
        return "this is not Linux"
    absent = [path for path in _OWN_FILES if not os.path.lexists(path)]
    return f"there is no {absent[0]}, in whose place each host's own would be" if absent else None


def _user() -> tuple[str, ...]:
    return () if os.geteuid() == 0 else _AS_USER


def _try(command: Sequence[str]) -> str | None:
    """None when the command succeeds, else its last words."""
    try:
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROBE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"{command[0]} failed with status {done.returncode}"
