"""The sandbox's network as a process: it makes the machines, and then leads connections from outside into them.

Started by the keeper, before anything else, with a NetworkPlan as one line on standard input. Once the machines are
there it says, as one line of JSON, which of its descriptors are their namespaces; whoever runs a command on a machine
enters them at /proc/PID/fd. From then on

- what connects to one of the inherited listeners, outside, is led to the service's address from within the service's
  own machine, so that a cut between machines does not blind those who look from outside;
- who connects to the Unix socket in the run's folder and names a host and a port gets a socket that listens there.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from runlab.model import LabError
from runlab.stack import machines
from runlab.stack.folder import listeners_socket
from runlab.stack.machines import Machine
from runlab.stack.plan import NetworkPlan

_AT_ONCE = 128
_PIECE = 1 << 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def main() -> int:
    """Serve until the keeper ends."""
    plan: NetworkPlan = json.loads(sys.stdin.buffer.readline())
    place = Path(sys.argv[1])
    places = place / "machines"
    places.mkdir(mode=0o711)
    try:
        made = machines.make(plan, places)
    except LabError as error:
        print(json.dumps({"error": error.message}), flush=True)
        return 1
    asyncio.run(_Forwarder(plan, made).serve(listeners_socket(place)))
    return 0


class _Forwarder:
    def __init__(self, plan: NetworkPlan, made: dict[str, Machine]) -> None:
        self._plan, self._made = plan, made
        self._home = made[machines.ROUTER].net

    async def serve(self, path: Path) -> None:
        """Lead connections to where they belong, for ever."""
        loop = asyncio.get_running_loop()
        giver = socket.socket(socket.AF_UNIX)
        giver.bind(str(path))
        os.chmod(path, 0o600)  # noqa: PTH101 -- the folder is this account's alone
        giver.listen(_AT_ONCE)
        giver.setblocking(False)
        loop.add_reader(giver, self._give, giver)
        for endpoint, descriptor in self._plan["listeners"].items():
            host, _, port = endpoint.rpartition(":")
            outside = socket.socket(fileno=descriptor)
            await asyncio.start_server(self._leading_to(host, int(port)), sock=outside, backlog=_AT_ONCE)
        print(json.dumps({name: [it.net, it.mounts] for name, it in self._made.items()}), flush=True)
        await asyncio.Event().wait()

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

    def _give(self, giver: socket.socket) -> None:
        """Answer one who asks for a listener: `{"host": …, "port": …}` -> an error's words, or "" with the socket."""
        asker, _ = giver.accept()
        with asker:
            try:
                wanted = json.loads(asker.recv(_PIECE))
                with self._socket(wanted["host"]) as listener:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listener.bind((self._plan["addresses"][wanted["host"]], wanted["port"]))
                    listener.listen(_AT_ONCE)
                    socket.send_fds(asker, [b"{}"], [listener.fileno()])
            except OSError as error:
                asker.send(json.dumps({"error": os.strerror(error.errno or 0)}).encode())

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
