"""What can be ordered of the pipeline, and what it reports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from sut.migrate.names import Database

Edition = Literal["candidate", "fixed"]
Copy = Literal["full", "sanitized"]
State = Literal["idle", "running", "waiting", "failed", "succeeded", "stopped"]

LINT, REHEARSAL, MIGRATION, RELEASE = "lint", "rehearsal", "alembic upgrade", "release"
STEPS = (LINT, REHEARSAL, MIGRATION, RELEASE)
"""A deployment's steps, in their order; the first two only if they are ordered."""

Revision = Annotated[str, Field(pattern=r"^\w+$")]


class Order(BaseModel):
    """What to deploy.

    `release`: what the API's nodes are rolled out to after the migration; null only checks that the API serves.
    `lock_timeout`: such as "2s" or "500ms". `runners`: so many processes migrate at once. `release_regardless`: go on
    to the release although the migration failed. `deadline_s` bounds the migration step; `retry_every_s` null means no
    automatic retry.
    """

    revision: Revision
    database: Database = "postgres"
    release: Annotated[str, Field(pattern=r"^\w+$")] | None = None
    lock_timeout: Annotated[str, Field(pattern=r"^\d+(ms|s)$")] | None = None
    lint: Literal["squawk"] | None = None
    rehearse: Copy | None = None
    runners: Annotated[int, Field(ge=1, le=8)] = 1
    release_regardless: bool = False
    deadline_s: Annotated[float, Field(gt=0)]
    retry_every_s: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _nodes_are_of_the_api_on_postgres(self) -> Order:
        if self.release is not None and self.database != "postgres":
            raise ValueError("release: the nodes run the API on postgres, and no others are rolled out")
        return self


class Report(BaseModel):
    """Where the deployment stands.

    `waiting` is between two automatic attempts; `attempts` counts those begun, `failed_on_production` those whose
    migration step failed; `error` is that of the last to end, `rehearsal` how the last one went. `edition` says whose
    script is used from now on. Times are Unix time in seconds.
    """

    status: State = "idle"
    revision: str | None = None
    database: Database | None = None
    edition: Edition = "candidate"
    attempts: int = 0
    failed_on_production: int = 0
    rehearsal: Literal["passed", "failed"] | None = None
    step: str | None = None
    error: str | None = None
    started: float | None = None
    finished: float | None = None


class RefusedError(Exception):
    """The pipeline's state or settings do not allow what was asked."""


class FailedError(Exception):
    """What was asked was tried and failed; the message is the command's last words."""
