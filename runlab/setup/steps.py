"""Set-up from beginning to end."""

from __future__ import annotations

import os
import time
from pathlib import Path

from runlab.setup import environment, packages, uv
from runlab.setup.no_daemons import mend_after_kill
from runlab.setup.run import say


def set_up(checkout: Path) -> None:
    """Make the machine ready: servers by apt, Python packages into .venv. Does nothing, offline too, when it is.

    Without root the servers that are missing are named and the rest is done all the same. Raises LabError.
    """
    started = time.monotonic()
    if os.geteuid() == 0:
        mend_after_kill()
    missing = packages.missing()
    is_ready = environment.ready(checkout)
    wanted = missing
    if not is_ready and not uv.obtainable(checkout):
        wanted = (*missing, uv.PACKAGE_FOR_VENV)
    provided = packages.provide(wanted, checkout)
    if not is_ready:
        environment.make(checkout)
    verdict = "ready" if provided else f"goes on without {' '.join(missing)}"
    say(f"{verdict} ({time.monotonic() - started:.1f} s)")
