"""Where what set-up makes below a checkout really lies: where the services' account can reach it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runlab.model import LabError
from runlab.setup.interpreter import can_switch_accounts, runs_as_account
from runlab.setup.run import say

SHARED_PLACE = Path("/var/cache/runlab")


def place(link: Path, checkout: Path) -> Path:
    """The folder to make for `link`: `link` itself, or one elsewhere to which it is made a link.

    Elsewhere when root's services could not reach it below the checkout, as in a 0700 home. What lay at `link` and
    is in the way is removed.
    """
    if not can_switch_accounts() or runs_as_account(("test", "-x", checkout)):
        if link.is_symlink():
            link.unlink()
        return link
    elsewhere = SHARED_PLACE / f"{hashlib.sha256(str(checkout).encode()).hexdigest()[:12]}-{link.name.lstrip('.')}"
    say(f"services cannot reach {checkout}: {link.relative_to(checkout)} is a link to {elsewhere}")
    elsewhere.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
    link.symlink_to(elsewhere)
    return elsewhere


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One set-up at a time in `folder`, held by a lock on the folder itself, so that no file is left. LabError."""
    if not os.access(folder, os.W_OK):
        mend = "use a checkout of your own, or have its owner run set-up"
        raise LabError("not writable", where=str(folder), mend=mend)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def writable(folder: Path) -> bool:
    """Whether `folder` can be written, or be made."""
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(nearest, os.W_OK)


def new_beside(folder: Path) -> Path:
    """An empty folder beside `folder`, to be renamed to it when it is whole; what a killed set-up left there goes.

    Its name is used once: what a killed set-up started can still be at work in the folder of before.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f"{folder.name}.*.new"):
        shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".new", dir=folder.parent))
    new.chmod(0o755)
    return new
