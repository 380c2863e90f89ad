"""Alembic without an ini file: the environment lies beside this module.

Its revisions lie in folders by edition: `base` holds what both editions have; `candidate` is what developers hand to
the pipeline first, `fixed` the same revisions as they mended them. MIGRATION_EDITION chooses (candidate).
"""

from __future__ import annotations

import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from sut.migrate.names import Database, MigrateError, Role

ENVIRONMENT = Path(__file__).with_name("environment")
EDITIONS = ("candidate", "fixed")
BASELINE = "0001_baseline"


def upgrade(database: Database, revision: str, *, name: str | None = None, role: Role | None = None) -> None:
    """Bring the database to `revision`. Alembic's and the driver's own errors reach the caller as they are."""
    command.upgrade(configuration(database, name, role), revision)


def stamp(database: Database, revision: str) -> None:
    """Write into alembic_version that the database is at `revision`, and change nothing else."""
    command.stamp(configuration(database), revision)


def sql(database: Database, revision: str) -> None:
    """Print what `revision` alone would execute, from the one before it; no server is asked."""
    config = configuration(database)
    script = ScriptDirectory.from_config(config).get_revision(revision)
    command.upgrade(config, f"{script.down_revision or 'base'}:{script.revision}", sql=True)


def configuration(database: Database, name: str | None = None, role: Role | None = None) -> Config:
    """What Alembic needs. Raises MigrateError for an edition that does not exist."""
    edition = os.environ.get("MIGRATION_EDITION", "candidate")
    if edition not in EDITIONS:
        raise MigrateError(f"MIGRATION_EDITION is {edition!r}, and there are only {' and '.join(EDITIONS)}")
    config = Config()
    folders = (ENVIRONMENT / "base", ENVIRONMENT / edition)
    for option, value in {
        "script_location": str(ENVIRONMENT),
        "path_separator": "newline",
        "version_locations": "\n".join(map(str, folders)),
    }.items():
        config.set_main_option(option, value.replace("%", "%%"))
    config.attributes.update(database=database, name=name, role=role)
    return config
