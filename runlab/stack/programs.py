"""Where the servers' programs are on this machine, under the names that their container images use."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from runlab.stack.control import StackError

_DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
_SYSTEM = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
_DEBIAN_NAMES = {"alertmanager": "prometheus-alertmanager", "pushgateway": "prometheus-pushgateway"}


def system_path() -> str:
    """PATH of whoever is on the stack: PostgreSQL's newest programs, then the system's."""
    versions = [
        (int(folder.parent.name), str(folder))
        for folder in _DEBIAN_POSTGRES.glob("*/bin")
        if re.fullmatch(r"\d+", folder.parent.name)
    ]
    newest = [max(versions)[1]] if versions else []
    return ":".join([*newest, *_SYSTEM])


def service_path() -> str:
    """PATH of the services: `system_path`, after the programs of the virtual environment that runs this."""
    return f"{Path(sys.prefix).resolve() / 'bin'}:{system_path()}"


def find(program: str, *, service: str) -> str:
    """The absolute path of `program`. StackError, naming the service that wants it, when it is not installed."""
    if program == "python":
        return str(Path(sys.prefix).resolve() / "bin" / "python")
    for name in (program, _DEBIAN_NAMES.get(program, program)):
        if path := shutil.which(name, path=service_path()):
            return path
    raise StackError(f"service {service}: {program} is not installed", mend="run `make setup`")
