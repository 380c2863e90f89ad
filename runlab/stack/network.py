"""The sandbox's network as a process: it makes the machines, and then leads connections from outside into them.

Started by the keeper, before anything else, with a NetworkPlan as one line on standard input. Once the machines are
there it says, as one line of JSON, which of its descriptors are their namespaces; whoever runs a command on a machine
enters them at /proc/PID/fd. From then on

- what connects to one of the inherited listeners, outside, is led to the service's address from within the service's
  own machine, so that a cut between machines does not blind those who look from outside;
- who connects to the Unix socket in the run's folder and names a host and a port gets a socket that listens there.

It ends with the keeper. Where the kernel does not end everything else as well, since there is no PID namespace, it sees
to that: guard and runner may be gone, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from runlab.model import LabError
from runlab.stack import machines
from runlab.stack.folder import end_run, listeners_socket
from runlab.stack.machines import Machine
from runlab.stack.plan import MACHINES, ROUTER, NetworkPlan

_AT_ONCE = 128
_PIECE = 1 << 16
_ASKED_WITHIN_S = 1.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def main() -> int:
    """Serve until the keeper ends, and then end what is left."""
    os.umask(0o022)
    plan: NetworkPlan = json.loads(sys.stdin.buffer.readline() or b"null")
    if not plan:
        return 0
    place = Path(sys.argv[1])
    places = place / MACHINES
    places.mkdir(mode=0o711)
    try:
        made = machines.make(plan, places)
    except LabError as error:
        print(json.dumps({"error": error.message}), flush=True)
        return 1
    asyncio.run(_Forwarder(plan, made).serve(listeners_socket(place)))
    end_run(place)
    return 0


class _Forwarder:
    def __init__(self, plan: NetworkPlan, made: dict[str, Machine]) -> None:
        self._plan, self._made = plan, made
        self._home = made[ROUTER].net

    async def serve(self, path: Path) -> None:
        """Lead connections to where they belong, until standard input is closed."""
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
        giver = socket.socket(socket.AF_UNIX)
        giver.bind(str(path))
        os.chmod(path, 0o600)  # noqa: PTH101 -- the folder is this account's alone
        giver.listen(_AT_ONCE)
        giver.setblocking(False)
        giving = asyncio.create_task(self._give_to_all(giver))
        for endpoint, descriptor in self._plan["listeners"].items():
            host, _, port = endpoint.rpartition(":")
            outside = socket.socket(fileno=descriptor)
            await asyncio.start_server(self._leading_to(host, int(port)), sock=outside, backlog=_AT_ONCE)
        print(json.dumps({name: [it.net, it.mounts] for name, it in self._made.items()}), flush=True)
        await ended.wait()
        giving.cancel()

    def _leading_to(self, host: str, port: int) -> Any:
        async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with self._socket(host) as within:
                within.setblocking(False)
                try:
                    await asyncio.get_running_loop().sock_connect(within, (self._plan["addresses"][host], port))
                    theirs, to_them = await asyncio.open_connection(sock=within)
                except OSError:
                    _reset(writer)
                    return
                try:
                    async with asyncio.TaskGroup() as both:
                        both.create_task(_pass_on(reader, to_them))
                        both.create_task(_pass_on(theirs, writer))
                except* OSError:
                    _reset(writer)
                    _reset(to_them)
                finally:
                    writer.close()
                    to_them.close()

        return lead

    async def _give_to_all(self, giver: socket.socket) -> None:
        """Answer those who ask for a listener: `{"host": …, "port": …}` -> `{"errno": …}`, or `{}` with the socket."""
        loop = asyncio.get_running_loop()
        while True:
            asker, _ = await loop.sock_accept(giver)
            with asker, contextlib.suppress(ValueError, KeyError, TimeoutError, ConnectionError):
                asker.setblocking(False)
                async with asyncio.timeout(_ASKED_WITHIN_S):
                    wanted = json.loads(await loop.sock_recv(asker, _PIECE))
                self._give(asker, wanted["host"], wanted["port"])

    def _give(self, asker: socket.socket, host: str, port: int) -> None:
        with self._socket(host) as listener:
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self._plan["addresses"][host], port))
                listener.listen(_AT_ONCE)
            except OSError as error:
                asker.send(json.dumps({"errno": error.errno}).encode())
            else:
                socket.send_fds(asker, [b"{}"], [listener.fileno()])

    def _socket(self, host: str) -> socket.socket:
        """A new socket in the namespace of the machine on which `host` is."""
        with machines.inside(self._made[self._plan["places"][host]].net, self._home):
            return socket.socket()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset, as it would have without us."""
    inner = writer.get_extra_info("socket")
    if inner is not None:
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


if __name__ == "__main__":
    sys.exit(main())
