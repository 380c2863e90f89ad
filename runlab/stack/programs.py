"""Where the servers' programs are on this machine, under the names that compose.yaml has from their images."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from runlab.setup.programs import PROGRAMS, system_path
from runlab.stack.control import StackError

_NAMES = {program.name: program.binaries for program in PROGRAMS}


def service_path() -> str:
    """PATH of the services: the system's, after the programs of the virtual environment that runs this."""
    return f"{Path(sys.prefix).resolve() / 'bin'}:{system_path()}"


def find(program: str, *, service: str) -> str:
    """The absolute path of `program`. StackError, naming the service that wants it, when it is not installed."""
    if program == "python":
        return str(Path(sys.prefix).resolve() / "bin" / "python")
    for name in (program, *_NAMES.get(program, ())):
        if path := shutil.which(name, path=service_path()):
            return path
    raise StackError(f"service {service}: {program} is not installed", mend="run `make setup`")


def sandbox_lacks() -> dict[str, str]:
    """What a sandbox can't have for want of a program, and why."""
    wanted = {"packet-filter": "iptables", "bandwidth": "tc", "ping": "ping"}
    return {
        capability: f"{program} is not installed; run `make setup`"
        for capability, program in wanted.items()
        if shutil.which(program, path=system_path()) is None
    }
