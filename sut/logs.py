"""Logging as every service of the platform does it: one JSON object a line, on standard output."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter


def log_as_json() -> None:
    """Send every logger of this process to standard output; the text of a message is not changed by it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp=True,
            json_ensure_ascii=False,
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # uvicorn's second copy of each message
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
