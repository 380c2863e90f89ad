"""Who is connected to whom, as the kernel of the stack's host has it: proc(5), /proc/net/tcp."""

from __future__ import annotations

import socket
import struct

from runlab.model import LabError, Stack

Address = tuple[str, int]

_TABLE = "/proc/net/tcp"
_ESTABLISHED = "01"


def established(stack: Stack) -> set[tuple[Address, Address]]:
    """(own end, other end) of every socket whose connection both of its ends still keep up.

    A socket whose process has ended is not among them, and neither is the other end of such a connection.
    """
    read = stack.execute(("cat", _TABLE), account="service")
    if read.status != 0:
        raise LabError(f"{_TABLE} cannot be read: {read.stderr.strip()}")
    rows = (line.split() for line in read.stdout.splitlines()[1:])
    return {(_address(own), _address(other)) for _, own, other, state, *_ in rows if state == _ESTABLISHED}


def _address(text: str) -> Address:
    """`0100007F:1538` is 127.0.0.1:5432: the address as this machine keeps a number, the port as people write it."""
    host, _, port = text.partition(":")
    return socket.inet_ntoa(struct.pack("=I", int(host, 16))), int(port, 16)
