"""What the API tells of each request: a counter, a histogram, a line in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("sut.api.requests")

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BORN_WITH = ("500", "502", "503", "504")
"""Statuses whose series exist from the start, at 0: a counter born with its first failure shows no rate."""


class Observed:
    """ASGI middleware that counts, times and logs requests to `routes`; others pass unseen."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        labels = ("route", "status")
        self.requests = Counter("http_requests", "Requests answered.", labels, registry=registry)
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "From the request's arrival to the end of its answer.",
            labels,
            registry=registry,
            buckets=BUCKETS_S,
        )
        self.in_progress = Gauge("http_requests_in_progress", "Requests not yet answered.", registry=registry)
        for route in routes:
            if isinstance(route, APIRoute):
                for status in (str(route.status_code or 200), *BORN_WITH):
                    for method in route.methods or ():
                        self.requests.labels(f"{method} {route.path}", status)
                        self.seconds.labels(f"{method} {route.path}", status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in {"/health", "/metrics"}:
            await self.app(scope, receive, send)
            return
        status = 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            with self.in_progress.track_inprogress():
                await self.app(scope, receive, note_status)
        finally:
            self._tell(scope, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        # A path that no route knows is one label: whoever asks must not be able to make series.
        name = f"{scope['method']} {route.path}" if isinstance(route, APIRoute) else "unknown"
        self.requests.labels(name, str(status)).inc()
        self.seconds.labels(name, str(status)).observe(seconds)
        log.info(
            "request",
            extra={"route": name, "path": scope["path"], "status": status, "seconds": round(seconds, 4)},
        )
