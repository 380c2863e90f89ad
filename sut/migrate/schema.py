"""Alembic without an ini file: the environment lies beside this module."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

BASELINE = "0001_baseline"


def upgrade(revision: str, **connection: str) -> None:
    """Bring the database to `revision`.

    `connection` holds libpq parameters (`dbname`, `user`, `password`) that go before the PG* environment. Alembic's
    and the driver's own errors reach the caller as they are.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("environment")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
