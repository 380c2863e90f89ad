"""The pinned uv in .tools/, got by whichever pip there is; the user's own Python is not touched."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from runlab.model import LabError
from runlab.setup.interpreter import SYSTEM_PYTHON
from runlab.setup.place import new_beside
from runlab.setup.run import run, say

PIN = Path(__file__).with_name("uv.txt")
PACKAGE_FOR_VENV = "python3-venv"
PIP_SETTINGS = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def pinned() -> str:
    """The version that uv.txt pins."""
    match = re.search(r"^uv==(\S+)", PIN.read_text(), re.MULTILINE)
    if match is None:
        raise LabError("pins no uv", where=str(PIN), mend="restore the file")
    return match[1]


def location(checkout: Path) -> Path:
    """Where the pinned uv lies, or will."""
    return checkout / ".tools" / f"uv-{pinned()}" / "bin" / "uv"


def obtainable(checkout: Path) -> bool:
    """Whether uv is there or can be got without another Debian package."""
    return location(checkout).exists() or _maker() is not None or shutil.which("uv") is not None


def obtain(checkout: Path) -> Path:
    """The pinned uv, downloaded if need be; for want of pip and venv, this machine's own. Raises LabError."""
    uv = location(checkout)
    if uv.exists():
        return uv
    maker = _maker()
    if maker is None:
        own = shutil.which("uv")
        if own is None:
            raise LabError("neither pip, venv nor uv is on this machine", mend=f"install Debian's {PACKAGE_FOR_VENV}")
        say(f"no pip and no venv: using {own} in place of the pinned uv {pinned()}")
        return Path(own)
    python, module = maker
    say(f"installing uv {pinned()} into {uv.parent.parent.relative_to(checkout)}")
    target = uv.parent.parent
    new = new_beside(target)
    mend = "check the network and pip's settings, then run it again"
    try:
        if module == "ensurepip":
            run((python, "-m", "venv", new / "pip"), doing="making a virtual environment for pip", mend=mend)
            python = new / "pip" / "bin" / "python"
        install = (
            "-m",
            "pip",
            "install",
            "--quiet",
            "--retries=1",
            "--require-hashes",
            "--only-binary=:all:",
            "--no-deps",
        )
        run(
            (python, *install, "--no-compile", "--target", new, "-r", PIN),
            doing="installing uv by pip", mend=mend, env=PIP_SETTINGS,
        )  # fmt: skip
        shutil.rmtree(new / "pip", ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return uv


def _maker() -> tuple[Path, str] | None:
    """A Python with pip, else one that can make an environment with pip; (interpreter, "pip" or "ensurepip")."""
    interpreters = [python for python in dict.fromkeys((SYSTEM_PYTHON, Path(sys.executable))) if python.exists()]
    for module in ("pip", "ensurepip"):
        for python in interpreters:
            if subprocess.run((python, "-c", f"import {module}"), capture_output=True, check=False).returncode == 0:
                return python, module
    return None
