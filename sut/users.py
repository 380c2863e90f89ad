"""The platform's users: a steady stream of requests and, in their own words, what came of each of them.

`python -m sut.users` runs until it is stopped, and stops by itself after USERS_LIMIT_S seconds (an hour unless given).
Each request makes two lines of USERS_RECORD, one as it is sent and one when it is answered or given up; `t` is
CLOCK_MONOTONIC in seconds, `id` is unique across restarts. USERS_COUNT of them (8 unless given) each make 4.5
requests a second. With USERS_NAME their endpoints have that name in front: "archive GET /projects".
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, TextIO

import gevent  # type: ignore[import-untyped]
from locust import FastHttpUser, constant_throughput, events, task
from locust.env import Environment

from sut.logs import log_as_json

log = logging.getLogger("sut.users")

EACH_PER_S = 4.5
SEEDED = 3000
STATUSES = ("planned", "active", "done")


class Record:
    """Appends the users' own record, a whole line at a time; `name` goes before each endpoint's."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file, self._name = file, name
        self._ids = itertools.count(time.monotonic_ns() // 1000)

    def start(self, endpoint: str) -> int:
        number = next(self._ids)
        self._write(event="start", id=number, t=time.monotonic(), endpoint=f"{self._name} {endpoint}".strip())
        return number

    def end(self, context: dict[str, int], response: Any, exception: Exception | None, **_: Any) -> None:
        """A listener for Locust's `request` event; an answer that came in part counts as an error too."""
        self._write(
            event="end",
            id=context["id"],
            t=time.monotonic(),
            ok=exception is None,
            status=response.status_code or None,
            error=f"{type(exception).__name__}: {exception}" if exception else None,
        )

    def _write(self, **line: Any) -> None:
        self._file.write(json.dumps(line) + "\n")


class Recorded(Environment):
    """Locust's environment with the users' record in it."""

    def __init__(self, host: str, record: Record, users: type[RecordedUser]) -> None:
        super().__init__(user_classes=[users], events=events, host=host)
        self.record = record
        self.events.request.add_listener(record.end)  # type: ignore[no-untyped-call]


class RecordedUser(FastHttpUser):
    """Gives a request up after 4 s, and writes each down."""

    abstract = True
    connection_timeout = network_timeout = 4.0
    environment: Recorded

    def ask(self, method: str, route: str, path: str, *, headers: dict[str, str] | None = None, **body: str) -> Any:
        """One request, recorded under its route; returns Locust's response."""
        number = self.environment.record.start(f"{method} {route}")
        context = {"id": number}
        return self.client.request(method, path, name=route, json=body or None, headers=headers, context=context)


class ProjectUser(RecordedUser):
    """Goes round the four endpoints without end; users begin at different points, so that each is always in use."""

    wait_time = constant_throughput(EACH_PER_S)
    _offsets = itertools.count()

    def on_start(self) -> None:
        round_trip = [self.list, self.get, self.change, self.get, self.create]
        first = next(self._offsets) % len(round_trip)
        self._next = itertools.cycle(round_trip[first:] + round_trip[:first])

    @task
    def go_on(self) -> None:
        next(self._next)()

    def list(self) -> None:
        self.ask("GET", "/projects", f"/projects?after={random.randrange(SEEDED)}&limit=20")

    def get(self) -> None:
        self.ask("GET", "/projects/{id}", f"/projects/{random.randint(1, SEEDED)}")

    def change(self) -> None:
        self.ask("PATCH", "/projects/{id}", f"/projects/{random.randint(1, SEEDED)}", status=random.choice(STATUSES))

    def create(self) -> None:
        self.ask("POST", "/projects", "/projects", name=f"Users' project {random.randrange(10**6)}")


def stream(users: type[RecordedUser], each_per_s: float) -> None:
    """Have USERS_COUNT such users ask without end; reads API_URL and the variables that the module's text names."""
    log_as_json()
    count = int(os.environ.get("USERS_COUNT", "8"))
    with Path(os.environ["USERS_RECORD"]).open("a", buffering=1, encoding="utf-8") as file:
        record = Record(file, os.environ.get("USERS_NAME", ""))
        runner = Recorded(os.environ["API_URL"], record, users).create_local_runner()
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, runner.quit)
        log.info("users begin", extra={"users": count, "requests_per_s": count * each_per_s})
        runner.start(count, spawn_rate=count)
        gevent.spawn_later(float(os.environ.get("USERS_LIMIT_S", "3600")), runner.quit)
        runner.greenlet.join()
        log.info("users have gone")


if __name__ == "__main__":
    stream(ProjectUser, EACH_PER_S)
