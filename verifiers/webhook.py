"""The receiver of Alertmanager's webhook: the last hop of an alert's way, where people would be told."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from runlab.model import LabError

_LARGEST_BODY = 4 * 1024 * 1024


@dataclass(frozen=True)
class Notification:
    """One alert of one webhook call. Times are the servers' own."""

    name: str
    firing: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: str
    fingerprint: str

    @property
    def identity(self) -> tuple[str, datetime, bool]:
        """The same for a notification that Alertmanager sends again."""
        return self.fingerprint, self.starts_at, self.firing


class Receiver:
    """Listens on http://host:port/alerts and hands each alert to `deliver`, on the thread of its connection.

    Raises LabError when the port can't be had.
    """

    def __init__(self, host: str, port: int, deliver: Callable[[Notification], None]) -> None:
        class Handler(_Handler):
            hand_over = staticmethod(deliver)

        try:
            self._server = _Server((host, port), Handler)
        except OSError as error:
            raise LabError(
                f"no webhook receiver on {host}:{port}: {error.strerror}", mend="free the port or take another"
            ) from None
        self.url = f"http://{host}:{port}/alerts"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="webhook", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """Why an alert sent here would not be noted; "" when all is well."""
        return self._server.crash or ("" if self._thread.is_alive() else "the webhook receiver has ended")

    def forget(self) -> None:
        """Begin a new window: earlier crashes count no more."""
        self._server.crash = ""

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # server_close would wait for connections that Alertmanager keeps alive
    block_on_close = False
    crash = ""

    def handle_error(self, *_: object) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError):  # the sender hung up: it will come again
            self.crash = f"the webhook receiver crashed: {type(error).__name__}: {error}"


class _Handler(BaseHTTPRequestHandler):
    hand_over: Callable[[Notification], None]

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/alerts" or not 0 < length <= _LARGEST_BODY:
            self.send_error(404 if self.path != "/alerts" else 413)
            return
        try:
            notifications = read_payload(self.rfile.read(length))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.send_error(400, explain=f"{type(error).__name__}: {error}")
            return
        for notification in notifications:
            self.hand_over(notification)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name that the base class gives it
        """Say nothing: the journal has it."""


def read_payload(body: bytes) -> list[Notification]:
    """The alerts of one webhook call (Alertmanager's webhook format, version 4). Raises ValueError, KeyError …"""
    payload: dict[str, Any] = json.loads(body)
    return [
        Notification(
            name=alert["labels"].get("alertname", ""),
            firing=alert["status"] == "firing",
            labels=dict(alert["labels"]),
            annotations=dict(alert.get("annotations") or {}),
            starts_at=datetime.fromisoformat(alert["startsAt"]),
            ends_at=str(alert.get("endsAt", "")),
            fingerprint=alert["fingerprint"],
        )
        for alert in payload["alerts"]
    ]
