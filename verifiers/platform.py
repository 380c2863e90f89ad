"""The platform as its owners see it: its deploy pipeline, its API, and its databases over connections of the lab's.

Scenarios set things off and look for their goal through it; a step definition never gets one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import httpx
import pytest

from runlab.arm import Arm
from runlab.databases import Connection, connect, quoted
from runlab.laboratory import Laboratory
from runlab.model import Json, JsonObject, Stack
from runlab.waiting import wait_until

PIPELINE_DEADLINE_S = 6.0
"""The pipeline's own deadline for one attempt, unscaled: a migration that waits for a lock fails nowhere else."""
RETRY_EVERY_S = 3.0
"""The pipeline's pause before it tries again by itself."""
DEPLOYED_WITHIN_S = 15.0

_STRUCTURE = """
    SELECT table_name AS tab, column_name AS col, data_type AS kind, is_nullable AS nullable
    FROM information_schema.columns WHERE table_schema IN ('public', 'platform')
    UNION ALL
    SELECT table_name, constraint_name, constraint_type, ''
    FROM information_schema.table_constraints
    WHERE table_schema IN ('public', 'platform') AND constraint_type IN ('PRIMARY KEY', 'FOREIGN KEY', 'UNIQUE')
    ORDER BY 1, 2, 3
"""


@dataclass
class Platform:
    """The running platform with one of its databases, deployed to with the settings of the arm's case."""

    stack: Stack
    http: httpx.Client
    connection: Connection
    database: str
    settings: Mapping[str, Json]
    _before: tuple[frozenset[tuple[str, ...]], str] | None = None
    """Structure and revision as the deployment found them."""

    # ------------------------------------------------------------------------------------------------ the pipeline

    def deploy(self, revision: str | None = None) -> None:
        """Have the pipeline migrate to `revision`, or to that of the case's settings; it tries again by itself until
        stopped. Returns at once."""
        given = {"revision": revision} if revision else {}
        self._order({"retry_every_s": RETRY_EVERY_S, **self.settings, **given})

    def deploy_in_turn(self, *orders: Mapping[str, Json]) -> None:
        """Have the pipeline carry out one order after the other, however each ends; returns once the last one runs."""
        for number, order in enumerate(orders):
            if number:
                wait_until("the deployment", lambda: self.deployment() != "running", deadline_s=DEPLOYED_WITHIN_S)
            self._order(order)

    def report(self) -> JsonObject:
        """All that the pipeline tells of its deployment."""
        told: JsonObject = self.http.get(self._pipeline("/deployment")).raise_for_status().json()
        return told

    def deployment(self) -> str:
        """The pipeline's word on its deployment: idle, running, waiting, failed, succeeded or stopped."""
        return str(self.report()["status"])

    def deployed(self) -> bool:
        """Whether what was ordered has come about: the pipeline says so, and the schema is at that revision."""
        report = self.report()
        return report["status"] == "succeeded" and self.revision() == str(report["revision"])

    def failed_on_production(self) -> float:
        """How many attempts of this deployment failed on the production database."""
        return float(self.report()["failed_on_production"])

    # ------------------------------------------------------------------------------------------------- the database

    def revision(self) -> str:
        """The schema's revision, as alembic's table has it."""
        row = self.connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row["version_num"]) if row else ""

    def columns(self) -> list[str]:
        """Every column of the platform's tables, as "table.column"."""
        rows = self.connection.execute(
            "SELECT table_name AS tab, column_name AS col FROM information_schema.columns"
            " WHERE table_schema IN ('public', 'platform') ORDER BY table_name, ordinal_position"
        )
        return [f"{row['tab']}.{row['col']}" for row in rows]

    def schema_is_as_before(self) -> bool:
        """Whether columns and constraints are what the deployment found."""
        return self._before is None or self._before[0] == self._structure()

    def revision_is_as_before(self) -> bool:
        """Whether alembic's table says what the deployment found there."""
        return self._before is None or self._before[1] == self.revision()

    def read_until_others_wait(self, table: str, others: int) -> None:
        """Hold a transaction that has read `table` until so many sessions wait to migrate it (PostgreSQL)."""
        waiting = (
            "SELECT count(DISTINCT pid) AS them FROM pg_locks"
            " WHERE NOT granted AND mode IN ('ExclusiveLock', 'AccessExclusiveLock')"
        )
        self.connection.execute("BEGIN")
        try:
            self.connection.execute(f"SELECT 1 FROM {quoted(table)} LIMIT 1")  # noqa: S608
            wait_until(
                f"{others} sessions to wait",
                lambda: next(iter(self.connection.execute(waiting)))["them"] == others,
                deadline_s=PIPELINE_DEADLINE_S,
            )
        finally:
            self.connection.execute("ROLLBACK")

    # --------------------------------------------------------------------------------------------------- the release

    def serves(self) -> bool:
        """Whether the API that has this database answers a request for projects."""
        service = "lb" if self.database == "postgres" else "archive"
        return self.http.get(f"http://{self.stack.host(service)}:8000/projects?limit=1").is_success

    def _order(self, order: Mapping[str, Json]) -> None:
        self._before = self._before or (self._structure(), self.revision())
        order = {"database": self.database, "deadline_s": PIPELINE_DEADLINE_S, **order}
        answer = self.http.post(self._pipeline("/deployments"), json=order)
        assert answer.is_success, f"the pipeline refuses {order}: {answer.text}"

    def _structure(self) -> frozenset[tuple[str, ...]]:
        return frozenset(tuple(map(str, row.values())) for row in self.connection.execute(_STRUCTURE))

    def _pipeline(self, path: str) -> str:
        return f"http://{self.stack.host('pipeline')}:8080{path}"


@pytest.fixture
def platform(arm: Arm, laboratory: Laboratory) -> Iterator[Platform]:
    """The platform, for one arm."""
    database = str(arm.settings.get("database", "postgres"))
    of_fault = {field.name for field in fields(arm.spec.fault)} if arm.spec.fault else set()  # type: ignore[arg-type]
    orders = {name: value for name, value in arm.settings.items() if name == "database" or name not in of_fault}
    with connect(laboratory.stack, database) as connection, httpx.Client(timeout=5.0) as http:
        yield Platform(laboratory.stack, http, connection, database, orders)
