"""`python -m sut.pipeline`: serve on LISTEN_HOST (all addresses unless given), port 8080.

PUSHGATEWAY_URL takes the results. RELEASE_CHECK_URL, and ARCHIVE_CHECK_URL where the API also serves from MariaDB, are
what a release must answer; RELEASE_NODES are the base URLs, with commas between, of the nodes that run it. The rest of
the environment is for the migrations: see sut/migrate/connections.py.
"""

from __future__ import annotations

import os

import uvicorn

from sut.logs import log_as_json
from sut.migrate.names import Database
from sut.pipeline.app import create_app
from sut.pipeline.plan import Plan

log_as_json()
checks: dict[Database, str] = {"postgres": os.environ["RELEASE_CHECK_URL"]}
if archive := os.environ.get("ARCHIVE_CHECK_URL"):
    checks["mariadb"] = archive
nodes = tuple(filter(None, os.environ.get("RELEASE_NODES", "").split(",")))
uvicorn.run(
    create_app(os.environ["PUSHGATEWAY_URL"], Plan(checks, nodes)),
    host=os.environ.get("LISTEN_HOST", "0.0.0.0"),  # noqa: S104 - a container's own addresses
    port=8080,
    log_config=None,
    access_log=False,
    timeout_graceful_shutdown=2,
)
