"""The links of the platform that lead through Toxiproxy, and what somebody who uses one finds there.

`examine` makes an exchange with the server at a link's far end: over the link, or straight past it. It runs on the
machine of those who use the link, so that it meets what they meet.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from faults import exchange
from runlab import databases
from runlab.model import LabError, Stack

CLIENT: Final = "api1"
"""Who uses every link, and on whose machine exchanges are made unless another is named."""

_START_S: Final = 20.0
_PING, _PONG = b"PING\r\n", b"+PONG\r\n"
_PAGE_BYTES: Final = 3000
"""An answer of the provider has at least so many bytes."""


@dataclass(frozen=True)
class Link:
    """`name` is the host at which Toxiproxy (the service `proxied_by`) stands for `server`, and its proxy's name."""

    name: str
    proxied_by: str
    server: str
    port: int
    speaks: Literal["postgres", "redis", "http"]
    needs: frozenset[str]


@dataclass(frozen=True)
class Exchange:
    """What became of an exchange; see faults/exchange.py's `Told`."""

    end: str
    bytes: int = 0
    connect_s: float | None = None
    first_s: float | None = None
    seconds: float | None = None
    close_s: float | None = None

    @property
    def bytes_per_s(self) -> float:
        """The rate of the answer; 0 where there was none."""
        return self.bytes / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        times = {
            "connected after": self.connect_s,
            "first byte after": self.first_s,
            f"{self.bytes} bytes after": self.seconds,
            "the other side closed after": self.close_s,
        }
        told = [f"{what} {seconds:.3f} s" for what, seconds in times.items() if seconds is not None]
        return ", ".join((*told, self.end))


LINKS: Final = {
    link.name: link
    for link in (
        Link("db", "toxiproxy", "postgres", 5432, "postgres", frozenset({"toxiproxy", "postgres", "migrate"})),
        Link("sessions-db", "toxiproxy", "redis", 6379, "redis", frozenset({"toxiproxy", "redis"})),
        Link("east", "toxiproxy-east", "provider-east", 8000, "http", frozenset({"toxiproxy-east", "provider"})),
    )
}


def find(name: str) -> Link:
    """The link of that name. LabError when there is none."""
    if name not in LINKS:
        raise LabError(f"no such link: {name!r}", mend=f"write {', '.join(LINKS)}")
    return LINKS[name]


def examine(
    stack: Stack,
    link: Link,
    *,
    straight: bool = False,
    least: int = 0,
    closing: bool = False,
    limit_s: float = 5.0,
    on: str | None = None,
) -> Exchange:
    """One exchange over the link, or `straight` with its server, of `least` bytes at least; 0 is one short answer.

    With `closing`, it takes until the other side has closed as well. `on` is the machine, by default the client's.
    """
    settings = exchange.Settings(
        host=stack.inside(link.server if straight else link.name),
        port=link.port,
        request=base64.b64encode(_request(link, least)).decode(),
        least=least or 1,
        limit_s=limit_s,
        closing=closing,
        select=least if link.speaks == "postgres" else 0,
    )
    environment = {}
    if settings["select"]:
        environment = {"PGUSER": "app", "PGPASSWORD": stack.secret("APP_PASSWORD"), "PGDATABASE": databases.NAME}
    done = stack.execute(
        program(exchange.__file__, settings),
        account="service",
        on=stack.machine(CLIENT) if on is None else on,
        environment=environment,
        time_limit_s=limit_s + _START_S,
    )
    if done.status != 0:
        words = done.stderr.strip().splitlines()
        raise LabError(f"no exchange over {link.name} could be made: {words[-1] if words else f'status {done.status}'}")
    return Exchange(**json.loads(done.stdout))


def program(file: str, settings: object) -> list[str]:
    """The command that runs the text of a Python file, which imports nothing of the lab, with settings as JSON."""
    return ["python", "-c", Path(file).read_text(encoding="utf-8"), json.dumps(settings)]


def _request(link: Link, least: int) -> bytes:
    match link.speaks:
        case "postgres":
            return struct.pack("!ii", 8, 80877103)  # SSLRequest, which is answered by one byte before anything else
        case "redis":
            return _PING * (-(-least // len(_PONG)) or 1)
        case "http":
            path, times = ("/v1/suggestions", -(-least // _PAGE_BYTES)) if least else ("/status", 1)
            return f"GET {path} HTTP/1.1\r\nHost: {link.server}\r\n\r\n".encode() * times
