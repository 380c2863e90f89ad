"""`python -m sut.migrate COMMAND`: what is done to a schema, from outside the platform's own processes.

DATABASE, or `--database`, says on which server. Alembic's log and any traceback go to standard error, and a failure
ends with a non-zero status.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from sut.migrate.names import DATABASES, Database, MigrateError, Role, chosen


def main() -> None:
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)-5.5s [%(name)s] %(message)s")
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # its list of plugins hides the revisions
    try:
        _run(arguments, arguments.database or chosen())
    except MigrateError as error:
        sys.exit(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sut.migrate")
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--database", choices=DATABASES, help="in place of the one that DATABASE names")

    def command(name: str, help: str) -> argparse.ArgumentParser:  # noqa: A002 - argparse's own word
        return commands.add_parser(name, help=help, parents=[shared])

    command("prepare", "make roles, template, database and staging on a bare server")
    command("upgrade", "bring the database to a revision").add_argument("revision")
    command("sql", "print what a revision would execute").add_argument("revision")
    command("stamp", "note in alembic_version that the database is at a revision").add_argument("revision")
    command("lint", "let a linter read what a revision would execute").add_argument("revision")
    rehearse = command("rehearse", "copy the database to staging and bring the copy to a revision")
    rehearse.add_argument("revision")
    rehearse.add_argument("--copy", choices=("full", "sanitized"), default="full")
    return parser


# Each command imports only what it needs: `--help` and mistakes answer at once, and a broken part breaks no other.
# ruff: noqa: PLC0415
def _run(arguments: argparse.Namespace, database: Database) -> None:
    match arguments.command:
        case "prepare":
            from sut.migrate import prepare_mariadb, prepare_postgres

            prepare = {"postgres": prepare_postgres.prepare, "mariadb": prepare_mariadb.prepare}[database]
            prepare(Role("app", os.environ["APP_PASSWORD"]), Role("oncall", os.environ["ONCALL_PASSWORD"]))
        case "upgrade":
            from sut.migrate import schema

            schema.upgrade(database, arguments.revision)
        case "sql":
            from sut.migrate import schema

            schema.sql(database, arguments.revision)
        case "stamp":
            from sut.migrate import schema

            schema.stamp(database, arguments.revision)
        case "lint":
            from sut.migrate.lint import lint

            lint(database, arguments.revision)
        case "rehearse":
            from sut.migrate.rehearse import rehearse

            rehearse(database, arguments.revision, arguments.copy)


main()
