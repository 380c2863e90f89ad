"""How much memory processes hold: PSS, which counts a page shared by n of them as 1/n; where it is closed to us, RSS.

proc(5): /proc/PID/smaps_rollup is open to the process's own account only, and not at all on kernels before 4.14.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from runlab.stack import ending

_PROC = Path("/proc")
_KIB = 1024


def pids_of(root: int) -> set[int]:
    """`root`, its descendants, and what else is left of the session that it leads."""
    return {root, *ending.session(root), *(it.pid for it in ending.descendants(root))}


def resident(trees: Mapping[str, Collection[int]], run: Callable[[list[str]], str]) -> dict[str, int]:
    """Bytes that each of `trees`' processes hold together. `run` is asked for a command's output, as their account."""
    files = {f"/proc/{pid}/smaps_rollup": pid for pids in trees.values() for pid in pids}
    lines = run(["grep", "-sH", "^Pss:", *files]).splitlines() if files else []
    shares = {files[path]: int(amount.split()[0]) * _KIB for path, _, amount in (line.split(":", 2) for line in lines)}
    return {name: sum(shares.get(pid) or _rss(pid) for pid in pids) for name, pids in trees.items()}


def _rss(pid: int) -> int:
    """0 for a process that has ended meanwhile."""
    with contextlib.suppress(OSError):
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
