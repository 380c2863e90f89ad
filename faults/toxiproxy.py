"""Toxiproxy: the network between two servers, made bad on purpose. The one place that speaks to its API.

toxiproxy-python asks, and tells a refusal of kind 400, 404 or 409; but it takes every other answer for a success, has
no time limit, and keeps the server's address in its class. So each server here gets a class of its own, every request
a limit, every answer's status is looked at, and every change is read back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import requests
from toxiproxy.api import APIConsumer  # type: ignore[import-untyped]
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists  # type: ignore[import-untyped]

from runlab.model import JsonObject, LabError

API_PORT = 8474
TIME_LIMIT_S = 5.0
_DIRECTLY = {"http": None}  # whatever proxy the environment names

Stream = Literal["upstream", "downstream"]


@dataclass(frozen=True)
class Toxic:
    """What is done to the data that flows one way through a proxy; kinds and attributes are Toxiproxy's own.

    `upstream` is from the client to the server. `toxicity` is the share of connections that get it.
    """

    name: str
    kind: str
    stream: Stream = "downstream"
    toxicity: float = 1.0
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Proxy:
    """A proxy as the server has it: `listen` and `upstream` are "host:port"."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[Toxic, ...]

    @property
    def address(self) -> tuple[str, int]:
        """Where its clients connect to."""
        host, _, port = self.listen.rpartition(":")
        return host, int(port)


class Toxiproxy:
    """A running toxiproxy-server. Whatever it refuses, or silently does otherwise, is a LabError in its own words."""

    def __init__(
        self, host: str, port: int = API_PORT, *, inside: str = "", time_limit_s: float = TIME_LIMIT_S
    ) -> None:
        """`inside`: its own address, where that is not the one at which it is asked."""
        self._inside = inside or host
        self.host, self._address, self._time_limit_s = host, f"{host}:{port}", time_limit_s
        self._api = type("Api", (APIConsumer,), {"host": host, "port": port})

    def proxies(self) -> dict[str, Proxy]:
        """All its proxies with their toxics, by name."""
        return {name: _proxy(data) for name, data in self._ask("get", "/proxies").items()}

    def create(self, name: str, *, upstream: str, listen: str | None = None) -> Proxy:
        """Make a proxy that listens at once; without `listen` on a free port of the server's own address."""
        wanted = {"name": name, "upstream": upstream, "listen": listen or f"{self._inside}:0", "enabled": True}
        self._ask("post", "/proxies", json=wanted)
        made = self._proxy(name)
        self._same(f"proxy {name}", {"upstream": upstream, "enabled": True}, vars(made))
        if listen:
            self._same(f"proxy {name}", {"listen": listen}, vars(made))
        return made

    def remove(self, name: str) -> None:
        """Take a proxy away, its connections with it; nothing happens when there is none."""
        if name not in self.proxies():
            return
        self._ask("delete", f"/proxies/{quote(name, safe='')}")
        if name in self.proxies():
            raise self._error(f"proxy {name} is still there after its removal")

    def enable(self, name: str, *, enabled: bool) -> None:
        """Have a proxy listen, or have it closed, its connections with it. LabError when there is no such proxy."""
        self._ask("post", f"/proxies/{quote(name, safe='')}", json={"enabled": enabled})
        self._same(f"proxy {name}", {"enabled": enabled}, vars(self._proxy(name)))

    def add_toxic(self, proxy: str, toxic: Toxic) -> None:
        """Put a toxic on a proxy, for connections that are open too."""
        wanted = {
            "name": toxic.name,
            "type": toxic.kind,
            "stream": toxic.stream,
            "toxicity": toxic.toxicity,
            "attributes": dict(toxic.attributes),
        }
        self._ask("post", f"/proxies/{quote(proxy, safe='')}/toxics", json=wanted)
        made = {it.name: it for it in self._proxy(proxy).toxics}.get(toxic.name)
        if made is None:
            raise self._error(f"toxic {toxic.name} of proxy {proxy} is not there although it was added")
        self._same(f"toxic {toxic.name}", vars(toxic), vars(made))

    def remove_toxic(self, proxy: str, name: str) -> None:
        """Take a toxic away; nothing happens when there is none, or no such proxy."""
        if not self._has_toxic(proxy, name):
            return
        self._ask("delete", f"/proxies/{quote(proxy, safe='')}/toxics/{quote(name, safe='')}")
        if self._has_toxic(proxy, name):
            raise self._error(f"toxic {name} of proxy {proxy} is still there after its removal")

    def _has_toxic(self, proxy: str, name: str) -> bool:
        found = self.proxies().get(proxy)
        return found is not None and any(toxic.name == name for toxic in found.toxics)

    def _proxy(self, name: str) -> Proxy:
        found = self.proxies().get(name)
        if found is None:
            raise self._error(f"it has no proxy {name}")
        return found

    def _same(self, what: str, wanted: Mapping[str, object], made: Mapping[str, object]) -> None:
        """A server ignores attributes that it does not know, and says nothing."""
        for name, value in wanted.items():
            if made[name] != value:
                raise self._error(f"{what} has {name} {made[name]!r}, not {value!r}")

    def _ask(self, method: Literal["get", "post", "delete"], path: str, **more: Any) -> JsonObject:
        try:
            answer = getattr(self._api, method)(path, timeout=self._time_limit_s, proxies=_DIRECTLY, **more)
        except (InvalidToxic, NotFound, ProxyExists) as refusal:
            raise self._error(_words(refusal.args[0])) from None
        except requests.RequestException as error:
            raise self._error(f"does not answer: {type(error).__name__}") from None
        if not answer.ok:
            raise self._error(f"{answer.status_code} {_words(answer.content)}")
        try:
            found: JsonObject = answer.json() if answer.content else {}
        except requests.JSONDecodeError:
            raise self._error(f"answers no JSON: {_words(answer.content)}") from None
        return found

    def _error(self, words: str) -> LabError:
        return LabError(words, where=f"toxiproxy {self._address}")


def _proxy(data: JsonObject) -> Proxy:
    toxics = tuple(
        Toxic(it["name"], it["type"], it["stream"], it["toxicity"], it["attributes"]) for it in data["toxics"]
    )
    return Proxy(data["name"], data["listen"], data["upstream"], data["enabled"], toxics)


def _words(content: bytes) -> str:
    """The server's own words out of the body of its refusal."""
    text = content.decode("utf-8", errors="replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text or "it says nothing"
