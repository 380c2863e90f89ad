"""How the API is served, and how it ends without a request lost."""

from __future__ import annotations

import os
import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI

from sut.api.app import Readiness

PORT = 8000
UNFINISHED_S = 2


class Server(uvicorn.Server):
    """Serves until SIGTERM. From then on /health says 503 for `drain_s`, so that a load balancer sends requests
    elsewhere; only then the socket is closed, and requests still running have `UNFINISHED_S` to end.
    """

    def __init__(self, app: FastAPI, readiness: Readiness, *, drain_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=os.environ.get("LISTEN_HOST", "0.0.0.0"),  # noqa: S104 - a container's own addresses
                port=PORT,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=UNFINISHED_S,
            )
        )
        self._readiness, self._drain_s = readiness, drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A second signal cuts the waiting short."""
        if not self._readiness.ready or not self._drain_s:
            super().handle_exit(sig, frame)
            return
        self._readiness.ready = False
        timer = threading.Timer(self._drain_s, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()
