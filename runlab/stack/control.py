"""The keeper's Unix socket: one line of JSON for a request, one for its answer, any number on a connection."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runlab.model import JsonObject, LabError

Operation = Callable[..., Any]
_ANSWER_BYTES = 4096


class StackError(LabError):
    """The stack could not start, has ended, or one of its services has; one line that names which and why."""


class StackGoneError(StackError):
    """Nobody keeps this stack any more: all its processes have ended, or are being ended."""


def listen(path: Path) -> socket.socket:
    """A socket at `path` that only this account can connect to."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o600)
    server.listen(64)
    return server


def serve(server: socket.socket, operations: Mapping[str, Operation]) -> None:
    """Answer for ever, each connection in a thread of its own. An operation's LabError or OSError is its answer."""

    def answer(line: bytes) -> JsonObject:
        request = json.loads(line)
        operation = operations[request.pop("operation")]
        try:
            return {"answer": operation(**request)}
        except (LabError, OSError) as error:
            return {"error": str(error)}

    def converse(connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            for line in stream:
                stream.write(json.dumps(answer(line)).encode() + b"\n")
                stream.flush()

    while True:
        connection, _ = server.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def call(path: Path, operation: str, *, timeout_s: float = 10.0, **arguments: Any) -> Any:
    """Ask the keeper that listens at `path`. StackError with its answer's error, or when it is gone or silent."""
    with _connect(path) as connection, connection.makefile("rwb") as stream:
        connection.settimeout(timeout_s)
        try:
            stream.write(json.dumps({"operation": operation, **arguments}).encode() + b"\n")
            stream.flush()
            line = stream.readline()
        except TimeoutError:
            raise StackError(f"the stack's keeper does not answer within {timeout_s:g} s", where=str(path)) from None
        except OSError:
            line = b""
    if not line:
        raise _gone(path)
    answer = json.loads(line)
    if "error" in answer:
        raise StackError(answer["error"])
    return answer["answer"]


def listener(path: Path, host: str, port: int, *, timeout_s: float = 10.0) -> socket.socket:
    """Ask the sandbox's network, at `path`, for a socket that listens inside. OSError why not; StackError as `call`."""
    with _connect(path) as connection:
        connection.settimeout(timeout_s)
        connection.send(json.dumps({"host": host, "port": port}).encode())
        answer, descriptors, _, _ = socket.recv_fds(connection, _ANSWER_BYTES, 1)
    if not answer:
        raise _gone(path)
    if not descriptors:
        number = json.loads(answer)["errno"]
        raise OSError(number, os.strerror(number))
    return socket.socket(fileno=descriptors[0])


def keeper_pid(path: Path) -> int:
    """The keeper's pid as this process sees it, whatever namespace it is in (unix(7), SO_PEERCRED)."""
    with _connect(path) as connection:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", credentials)
    return int(pid)


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except PermissionError:
        connection.close()
        raise StackError("the stack is another account's", where=str(path), mend="act as who started it") from None
    except OSError:
        connection.close()
        raise _gone(path) from None
    return connection


def _gone(path: Path) -> StackGoneError:
    return StackGoneError("the stack has ended: its keeper does not answer", where=str(path))
