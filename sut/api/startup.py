"""Whether a release fits the schema, asked once, before it listens."""

from __future__ import annotations

import logging

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from sut.api.releases import Release

log = logging.getLogger("sut.api.startup")

CURRENT_SCHEMA = {"postgresql": "current_schema()", "mariadb": "database()"}


def fits(release: Release, engine: Engine) -> bool:
    """Whether every column that `release` needs is there; a line in the log for each that is not.

    A database that cannot be asked is no reason not to start: requests will say that it is unavailable.
    """
    try:
        there = columns(engine)
    except OperationalError as error:
        log.warning("schema not compared, the database is unavailable", extra={"error": str(error.orig)})
        return True
    missing = [(table, column) for table, column in release.needs if (table, column) not in there]
    for table, column in missing:
        log.critical(
            f"release {release.number} cannot start: it needs {table}.{column}, and the schema has no such column",
            extra={"release": release.number, "table": table, "column": column},
        )
    return not missing


def columns(engine: Engine) -> set[tuple[str, str]]:
    """Table and column of the whole schema. Takes no lock on a table, so that it does not wait behind a migration."""
    schema = CURRENT_SCHEMA[engine.dialect.name]
    query = text(f"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = {schema}")  # noqa: S608
    with engine.connect() as database:
        return {(table, column) for table, column in database.execute(query)}
