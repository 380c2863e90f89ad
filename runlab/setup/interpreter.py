"""Which Python the virtual environment is made with.

Run by root, the lab's services run as an unprivileged account, and a Python below a 0700 home cannot be run by it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from runlab.model import LabError

SYSTEM_PYTHON = Path("/usr/bin/python3")
ACCOUNT = "nobody"
# ensures that the standard library can be read as well, compiled modules included
PROBE = "import sys, json, ssl, sqlite3; sys.exit(sys.version_info < (3, 11))"


@cache
def can_switch_accounts() -> bool:
    """Whether this process can start a command as ACCOUNT: root, in a container that lets it be another account."""
    return os.geteuid() == 0 and runs_as_account(("true",))


def runs_as_account(command: Sequence[str | Path]) -> bool:
    """Whether `command` succeeds as ACCOUNT, which owns nothing and is in no group."""
    try:
        account = pwd.getpwnam(ACCOUNT)
        done = subprocess.run(
            [str(word) for word in command],
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except (KeyError, OSError):
        return False
    return done.returncode == 0


def runs(command: Sequence[str | Path]) -> bool:
    """Whether `command` succeeds as the account that the services will run as: ACCOUNT for root, else one's own."""
    if can_switch_accounts():
        return runs_as_account(command)
    try:
        done = subprocess.run(
            [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def choose() -> Path:
    """The first Python 3.11 or newer that the services' account can run, the system's own preferred.

    Raises LabError naming those that were tried.
    """
    named = (shutil.which(f"python3{minor}") for minor in ("", ".11", ".12", ".13", ".14"))
    found = (SYSTEM_PYTHON, Path(sys.executable), *(Path(path) for path in named if path))
    candidates = [path for path in dict.fromkeys(found) if path.exists()]
    for candidate in candidates:
        if runs((candidate, "-I", "-c", PROBE)):
            return candidate
    raise LabError(
        f"no Python 3.11 or newer that account {ACCOUNT if can_switch_accounts() else os.geteuid()} can run"
        f" (tried {', '.join(map(str, candidates))})",
        mend="install the system's python3, or open the folder that it lies in (chmod o+x)",
    )
