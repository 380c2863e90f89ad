"""The command line of set-up: `python3 -m runlab.setup [setup | doctor | system PACKAGE...]`."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from runlab.model import LabError
from runlab.setup import doctor, packages
from runlab.setup.programs import CHECKOUT
from runlab.setup.run import say
from runlab.setup.steps import set_up

__all__ = ["CHECKOUT", "main"]


def main(arguments: list[str] | None = None) -> int:
    """Carry out one command and return its exit status: 2 for an error, told in one line on standard error."""
    parser = argparse.ArgumentParser(prog="runlab setup", description="Make this machine ready for the lab.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("setup", help="install what is missing (the default); the second time it does nothing")
    commands.add_parser("doctor", help="show each server, tool and capability: there or not, why, how to get it")
    system = commands.add_parser("system", help="install Debian packages without starting or enabling a daemon (root)")
    system.add_argument("package", nargs="*", help="what to install; none: whatever the lab misses")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    status = 0
    try:
        if options.command == "doctor":
            rows = doctor.examine(CHECKOUT)
            print(doctor.as_text(rows))
            status = 0 if all(row.present for row in rows if row.needed) else 1
        elif options.command == "system":
            packages.install(tuple(options.package) or packages.missing())
        else:
            set_up(CHECKOUT)
    except* LabError as errors:
        for error in errors.exceptions:
            print(f"setup: {error}", file=sys.stderr)
        status = 2
    except* KeyboardInterrupt:
        say("interrupted; what was begun is put back, the next set-up goes on from here")
        status = 130
    return status


def _leave(number: int, _frame: FrameType | None) -> None:
    """Turn a signal into an exception, so that everything put in place is put back on the way out."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
