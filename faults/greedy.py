"""Programs that take more than their share: `python -c SOURCE SETTINGS` on a machine of the stack, until ended.

It imports nothing of the lab, so that its text alone is enough. SETTINGS are JSON: see `hoard`, `serve` and `fetch`.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

RETRY_S = 0.05
CONNECT_S = 1.5
CHUNK = 65536


def hoard(host: str, port: int, count: int, first: int = 0) -> None:
    """Keep `count` connections to `host`, and take another for each that is lost, as a program with a leak does.

    With `first` their own ports are that and the following ones, else the kernel chooses.
    """
    kept: list[socket.socket] = []
    tried = 0
    while True:
        if len(kept) < count:
            connection = socket.socket()
            connection.settimeout(CONNECT_S)
            # once this is ended its ports are free, in place of being kept for a minute more
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                if first:
                    tried += 1
                    connection.bind(("", first + tried % 1000))
                connection.connect((host, port))
                kept.append(connection)
                continue
            except OSError:
                connection.close()
        for lost in select.select(kept, [], [], RETRY_S)[0] if kept else ():
            if _has_ended(lost):
                lost.close()
                kept.remove(lost)
        if not kept:
            time.sleep(RETRY_S)


def _has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(CHUNK)
    except OSError:
        return True


def serve(port: int) -> None:
    """Give whoever connects as much as they take."""
    with socket.create_server(("", port)) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_pour, args=(connection,), daemon=True).start()


def _pour(connection: socket.socket) -> None:
    block = bytes(CHUNK)
    with connection:
        try:
            # a sender that takes what it gets; others, such as BBR, leave room for those who come
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
            while True:
                connection.sendall(block)
        except OSError:
            return


def fetch(host: str, port: int, streams: int) -> None:
    """Read from that server without end, over `streams` connections at once."""
    readers = [threading.Thread(target=_read, args=(host, port)) for _ in range(streams)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()


def _read(host: str, port: int) -> None:
    while True:
        try:
            with socket.create_connection((host, port)) as connection:
                while connection.recv(CHUNK):
                    pass
        except OSError:
            pass
        time.sleep(RETRY_S)


if __name__ == "__main__":
    given: dict[str, Any] = json.loads(sys.argv[1])
    programs: dict[str, Callable[..., None]] = {"hoard": hoard, "serve": serve, "fetch": fetch}
    programs[given.pop("does")](**given)
