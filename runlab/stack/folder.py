"""The run's own folder in the temporary directory, and the end of what dead runs left.

The guard holds a lock on the folder as long as it lives. A folder that bears a run's mark, a file with the folder's own
name in it, and has no lock belonged to a dead run; one without the mark is somebody else's, whatever it is called.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from runlab.model import LabError
from runlab.stack import ending

_PREFIX = "runlab-"
_MARK = "run"
_RECORD = "processes"
_NEWBORN_S = 2.0
_SOCKET_PATH_BYTES = 107

Locked = tuple[Path, int]


def create(run_id: str, parent: str) -> Locked:
    """Make and lock a folder for `run_id` in `parent`; the descriptor holds the lock. LabError when it cannot be."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{run_id}-", dir=parent))
        (folder / _MARK).write_text(folder.name)
    except OSError as error:
        raise LabError(f"no run folder in {parent}: {error.strerror}", mend="set TMPDIR to a writable folder") from None
    lock = _lock(folder)
    if lock is None:
        raise LabError(f"somebody else has locked {folder}")
    folder.chmod(0o711)
    if len(os.fsencode(control_socket(folder))) > _SOCKET_PATH_BYTES:
        shutil.rmtree(folder)
        raise LabError(f"{parent} is too long a path for a socket", mend="set TMPDIR to a shorter one")
    return folder, lock


def control_socket(folder: Path) -> Path:
    """Where the keeper of that folder listens."""
    return folder / "control"


def listeners_socket(folder: Path) -> Path:
    """Where the sandbox's network gives listening sockets to who asks."""
    return folder / "listeners"


def mark(folder: Path) -> tuple[str, str]:
    """The name and value of a variable that every process of this run carries in its environment."""
    return "RUNLAB_FOLDER", str(folder)


def record(folder: Path, process: ending.Process) -> None:
    """Note a process that must end with the run, for whoever has to see to it."""
    with (folder / _RECORD).open("a") as file:
        file.write(f"{process.pid} {process.started} {int(process.stop_signal)}\n")


def recorded(folder: Path) -> list[ending.Process]:
    """What `record` noted; a last line cut short by a kill is left out."""
    with contextlib.suppress(OSError):
        lines = (folder / _RECORD).read_text().split("\n")[:-1]
        return [ending.Process(*map(int, line.split())) for line in lines]
    return []


def remove(folder: Path) -> None:
    """Remove the folder, even while its last processes still write to it; the mark last, in case this is cut short."""
    mark = folder / _MARK
    for _ in range(100):
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                elif path != mark:
                    path.unlink()
            if list(folder.iterdir()) in ([], [mark]):
                shutil.rmtree(folder)
        if not folder.exists():
            return
        time.sleep(0.01)


def end_dead_runs(parent: str) -> None:
    """End the processes and remove the folders that dead runs of this account left in `parent`."""
    for folder, lock in _dead(parent):
        end_run(folder)
        os.close(lock)


def end_run(folder: Path) -> None:
    """End every process recorded for `folder`, its descendants, and all that carry its mark or work in it; then remove
    it. What was orphaned and has cleared its environment and left the folder is not found.
    """
    name, value = mark(folder)
    known = recorded(folder)

    def look() -> set[ending.Process]:
        alive = {it for it in known if (now := ending.identify(it.pid)) and now.started == it.started}
        below = set[ending.Process]().union(*(ending.descendants(it.pid) for it in alive))
        return {ending.Process(it.pid, it.started) for it in alive | below | ending.carriers(name, value)}

    ended = ending.end(look, [it for it in known if it.stop_signal != signal.SIGKILL])
    ending.remove_segments(ended | {it.pid for it in known})
    remove(folder)


def _dead(parent: str) -> Iterator[Locked]:
    for folder in Path(parent).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.stat(follow_symlinks=False)
            ours = status.st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink()
            # between its making and its locking a folder looks dead
            newborn = time.time() - status.st_mtime < _NEWBORN_S
            if ours and not newborn and _is_marked(folder) and (lock := _lock(folder)) is not None:
                yield folder, lock


def _is_marked(folder: Path) -> bool:
    """OSError where there is no mark; that of a copied folder has another name in it."""
    return (folder / _MARK).read_text(errors="replace") == folder.name


def _lock(folder: Path) -> int | None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
