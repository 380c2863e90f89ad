"""Releases that do not belong together: a roll-out that stands half-way."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx

from runlab.model import Fault, LabError, Observation, Stack, Undo

REPLICAS: Final = ("api1", "api2")
API_PORT, NODE_PORT = 8000, 8001

_SWAPPED_WITHIN_S = 15.0
_ANSWERS_WITHIN_S = 5.0


@dataclass(frozen=True)
class MixedReleases(Fault):
    """The replica `service` of the API serves `release`, and the other one what it served before."""

    service: str = "api2"
    release: str = "2"

    def __post_init__(self) -> None:
        if self.service not in REPLICAS:
            raise LabError(f"no such replica: {self.service!r}", mend=f"write {' or '.join(REPLICAS)}")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"api"})

    def prepare(self, stack: Stack) -> Undo:
        """LabError when the replica is to serve that release as it is, or its node does not say what it is to serve."""
        before = self._ordered(stack)
        if before is None or before == self.release:
            raise LabError(f"{self.name}: {self.service} is at release {before} before", mend="name another")
        return {"release": before}

    def inject(self, stack: Stack, undo: Undo) -> None:  # noqa: ARG002
        """LabError, in its last words, when the release does not start."""
        self._swap(stack, self.release)

    def revert(self, stack: Stack, undo: Undo) -> None:
        """Nothing happens once the other replica serves that release too: then the roll-out was finished."""
        if self._ordered(stack) == self.release and self.release not in self._served_by_others(stack).values():
            self._swap(stack, str(undo["release"]))

    def witness(self, stack: Stack, undo: Undo) -> Observation:  # noqa: ARG002
        mine, others = _ask(f"http://{stack.host(self.service)}:{API_PORT}/health"), self._served_by_others(stack)
        return Observation(
            holds=mine == self.release and mine not in others.values(),
            by="both replicas' own /health",
            detail=", ".join(f"{name} serves release {it}" for name, it in {self.service: mine, **others}.items()),
            truth={"release": [mine]},
            innocents={"release": list(others.values())},
        )

    def _ordered(self, stack: Stack) -> str | None:
        return _ask(f"http://{stack.host(self.service)}:{NODE_PORT}/release")

    def _served_by_others(self, stack: Stack) -> dict[str, str | None]:
        others = [name for name in REPLICAS if name != self.service]
        return {name: _ask(f"http://{stack.host(name)}:{API_PORT}/health") for name in others}

    def _swap(self, stack: Stack, release: str) -> None:
        url = f"http://{stack.host(self.service)}:{NODE_PORT}/release"
        try:
            answer = httpx.put(url, json={"release": release}, timeout=_SWAPPED_WITHIN_S, trust_env=False)
        except httpx.HTTPError as error:
            raise LabError(f"{url} does not answer: {error}") from None
        if answer.status_code != HTTPStatus.OK:
            raise LabError(f"{self.service} does not serve release {release}: {_words(answer)}")


def _ask(url: str) -> str | None:
    """The release that is named there; None where nobody serves."""
    try:
        answer = httpx.get(url, timeout=_ANSWERS_WITHIN_S, trust_env=False)
        return str(answer.raise_for_status().json()["release"])
    except (httpx.HTTPError, ValueError, KeyError):
        return None


def _words(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError):
        return answer.text
