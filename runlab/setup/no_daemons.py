"""Install servers without starting or enabling a daemon, and put back every file that this takes.

Debian's maintainer scripts ask /usr/sbin/policy-rc.d before they start anything (invoke-rc.d(8)), and they make the
links that start a service at boot whatever it answers. postgresql-common makes a first cluster unless its
configuration says no (pg_createcluster(1)).
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from runlab.model import LabError
from runlab.setup.programs import PROGRAMS
from runlab.setup.run import run

MARK = "# put here by `runlab setup` while it installs packages"
BOOT = "# started at boot before: "
FORBIDDEN = 101  # policy-rc.d's answer for "action forbidden by policy"
OURS = {"RUNLAB_SETUP": "1"}  # in the environment of our own apt, and so of its maintainer scripts


@dataclass(frozen=True)
class Places:
    """The files of the system that are touched, below `root`."""

    root: Path = Path("/")

    @property
    def policy(self) -> Path:
        return self.root / "usr/sbin/policy-rc.d"

    @property
    def saved_policy(self) -> Path:
        return self.root / "usr/sbin/policy-rc.d.before-runlab-setup"

    @property
    def cluster_setting(self) -> Path:
        return self.root / "etc/postgresql-common/createcluster.d/runlab-setup.conf"

    @property
    def dpkg_lock(self) -> Path:
        return self.root / "var/lib/dpkg/lock-frontend"

    def boot_links(self) -> frozenset[Path]:
        """Every link that starts something at boot: systemd's wants and requires, System V's S links."""
        wants = (self.root / "etc/systemd/system").glob("*.[wr]*s/*")
        starts = (self.root / "etc").glob("rc[2345S].d/S[0-9][0-9]*")
        return frozenset((*wants, *starts))


@contextmanager
def no_daemons(places: Places = Places()) -> Iterator[dict[str, str]]:
    """While inside, packages are installed without a daemon being started, and on leaving nothing new starts at boot.

    Gives the environment that apt must be run with. Everything is put back however the block is left. One process at
    a time: others wait. Raises LabError when the policy cannot be put in place.
    """
    mend_after_kill(places)
    with ExitStack() as undo:
        undo.enter_context(_alone(places.policy.parent))
        undo.callback(_put_back, places)
        before = places.boot_links()
        undo.callback(lambda: _disable(places.boot_links() - before, places))
        _forbid_starts(before, places)
        undo.enter_context(_no_first_cluster(places.cluster_setting))
        yield OURS


def mend_after_kill(places: Places = Places()) -> None:
    """Undo what a set-up that was killed outright left behind, once its apt has ended. Needs root; mostly a no-op.

    Only services of the lab's own packages are disabled then: since the kill somebody may have enabled others.
    """
    if not (os.path.lexists(places.saved_policy) or places.cluster_setting.exists() or _is_ours(places.policy)):
        return
    with _alone(places.policy.parent):
        with places.dpkg_lock.open("w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
        if _is_ours(places.policy):
            lines = places.policy.read_text().splitlines()
            before = {Path(line.removeprefix(BOOT)) for line in lines if line.startswith(BOOT)}
            names = {program.package for program in PROGRAMS}
            _disable((link for link in places.boot_links() - before if _service(link) in names), places)
        _put_back(places)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LabError(str(error.strerror), where=str(folder)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _forbid_starts(before: Iterable[Path], places: Places) -> None:
    """Deny our own apt only: another apt, or a policy left behind by kill -9, must change nothing for others."""
    saved = places.saved_policy
    script = (
        f'#!/bin/sh\n{MARK}\n[ -n "$RUNLAB_SETUP" ] && exit {FORBIDDEN}\n[ -x {saved} ] && exec {saved} "$@"\nexit 0\n'
    ) + "".join(f"{BOOT}{link}\n" for link in sorted(before))
    new = places.policy.with_suffix(".d.new")
    try:
        new.write_text(script)
        new.chmod(0o755)
        if os.path.lexists(places.policy):
            places.policy.rename(saved)
        new.rename(places.policy)
    except OSError as error:
        new.unlink(missing_ok=True)
        mend = "nothing was installed: daemons could not be kept from starting"
        raise LabError(str(error.strerror), where=str(places.policy), mend=mend) from error


def _is_ours(policy: Path) -> bool:
    return policy.is_file() and MARK in policy.read_text(errors="replace")


def _put_back(places: Places) -> None:
    places.cluster_setting.unlink(missing_ok=True)
    if os.path.lexists(places.saved_policy):
        places.saved_policy.replace(places.policy)
    elif _is_ours(places.policy):
        places.policy.unlink()


@contextmanager
def _no_first_cluster(setting: Path) -> Iterator[None]:
    made = [folder for folder in (setting.parent, setting.parent.parent) if not folder.exists()]
    setting.parent.mkdir(parents=True, exist_ok=True)
    setting.write_text(f"{MARK}\ncreate_main_cluster = false\n")
    try:
        yield
    finally:
        setting.unlink(missing_ok=True)
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()


def _service(link: Path) -> str:
    """The service that a boot link starts: `S01name` or `name.service`."""
    return re.sub(r"^S\d\d", "", link.name).removesuffix(".service")


def _disable(links: Iterable[Path], places: Places) -> None:
    """Take `links` away. update-rc.d leaves K links in place of the S links, which later upgrades respect."""
    links = tuple(links)
    for script in sorted({_service(link) for link in links if link.parent.parent == places.root / "etc"}):
        command = ("update-rc.d", script, "disable")
        run(command, doing=f"disabling {script}", mend=f"run: {' '.join(command)}", undoes=True)
    for link in links:
        link.unlink(missing_ok=True)
