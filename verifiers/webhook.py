"""The receiver of Alertmanager's webhook: the last hop of an alert's way, where people would be told."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
    """Serves http://…/alerts on a listening socket and hands each alert to `deliver`, on its connection's thread."""

    def __init__(self, listener: socket.socket, deliver: Callable[[Notification], None]) -> None:
        class Handler(_Handler):
            hand_over = staticmethod(deliver)

        self._server = _Server(listener, Handler)
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

    def __init__(self, listener: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

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
