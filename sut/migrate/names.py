"""The words that the parts of this package share; nothing here needs a driver."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

Database = Literal["postgres", "mariadb"]
DATABASES: tuple[Database, ...] = get_args(Database)

PLATFORM, TEMPLATE, STAGING = "platform", "platform_template", "platform_staging"
"""On either server: production, what it is reset from, and where migrations are rehearsed."""


class MigrateError(Exception):
    """What was asked cannot be done, in one line that says why."""


@dataclass(frozen=True)
class Role:
    """Whom to connect as, in place of whom the environment names."""

    user: str
    password: str


def chosen() -> Database:
    """The database that DATABASE names (postgres unless given). Raises MigrateError for any other word."""
    name = os.environ.get("DATABASE", "postgres")
    if name not in DATABASES:
        raise MigrateError(f"DATABASE is {name!r}, and there are only {' and '.join(DATABASES)}")
    return name
