"""The rules that the sandbox's router has by rights (`x-lab.filter`): loaded at the start, and again by a reset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from runlab.model import LabError
from runlab.stack.plan import ROUTER

_NAME = "filter.rules"
_PATH = f"/usr/sbin:/sbin:{os.defpath}"


def write(rules: Sequence[str], machines: Path) -> None:
    """Write the rules down in the router's folder, as iptables-restore(8) reads them."""
    text = "\n".join(("*filter", *(f"-A FORWARD {rule}" for rule in rules), "COMMIT", ""))
    (machines / ROUTER / _NAME).write_text(text)


def load(machines: Path, run: Callable[[list[str]], tuple[int | None, str]]) -> None:
    """Let the router have the rules that were written down, and no others. LabError, with iptables' words, for one that
    it refuses.

    `run` runs a command on the router and tells its status and what it said of errors. Without iptables there is no
    packet filter, which is what the capability of that name says; without a sandbox there is no router.
    """
    program = shutil.which("iptables-restore", path=_PATH)
    file = machines / ROUTER / _NAME
    if program is None or not file.exists():
        return
    status, said = run([program, "--wait=5", str(file)])
    if status != 0:
        words = said.strip().splitlines() or [f"iptables-restore ended with {status}"]
        raise LabError(f"x-lab.filter: {words[0]}", mend="see iptables-extensions(8)")
