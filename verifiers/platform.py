"""The platform as its owners see it: its deploy pipeline, and its database over a connection of the lab's own.

Scenarios set things off and look for their goal through it; a step definition never gets one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from runlab.arm import Arm
from runlab.laboratory import Laboratory
from runlab.model import Json, JsonObject, Stack

PIPELINE_DEADLINE_S = 6.0
"""The pipeline's own deadline for one attempt, unscaled: a migration that waits for a lock fails nowhere else."""


@dataclass(frozen=True)
class Platform:
    """The running platform, deployed to with the settings of the arm's case."""

    pipeline: httpx.Client
    database: psycopg.Connection[JsonObject]
    settings: dict[str, Json]

    def deploy(self, revision: str) -> None:
        """Have the pipeline migrate to `revision`; it tries again by itself until stopped. Returns at once."""
        order = {"revision": revision, "deadline_s": PIPELINE_DEADLINE_S, "retry_every_s": 3.0, **self.settings}
        self.pipeline.post("/deployments", json=order).raise_for_status()

    def deployment(self) -> str:
        """The pipeline's word on its deployment: idle, running, waiting, failed, succeeded or stopped."""
        return str(self.pipeline.get("/deployment").raise_for_status().json()["status"])

    def revision(self) -> str:
        """The schema's revision, as alembic's table has it."""
        row = self.database.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row["version_num"]) if row else ""

    def columns(self, table: str) -> list[str]:
        rows = self.database.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position",
            (table,),
        )
        return [str(row["column_name"]) for row in rows]


@pytest.fixture
def platform(arm: Arm, laboratory: Laboratory) -> Iterator[Platform]:
    """The platform, for one arm."""
    stack = laboratory.stack
    with (
        httpx.Client(base_url=f"http://{stack.host('pipeline')}:8080", timeout=5.0) as pipeline,
        _connected(stack) as database,
    ):
        yield Platform(pipeline, database, dict(arm.settings))


def _connected(stack: Stack) -> psycopg.Connection[JsonObject]:
    return psycopg.connect(
        host=stack.host("postgres"),
        dbname="platform",
        user="postgres",
        password=stack.secret("POSTGRES_PASSWORD"),
        application_name="lab-observer",
        connect_timeout=5,
        autocommit=True,
        row_factory=dict_row,
    )
