"""From an order to commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sut.pipeline.order import LINT, MIGRATION, REHEARSAL, RELEASE, Order, RefusedError
from sut.pipeline.plan import Plan
from sut.pipeline.step import Step

PLAN = Plan({"postgres": "http://lb/projects", "mariadb": "http://archive/projects"}, ("http://a:1", "http://b:1"))


def order(**given: Any) -> Order:
    return Order.model_validate({"revision": "r", "deadline_s": 7, **given})


def migrate(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "sut.migrate", *arguments)


def test_the_plainest_order_migrates_and_checks() -> None:
    migration, release = PLAN.steps(order(), "candidate")
    environment = {"DATABASE": "postgres", "MIGRATION_EDITION": "candidate"}
    assert migration == Step(MIGRATION, (migrate("upgrade", "r"),), 7, environment, together=True)
    assert Path(migration.commands[0][0]).is_absolute()
    assert release.name == RELEASE
    assert [argv[-1] for argv in release.commands] == ["http://lb/projects"]


def test_every_migrating_step_is_told_database_edition_and_bound() -> None:
    ordered = order(database="mariadb", lock_timeout="2s", lint="squawk", rehearse="sanitized", runners=3)
    lint, rehearsal, migration, release = PLAN.steps(ordered, "fixed")
    assert [step.name for step in (lint, rehearsal, migration, release)] == [LINT, REHEARSAL, MIGRATION, RELEASE]
    told = {"DATABASE": "mariadb", "MIGRATION_EDITION": "fixed", "MIGRATION_LOCK_TIMEOUT": "2s"}
    assert all(step.environment == told for step in (lint, rehearsal, migration))
    assert lint.commands == (migrate("lint", "r"),)
    assert rehearsal.commands == (migrate("rehearse", "r", "--copy", "sanitized"),)
    assert migration.commands == (migrate("upgrade", "r"),) * 3
    assert release.commands[0][-1] == "http://archive/projects"


def test_a_release_is_rolled_out_node_by_node_before_the_check() -> None:
    release = PLAN.steps(order(release="2"), "candidate")[-1]
    assert not release.together
    assert [argv[-1] for argv in release.commands] == ["http://a:1/release", "http://b:1/release", "http://lb/projects"]
    assert '{"release": "2"}' in release.commands[0]


def test_what_the_settings_have_no_place_for_is_refused() -> None:
    with pytest.raises(RefusedError, match="RELEASE_NODES"):
        Plan({"postgres": "http://lb"}).steps(order(release="2"), "candidate")
    with pytest.raises(RefusedError, match="nothing serves on mariadb"):
        Plan({"postgres": "http://lb"}).steps(order(database="mariadb"), "candidate")


@pytest.mark.parametrize("given", [
    {"revision": "--sql"},
    {"revision": ""},
    {"database": "oracle"},
    {"lock_timeout": "2 hours"},
    {"lint": "another"},
    {"rehearse": "half"},
    {"runners": 0},
    {"deadline_s": 0},
    {"release": '2"}'},
    {"release": "2", "database": "mariadb"},
])  # fmt: skip
def test_an_order_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        order(**given)


def test_one_off_commands_are_of_the_same_database_and_edition() -> None:
    ordered = order(database="mariadb")
    told = {"DATABASE": "mariadb", "MIGRATION_EDITION": "fixed"}
    for step, arguments in (
        (PLAN.rehearsal(ordered, "fixed", "full"), ("rehearse", "r", "--copy", "full")),
        (PLAN.sql(ordered, "fixed"), ("sql", "r")),
        (PLAN.stamp(ordered, "fixed", "before"), ("stamp", "before")),
    ):
        assert step.commands == (migrate(*arguments),)
        assert step.environment == told
