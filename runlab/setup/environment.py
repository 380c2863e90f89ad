"""The virtual environment in .venv: exactly what requirements.lock says, and the checkout itself, editable."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from runlab.model import LabError
from runlab.setup import uv
from runlab.setup.interpreter import choose, runs
from runlab.setup.place import alone, place, writable
from runlab.setup.run import run, say

STAMP = "runlab-setup.json"
# uv takes no interpreter but the one it is given, and trusts the certificates that this machine trusts
UV_SETTINGS = {"UV_PYTHON_DOWNLOADS": "never", "UV_NATIVE_TLS": "1", "UV_NO_PROGRESS": "1", "VIRTUAL_ENV": ""}


def ready(checkout: Path) -> bool:
    """Whether .venv is whole and made from this very lock and pyproject.toml, for this checkout. Changes nothing."""
    venv = (checkout / ".venv").resolve()  # the services' account may reach it only by its real path
    return _read_stamp(venv) == _stamp(checkout, venv) and _alive(venv) and not missing_files(venv)


def make(checkout: Path) -> None:
    """Make .venv, or mend it; returns at once when another process has just done so. Raises LabError."""
    with alone(checkout):
        if ready(checkout):
            return
        installer = uv.obtain(checkout)
        venv = place(checkout / ".venv", checkout)
        before = _read_stamp(venv)
        (venv / STAMP).unlink(missing_ok=True)
        if not (_alive(venv) and _made_here(venv)):
            _create(installer, checkout, venv)
            before = {}
        lock = checkout / "requirements.lock"
        if before.get("lock") != _digest(lock) or missing_files(venv):
            _install_packages(installer, lock, venv)
        say("installing the checkout itself, editable")
        command = ("--no-deps", "--no-build-isolation", "--reinstall", "--editable", checkout)
        _uv((installer, "pip", "install", "--python", _python(venv), *command), "installing the checkout")
        (venv / STAMP).write_text(json.dumps(_stamp(checkout, venv), indent=1) + "\n")


def _create(installer: Path, checkout: Path, venv: Path) -> None:
    python = choose()
    say(f"making {checkout / '.venv'} with {python}")
    if venv.exists():
        shutil.rmtree(venv)
    _uv((installer, "venv", "--no-project", "--python", python, venv), "making .venv")


def _install_packages(installer: Path, lock: Path, venv: Path) -> None:
    say(f"installing {_pins(lock)} Python packages from {lock.name}")
    command = (installer, "pip", "sync", "--python", _python(venv), "--require-hashes", "--compile-bytecode", lock)
    _uv(command, "installing the Python packages")
    if missing_files(venv):  # a package whose metadata are whole counts as installed for uv
        _uv((*command, "--reinstall"), "mending the Python packages")


def _uv(command: tuple[str | Path, ...], doing: str) -> None:
    mend = "check the network and uv's settings, then run it again"
    run((*command, "--quiet"), doing=doing, mend=mend, env=UV_SETTINGS | _uv_cache())


def _uv_cache() -> dict[str, str]:
    """Accounts without a home that can be written, as in many containers, do without uv's cache."""
    folder = Path(os.environ.get("UV_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache" / "uv")
    return {} if writable(folder) else {"UV_NO_CACHE": "1"}


def _python(venv: Path) -> Path:
    return venv / "bin" / "python"


def missing_files(venv: Path) -> list[Path]:
    """Files that installed packages recorded and that are gone (PEP 376's RECORD); compiled ones don't count."""
    missing = []
    for record in venv.glob("lib/python3*/site-packages/*.dist-info/RECORD"):
        site = record.parent.parent
        for line in record.read_text().splitlines():
            name = line.rsplit(",", 2)[0].strip('"')
            if not name.endswith(".pyc") and not os.path.lexists(site / name):
                missing.append(site / name)
    return missing


def _read_stamp(venv: Path) -> dict[str, str]:
    try:
        stamp = json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _stamp(checkout: Path, venv: Path) -> dict[str, str]:
    return {
        "lock": _digest(checkout / "requirements.lock"),
        "project": _digest(checkout / "pyproject.toml"),
        "checkout": str(checkout),  # scripts and the editable installation hold its path
        "python": os.path.realpath(_python(venv)),
    }


def _pins(lock: Path) -> int:
    return sum(1 for line in lock.read_text().splitlines() if re.match(r"\S+==", line))


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise LabError(str(error.strerror), where=str(file), mend="set-up runs from a whole checkout") from error


def _alive(venv: Path) -> bool:
    return runs((_python(venv), "-I", "-c", "import sys; sys.exit(sys.prefix == sys.base_prefix)"))


def _made_here(venv: Path) -> bool:
    """Whether it was not copied along with a checkout: its scripts would start the original's Python."""
    try:
        return str(venv) in (venv / "bin" / "activate").read_text()
    except OSError:
        return False
