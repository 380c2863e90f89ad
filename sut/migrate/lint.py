"""The linter: squawk reads what a migration would execute on PostgreSQL.

All of its rules are on as it comes, but for those in EXCLUDED. It sees the text alone: neither rows nor what a schema
has drifted to.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from sut.migrate.names import Database, MigrateError
from sut.migrate.schema import sql

log = logging.getLogger("sut.migrate.lint")

EXCLUDED = {
    "require-statement-timeout": "the pipeline's deadline bounds the run, and a VALIDATE that takes long harms nobody",
    "prefer-robust-stmts": "a step that failed half-way is taken back by hand, not run over what is there",
    "ban-drop-constraint": "require_task_assignee drops the check that it has just made, once NOT NULL replaces it",
}
"""Rules that this platform does not follow, and why."""


def lint(database: Database, revision: str) -> None:
    """Log what the linter says. Raises MigrateError when it has something to say.

    It knows PostgreSQL's SQL only: a migration for MariaDB passes unread, and the log says so.
    """
    if database != "postgres":
        log.warning("squawk reads PostgreSQL's SQL only: %s for %s goes on unread", revision, database)
        return
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        sql(database, revision)
    for found in (findings := _findings(revision, text.getvalue())):
        log.warning("%s:%d: %s: %s", found["file"], found["line"] + 1, found["rule_name"], found["message"])
    if findings:
        raise MigrateError(f"squawk lets {revision} not pass")
    log.info("squawk has nothing to say about %s", revision)


def _findings(revision: str, text: str) -> list[dict[str, Any]]:
    """What squawk has to say. MigrateError when it could not read the text, which is nothing that it found."""
    argv = (_program(), "--pg-version=15.0", "--reporter=json", f"--stdin-filepath={revision}.sql",
            *(f"--exclude={rule}" for rule in EXCLUDED))  # fmt: skip
    # it looks for its settings in every folder above, of which a service may not read all
    done = subprocess.run(argv, input=text, text=True, capture_output=True, cwd="/", check=False)
    try:
        findings: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        raise MigrateError(f"squawk failed: {done.stderr.strip() or done.stdout.strip()}") from None
    return findings


def _program() -> str:
    """The one that came with this Python, else any."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    program = shutil.which("squawk", path=path)
    if program is None:
        raise MigrateError("squawk is not installed (it comes with squawk-cli of PyPI)")
    return program
