"""From an order to the commands that carry it out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from sut.migrate.names import Database
from sut.pipeline.order import LINT, MIGRATION, REHEARSAL, RELEASE, Copy, Edition, Order, RefusedError
from sut.pipeline.step import Argv, Step

LINT_DEADLINE_S = REHEARSAL_DEADLINE_S = 30.0
RELEASE_DEADLINE_S = 45.0
NODE_LIMIT_S = 12
"""A node gives a release up after 8 s; it has the last word."""


@dataclass(frozen=True)
class Plan:
    """Where things are: `checks` holds for each database the URL that a served release answers, `nodes` base URLs."""

    checks: Mapping[Database, str] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()

    def steps(self, order: Order, edition: Edition) -> tuple[Step, ...]:
        """The deployment's steps, in order. Raises RefusedError for what these settings have no place for."""
        environment = _environment(order, edition)
        steps = []
        if order.lint:
            steps.append(Step(LINT, (_migrate("lint", order.revision),), LINT_DEADLINE_S, environment))
        if order.rehearse:
            steps.append(self.rehearsal(order, edition, order.rehearse))
        upgrades = (_migrate("upgrade", order.revision),) * order.runners
        steps.append(Step(MIGRATION, upgrades, order.deadline_s, environment, together=True))
        steps.append(Step(RELEASE, (*self._roll_out(order), self._check(order.database)), RELEASE_DEADLINE_S))
        return tuple(steps)

    def rehearsal(self, order: Order, edition: Edition, copy: Copy) -> Step:
        """Migrate a copy of the order's database."""
        argv = _migrate("rehearse", order.revision, "--copy", copy)
        return Step(REHEARSAL, (argv,), REHEARSAL_DEADLINE_S, _environment(order, edition))

    def sql(self, order: Order, edition: Edition) -> Step:
        """Print what the migration would execute."""
        return Step("sql", (_migrate("sql", order.revision),), LINT_DEADLINE_S, _environment(order, edition))

    def stamp(self, order: Order, edition: Edition, revision: str) -> Step:
        """Note another revision in the tracking table of the order's database."""
        return Step("stamp", (_migrate("stamp", revision),), order.deadline_s, _environment(order, edition))

    def _roll_out(self, order: Order) -> tuple[Argv, ...]:
        if order.release is None:
            return ()
        if not self.nodes:
            raise RefusedError("no nodes to roll a release out to: RELEASE_NODES is empty")
        body = json.dumps({"release": order.release})
        return tuple(
            ("curl", "--silent", "--show-error", "--fail-with-body", "--max-time", str(NODE_LIMIT_S),
             "--request", "PUT", "--header", "Content-Type: application/json", "--data", body, f"{node}/release")
            for node in self.nodes
        )  # fmt: skip

    def _check(self, database: Database) -> Argv:
        if database not in self.checks:
            raise RefusedError(f"nothing serves on {database} here: no URL to check a release at")
        return ("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", "4",
                "--retry", "3", "--retry-delay", "1", self.checks[database])  # fmt: skip


def _migrate(*arguments: str) -> Argv:
    return (sys.executable, "-m", "sut.migrate", *arguments)


def _environment(order: Order, edition: Edition) -> dict[str, str]:
    lock_timeout = {"MIGRATION_LOCK_TIMEOUT": order.lock_timeout} if order.lock_timeout else {}
    return {"DATABASE": order.database, "MIGRATION_EDITION": edition, **lock_timeout}
