"""Set-up from beginning to end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from runlab.setup import environment, packages, toxiproxy, uv
from runlab.setup.crew import side_by_side
from runlab.setup.no_daemons import mend_after_kill
from runlab.setup.run import say


def set_up(checkout: Path) -> None:
    """Make the machine ready: servers by apt, Python packages into .venv, Toxiproxy. Does nothing when it is ready.

    The three go on side by side. Without root the servers that are missing are named and the rest is done all the
    same. Raises LabError, or an ExceptionGroup of several, when all that could be done was done.
    """
    started = time.monotonic()
    os.umask(0o022)  # the services' account must be able to read what is made
    if os.geteuid() == 0:
        mend_after_kill()
    missing = packages.missing()
    steps: dict[str, Callable[[], object]] = {}
    first: tuple[str, ...] = ()
    pip_can_be_had = threading.Event()
    if not environment.ready(checkout):
        first = () if uv.obtainable(checkout) else (uv.PACKAGE_FOR_VENV,)
        steps["python"] = partial(_make_environment, checkout, pip_can_be_had)
    if first or missing:
        steps["apt"] = partial(_install, first, missing, checkout, pip_can_be_had)
    else:
        pip_can_be_had.set()
    if toxiproxy.wanted(checkout):
        steps["toxiproxy"] = partial(toxiproxy.obtain, checkout)
    side_by_side(steps)
    lacking = " ".join(packages.missing())
    say(f"{f'goes on without {lacking}' if lacking else 'ready'} ({time.monotonic() - started:.1f} s)")


def _install(first: tuple[str, ...], then: tuple[str, ...], checkout: Path, first_is_there: threading.Event) -> None:
    """What the Python environment waits for comes first, in an apt call of its own."""
    try:
        if first and packages.can_install():
            packages.provide(first, checkout)
            first = ()
    finally:
        first_is_there.set()
    packages.provide((*first, *then), checkout)


def _make_environment(checkout: Path, pip_can_be_had: threading.Event) -> None:
    pip_can_be_had.wait()
    environment.make(checkout)
