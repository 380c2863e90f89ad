"""`python -m sut.migrate upgrade REVISION` and `python -m sut.migrate prepare`.

Alembic's log and any traceback go to standard error, and a failure ends with a non-zero status.
"""

from __future__ import annotations

import argparse
import logging


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sut.migrate")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="make roles, template and database on a bare server")
    commands.add_parser("upgrade", help="bring the database to a revision").add_argument("revision")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)-5.5s [%(name)s] %(message)s")
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # its list of plugins hides the revisions
    if arguments.command == "prepare":
        from sut.migrate.prepare import prepare  # noqa: PLC0415 - an upgrade does not need it

        prepare()
    else:
        from sut.migrate.schema import upgrade  # noqa: PLC0415 - `--help` and mistakes answer at once

        upgrade(arguments.revision)


main()
