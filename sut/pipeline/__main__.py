"""`python -m sut.pipeline`: serve on LISTEN_HOST (all addresses unless given), port 8080."""

from __future__ import annotations

import os

import uvicorn

from sut.logs import log_as_json
from sut.pipeline.app import create_app

log_as_json()
uvicorn.run(
    create_app(os.environ["PUSHGATEWAY_URL"], os.environ["RELEASE_CHECK_URL"]),
    host=os.environ.get("LISTEN_HOST", "0.0.0.0"),  # noqa: S104 - a container's own addresses
    port=8080,
    log_config=None,
    access_log=False,
    timeout_graceful_shutdown=2,
)
