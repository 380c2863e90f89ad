"""The revisions, and the migration command where no database answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from sut.migrate import schema

ENVIRONMENT = Path(schema.__file__).with_name("environment")


def test_revisions_are_one_line_from_the_baseline() -> None:
    revisions = list(ScriptDirectory(str(ENVIRONMENT)).walk_revisions())
    assert [revision.revision for revision in revisions] == ["add_project_owner", schema.BASELINE]
    # Alembic reads `-` as "so many steps back".
    assert all(re.fullmatch(r"\w{1,32}", revision.revision) for revision in revisions)


@pytest.mark.parametrize("arguments", [("upgrade", "head"), ("prepare",)])
def test_a_failure_is_a_traceback_and_a_status(arguments: tuple[str, ...]) -> None:
    nowhere = {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "app", "PGPASSWORD": "not-to-be-told"}
    passwords = {"APP_PASSWORD": "nor-this", "ONCALL_PASSWORD": "nor-that"}
    ended = subprocess.run(
        [sys.executable, "-m", "sut.migrate", *arguments],
        env={**os.environ, **nowhere, **passwords},
        cwd=Path(schema.__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr
    assert "OperationalError" in ended.stderr
    assert not re.search("not-to-be-told|nor-this|nor-that", ended.stdout + ended.stderr)
