"""The sandbox's machines as those see them who change them: commands of its root, and the router between all."""

from __future__ import annotations

import ipaddress
import re

from runlab.model import CommandResult, LabError, Stack
from runlab.stack.plan import ROUTER

_ADDRESS = re.compile(r"\s(\d+\.\d+\.\d+\.\d+/\d+)")


def run(stack: Stack, machine: str, *argv: str) -> CommandResult:
    """Run a command as the sandbox's root on that machine. LabError, in its last words, when it fails."""
    done = stack.execute(argv, account="root", on=machine)
    if done.status != 0:
        raise LabError(f"{argv[0]} on {machine}: {last_words(done)}")
    return done


def interface(stack: Stack, machine: str) -> ipaddress.IPv4Interface:
    """The router's own address on the side of `machine`, with the machine's subnet. LabError: there is none such."""
    told = stack.execute(["ip", "-4", "-brief", "address", "show", "dev", machine], account="root", on=ROUTER)
    found = _ADDRESS.search(told.stdout)
    if told.status != 0 or found is None:
        raise LabError(f"the router knows no machine {machine!r}: {last_words(told)}", mend="see `network` in compose")
    return ipaddress.IPv4Interface(found[1])


def last_words(command: CommandResult) -> str:
    """The last line that a command complained by; its status where it said nothing."""
    return next(reversed(command.stderr.strip().splitlines()), f"status {command.status}")
