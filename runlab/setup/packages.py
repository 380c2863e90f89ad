"""Debian packages: which are missing, and one apt call that installs them and nothing else.

Source: apt-get(8), and the Debian policy's section 9.3.3 for how maintainer scripts start daemons.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from runlab.model import LabError
from runlab.setup.distribution import package_name
from runlab.setup.no_daemons import no_daemons
from runlab.setup.programs import PROGRAMS
from runlab.setup.run import run, say

QUIET = {
    "DEBIAN_FRONTEND": "noninteractive",
    "LC_ALL": "C",
    "NEEDRESTART_SUSPEND": "1",  # else its hook restarts services that were running before
}
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")
INSTALL = (*APT, "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "install")


def missing() -> tuple[str, ...]:
    """The packages that bring the programs not found on this machine, each once, by their names here."""
    packages = (program.package for program in PROGRAMS if program.package and program.find() is None)
    return tuple(dict.fromkeys(package_name(package) for package in packages))


def apt_command(packages: tuple[str, ...]) -> str:
    """The one command that an administrator can be handed."""
    return f"sudo apt-get install -y --no-install-recommends {' '.join(packages)}"


def can_install() -> bool:
    """Whether `provide` can install here, rather than say what an administrator would have to do."""
    return shutil.which("apt-get") is not None and (os.geteuid() == 0 or _sudo_asks_no_password())


def provide(packages: tuple[str, ...], checkout: Path) -> bool:
    """Install `packages` as root or through sudo, or say what an administrator would have to run; tells which it was.

    Raises LabError when apt fails.
    """
    if not packages:
        return True
    if shutil.which("apt-get") is None:
        say(f"missing: {' '.join(packages)} (Debian's names); there is no apt-get here, get them by other means")
    elif os.geteuid() == 0:
        install(packages)
        return True
    elif _sudo_asks_no_password():
        say(f"not root: installing through sudo: {' '.join(packages)}")
        # -B: root must leave no .pyc of its own in the user's checkout
        command = ("sudo", "-n", sys.executable, "-B", "-m", "runlab.setup", "system", *packages)
        said = run(
            command,
            doing="the installation through sudo",
            mend=f"run: {apt_command(packages)}",
            cwd=checkout,
            alone=True,
        )
        for line in said.splitlines():
            say(line.removeprefix("setup: "))
        return True
    else:
        say(f"missing, and this account is not root. An administrator runs:\n  {apt_command(packages)}")
        say(f"the same without starting its daemons: sudo {sys.executable} -m runlab.setup system")
    return False


def install(packages: tuple[str, ...]) -> None:
    """Install `packages` by one apt call, as root. No daemon is started or enabled. Raises LabError."""
    if not packages:
        return
    if os.geteuid() != 0:
        raise LabError("installing packages needs root", mend=f"run: {apt_command(packages)}")
    updated = False
    mend = "check the network and apt's sources, then run it again"
    try:
        plan = run((*INSTALL, "--simulate", *packages), doing="planning", mend=mend, env=QUIET)
    except LabError:
        _update(mend)
        updated = True
        plan = run((*INSTALL, "--simulate", *packages), doing="apt-get install", mend=mend, env=QUIET)
    count = sum(line.startswith("Inst ") for line in plan.splitlines())
    say(f"installing by apt: {' '.join(packages)} ({count} packages with what they depend on; no daemon is started)")
    with no_daemons() as ours:
        try:
            run((*INSTALL, *packages), doing="apt-get install", mend=mend, env=QUIET | ours, alone=True)
        except LabError:
            if updated:
                raise
            _update(mend)  # the lists can name versions that the archive no longer holds
            run((*INSTALL, *packages), doing="apt-get install", mend=mend, env=QUIET | ours, alone=True)


def _update(mend: str) -> None:
    say("apt-get update (the lists here lack something)")
    run((*APT, "-o", "APT::Update::Error-Mode=any", "update"), doing="apt-get update", mend=mend, env=QUIET)


def _sudo_asks_no_password() -> bool:
    if shutil.which("sudo") is None:
        return False
    try:
        run(("sudo", "-n", "true"), doing="sudo", mend="")
    except LabError:
        return False
    return True
