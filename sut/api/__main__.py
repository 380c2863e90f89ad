"""`python -m sut.api`: serve release RELEASE (1 unless given) on LISTEN_HOST (all addresses unless given), port 8000.

Status 3, and nothing listens, when there is no such release or it does not fit the database's schema. DRAIN_S (0
unless given) is for how long it says that it is ending before it does. With PARENT_PID it ends with that process.
"""

from __future__ import annotations

import logging
import os
import sys

from sut.logs import log_as_json
from sut.parent import end_with

CANNOT_START = 3


def main() -> int:
    log_as_json()
    if parent := os.environ.get("PARENT_PID"):
        end_with(int(parent))
    # only now, since importing takes most of a second
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    from sut.api.app import Readiness, create_app  # noqa: PLC0415
    from sut.api.database import make_engine  # noqa: PLC0415
    from sut.api.provider import from_environment  # noqa: PLC0415
    from sut.api.releases import RELEASES  # noqa: PLC0415
    from sut.api.server import Server  # noqa: PLC0415
    from sut.api.startup import fits  # noqa: PLC0415
    from sut.api.suggestions import make_router, make_sessions  # noqa: PLC0415

    number = os.environ.get("RELEASE", "1")
    if (release := RELEASES.get(number)) is None:
        logging.getLogger("sut.api").critical(f"there is no release {number}, only {', '.join(RELEASES)}")
        return CANNOT_START
    engine = make_engine()
    if not fits(release, engine):
        return CANNOT_START
    registry = CollectorRegistry()
    sessions, provider = make_sessions(), from_environment(registry)
    more = [make_router(sessions, provider)] if sessions and provider else []
    readiness = Readiness()
    app = create_app(release, engine, readiness, more, registry)
    Server(app, readiness, drain_s=float(os.environ.get("DRAIN_S", "0"))).run()
    return 0


sys.exit(main())
