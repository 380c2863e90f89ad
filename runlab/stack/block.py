"""A /24 of the loopback network, 127.x.y.0, for one run alone.

The lock is an abstract Unix socket: its name has the scope of the network namespace, as loopback has, and it frees
itself when its holder ends (unix(7)).
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from itertools import product

from runlab.model import LabError

# 127.0.0.0/16 holds localhost and Debian's 127.0.1.1; 127.0.0.53 and the like are resolvers.
_BLOCKS = [f"127.{x}.{y}" for x, y in product(range(16, 240), range(1, 255))]
_TRIES = 40
_BACKLOG = 128


def take(run_id: str, hosts: Mapping[str, Sequence[int]]) -> tuple[socket.socket, dict[str, str]]:
    """Lock a block in which all of `hosts`' ports are free; the lock holds until the returned socket is closed.

    Each host gets an address of its own, the same number in every block. The order of trial is drawn from the run's
    id. LabError, naming the last obstacle, when no block is free.
    """
    obstacle = ""
    for block in random.Random(run_id).sample(_BLOCKS, _TRIES):
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0runlab:{block}")
        except OSError:
            lock.close()
            obstacle = f"{block}.0 is held by another run"
            continue
        addresses = {name: f"{block}.{number}" for number, name in enumerate(hosts, 2)}
        busy = [(name, port) for name, ports in hosts.items() for port in ports if not _free(addresses[name], port)]
        if not busy:
            return lock, addresses
        lock.close()
        name, port = busy[0]
        obstacle = f"port {port}, needed by {name}, is occupied on {addresses[name]}"
    raise LabError(
        f"no free loopback block in {_TRIES} tries: {obstacle}",
        mend="stop what listens there; a server on 0.0.0.0 occupies its port in every block",
    )


def listen(addresses: Mapping[str, str], hosts: Mapping[str, Sequence[int]]) -> dict[str, socket.socket]:
    """Listen on each port of each host, by "host:port". OSError when somebody else does by now."""
    return {
        f"{name}:{port}": socket.create_server((addresses[name], port), backlog=_BACKLOG)
        for name, ports in hosts.items()
        for port in ports
    }


def _free(address: str, port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError:
            return False
    return True
