"""`python -m sut.api`: serve on LISTEN_HOST (all addresses unless given), port 8000, with one worker."""

from __future__ import annotations

import os

import uvicorn

from sut.api.app import create_app
from sut.logs import log_as_json

log_as_json()
uvicorn.run(
    create_app(),
    host=os.environ.get("LISTEN_HOST", "0.0.0.0"),  # noqa: S104 - a container's own addresses
    port=8000,
    log_config=None,
    access_log=False,
    timeout_graceful_shutdown=2,
)
