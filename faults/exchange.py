"""One exchange with a server, told in numbers: `python -c SOURCE SETTINGS` on the machine of whoever would make it.

It imports nothing of the lab, so that its text alone is enough. SETTINGS and what is printed are JSON: see `Settings`
and `Told`.
"""

from __future__ import annotations

import base64
import errno
import json
import socket
import sys
import time
from typing import TypedDict


class Settings(TypedDict):
    """Send `request` (base64) and read until there are `least` bytes, for at most `limit_s` seconds.

    With `closing` our side is closed then, and the exchange is over once the other side is, too. `select` other than 0:
    the request is in place of that a SELECT of so many bytes, by libpq, with what its PG* variables hold.
    """

    host: str
    port: int
    request: str
    least: int
    limit_s: float
    closing: bool
    select: int


class Told(TypedDict):
    """`end` is "answered", "closed" (before there were enough bytes), "silent" (the time was over) or an errno's name.

    All times are in seconds, None where it did not come to that: `connect_s` until connected, `first_s` from the
    request to the first byte, `seconds` from the request to the end, `close_s` from our closing to the other side's.
    """

    end: str
    bytes: int
    connect_s: float | None
    first_s: float | None
    seconds: float | None
    close_s: float | None


def exchange(settings: Settings) -> Told:
    """Make it. Whatever the network does is told, and nothing raised."""
    told = Told(end="silent", bytes=0, connect_s=None, first_s=None, seconds=None, close_s=None)
    began = time.monotonic()
    try:
        with socket.create_connection((settings["host"], settings["port"]), timeout=settings["limit_s"]) as connection:
            told["connect_s"] = time.monotonic() - began
            if not settings["select"]:
                _ask(connection, settings, told, deadline=began + settings["limit_s"])
        if settings["select"]:
            _select(settings, told)
    except TimeoutError:
        pass
    except OSError as error:
        told["end"] = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return told


def _ask(connection: socket.socket, settings: Settings, told: Told, *, deadline: float) -> None:
    asked = time.monotonic()
    try:
        connection.sendall(base64.b64decode(settings["request"]))
        while told["bytes"] < settings["least"]:
            data = _receive(connection, deadline)
            if not data:
                told["end"] = "closed"
                return
            if told["first_s"] is None:
                told["first_s"] = time.monotonic() - asked
            told["bytes"] += len(data)
    finally:
        told["seconds"] = time.monotonic() - asked
    told["end"] = "answered"
    if settings["closing"]:
        closed = time.monotonic()
        connection.shutdown(socket.SHUT_WR)
        try:
            while _receive(connection, deadline):
                pass
        finally:
            told["close_s"] = time.monotonic() - closed


def _receive(connection: socket.socket, deadline: float) -> bytes:
    connection.settimeout(max(0.001, deadline - time.monotonic()))
    return connection.recv(65536)


def _select(settings: Settings, told: Told) -> None:
    import psycopg  # noqa: PLC0415 -- where only sockets are needed, its 0.2 s are not spent

    limit_s = settings["limit_s"]
    began = asked = time.monotonic()
    timeouts = f"-c statement_timeout={limit_s * 1000:.0f}"
    told["end"] = "closed"
    try:
        with psycopg.connect(
            host=settings["host"], port=settings["port"], connect_timeout=max(2, int(limit_s)), options=timeouts
        ) as connection:
            told["connect_s"], asked = time.monotonic() - began, time.monotonic()
            row = connection.execute("SELECT repeat('x', %s)", (settings["select"],)).fetchone()
            told["seconds"] = time.monotonic() - asked
            told["bytes"], told["end"] = len(row[0]) if row else 0, "answered"
    except psycopg.OperationalError:
        told["seconds"] = time.monotonic() - asked


if __name__ == "__main__":
    print(json.dumps(exchange(json.loads(sys.argv[1]))))
