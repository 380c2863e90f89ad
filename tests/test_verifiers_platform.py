"""What scenarios ask of the platform: the orders that they give, and what counts as come about or as before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from runlab.model import Json
from runlab.waiting import DeadlineError
from verifiers import platform as platforms
from verifiers.platform import Platform

TITLE = {"tab": "projects", "col": "title", "kind": "text", "nullable": "NO"}
KEY = {"tab": "projects", "col": "projects_pkey", "kind": "PRIMARY KEY", "nullable": ""}
OWNER = {"tab": "projects", "col": "owner", "kind": "text", "nullable": "YES"}


class Hosts:
    """Each service at a name of its own."""

    def host(self, service: str) -> str:
        return f"{service}.test"


class Rows(list[dict[str, Any]]):
    """The result of a statement."""

    def fetchone(self) -> dict[str, Any] | None:
        return self[0] if self else None


@dataclass
class Database:
    """The structure and the revision of a schema, in place of a connection to one."""

    structure: list[dict[str, Any]] = field(default_factory=lambda: [TITLE, KEY])
    version: str | None = "0001_baseline"

    def execute(self, statement: str, values: Sequence[Any] | None = None, /) -> Rows:
        if "alembic_version" in statement:
            return Rows([{"version_num": self.version}] if self.version else [])
        return Rows(dict(row) for row in self.structure)


@dataclass
class Pipeline:
    """Answers as the pipeline and the API do; each look at the deployment takes the next of `statuses`."""

    orders: list[dict[str, Json]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=lambda: ["idle"])
    revision: str = "add_project_owner"
    serving: int = 200
    refuses: str = ""

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url}")
        if request.url.path == "/projects":
            return httpx.Response(self.serving, json=[])
        if request.method == "POST":
            if self.refuses:
                return httpx.Response(409, json={"detail": self.refuses})
            self.orders.append(json.loads(request.content))
            return httpx.Response(202, json={})
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return httpx.Response(200, json={"status": status, "revision": self.revision, "failed_on_production": 2})


@dataclass
class World:
    """The pipeline and the database, and platforms on them."""

    pipeline: Pipeline
    database: Database
    http: httpx.Client

    def platform(self, database: str = "postgres", **settings: Json) -> Platform:
        return Platform(Hosts(), self.http, self.database, database, settings)  # type: ignore[arg-type]


@pytest.fixture
def world() -> Iterator[World]:
    pipeline = Pipeline()
    with httpx.Client(transport=httpx.MockTransport(pipeline.answer)) as http:
        yield World(pipeline, Database(), http)


# ----------------------------------------------------------------------------------------------------------- orders


def test_an_order_is_of_the_case_s_settings_and_of_this_database(world: World) -> None:
    world.platform("mariadb", revision="link_comments", lock_timeout="2s").deploy()
    assert world.pipeline.asked == ["POST http://pipeline.test:8080/deployments"]
    assert world.pipeline.orders == [
        {
            "database": "mariadb",
            "deadline_s": platforms.PIPELINE_DEADLINE_S,
            "retry_every_s": platforms.RETRY_EVERY_S,
            "revision": "link_comments",
            "lock_timeout": "2s",
        }
    ]


def test_what_is_asked_for_goes_before_the_settings_and_they_before_the_usual(world: World) -> None:
    world.platform(revision="link_comments", retry_every_s=None, deadline_s=1.0).deploy("add_project_owner")
    (order,) = world.pipeline.orders
    assert (order["revision"], order["retry_every_s"], order["deadline_s"]) == ("add_project_owner", None, 1.0)


def test_a_refused_order_fails_with_the_pipeline_s_own_words(world: World) -> None:
    world.pipeline.refuses = "a deployment of 0002 is running"
    with pytest.raises(AssertionError, match=r"the pipeline refuses .*a deployment of 0002 is running"):
        world.platform(revision="add_project_owner").deploy()


@pytest.mark.parametrize("ends", ["succeeded", "failed", "stopped"])
def test_orders_in_turn_wait_for_each_other_however_each_ends(world: World, ends: str) -> None:
    world.pipeline.statuses = ["running", "running", ends]
    first, second = {"revision": "expand_project_status"}, {"revision": "contract_project_status"}
    world.platform("mariadb", revision="none of these").deploy_in_turn(first, second)
    usual = {"database": "mariadb", "deadline_s": platforms.PIPELINE_DEADLINE_S}
    assert world.pipeline.orders == [{**usual, **first}, {**usual, **second}]
    post, look = "POST http://pipeline.test:8080/deployments", "GET http://pipeline.test:8080/deployment"
    assert world.pipeline.asked == [post, look, look, look, post]


def test_a_turn_that_does_not_come_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "DEPLOYED_WITHIN_S", 0.1)
    world.pipeline.statuses = ["running"]
    with pytest.raises(DeadlineError, match="the deployment"):
        world.platform().deploy_in_turn({"revision": "a"}, {"revision": "b"})
    assert [order["revision"] for order in world.pipeline.orders] == ["a"]


# ------------------------------------------------------------------------------------------- what has come about


@pytest.mark.parametrize(
    ("status", "version", "expected"),
    [
        ("succeeded", "add_project_owner", True),
        ("succeeded", "0001_baseline", False),
        ("succeeded", None, False),
        ("failed", "add_project_owner", False),
        ("running", "add_project_owner", False),
    ],
)
def test_deployed_is_what_pipeline_and_schema_both_say(
    world: World, status: str, version: str | None, *, expected: bool
) -> None:
    world.pipeline.statuses, world.database.version = [status], version
    assert world.platform().deployed() is expected


def test_a_pipeline_that_does_not_answer_well_is_no_report(world: World) -> None:
    world.http = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(500)))
    with pytest.raises(httpx.HTTPStatusError):
        world.platform().report()


def test_attempts_that_failed_on_production_are_the_pipeline_s_count(world: World) -> None:
    assert world.platform().failed_on_production() == 2.0


@pytest.mark.parametrize(
    ("database", "address"),
    [("postgres", "http://lb.test:8000/projects?limit=1"), ("mariadb", "http://archive.test:8000/projects?limit=1")],
)
@pytest.mark.parametrize(("status", "expected"), [(200, True), (503, False), (404, False)])
def test_it_serves_where_the_api_of_that_database_answers(
    world: World, database: str, address: str, status: int, *, expected: bool
) -> None:
    world.pipeline.serving = status
    assert world.platform(database).serves() is expected
    assert world.pipeline.asked == [f"GET {address}"]


# ---------------------------------------------------------------------------------------------------- as it was before


CHANGES: Mapping[str, list[dict[str, str]]] = {
    "a column more": [TITLE, OWNER, KEY],
    "a column less": [KEY],
    "a key less": [TITLE],
    "another type": [{**TITLE, "kind": "integer"}, KEY],
    "NULL allowed": [{**TITLE, "nullable": "YES"}, KEY],
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_a_schema_that_a_deployment_changed_is_not_as_before_until_all_is_put_back(
    world: World, changed: list[dict[str, str]]
) -> None:
    platform, found = world.platform(revision="add_project_owner"), world.database.structure
    platform.deploy()
    assert platform.schema_is_as_before()
    world.database.structure = changed
    assert not platform.schema_is_as_before()
    world.database.structure = found[::-1]
    assert platform.schema_is_as_before()


def test_a_revision_that_a_deployment_wrote_is_not_as_before(world: World) -> None:
    platform = world.platform(revision="add_project_owner")
    platform.deploy()
    assert platform.revision_is_as_before()
    world.database.version = "add_project_owner"
    assert (platform.revision_is_as_before(), platform.schema_is_as_before()) == (False, True)


def test_before_is_what_the_first_of_several_orders_found(world: World) -> None:
    platform = world.platform()
    platform.deploy_in_turn({"revision": "expand_project_status"})
    world.database.structure, world.database.version = [TITLE, OWNER, KEY], "expand_project_status"
    platform.deploy("contract_project_status")
    assert (platform.schema_is_as_before(), platform.revision_is_as_before()) == (False, False)


def test_without_a_deployment_all_is_as_before(world: World) -> None:
    assert world.platform().schema_is_as_before()
    assert world.platform().revision_is_as_before()


def test_columns_are_named_with_their_table(world: World) -> None:
    world.database.structure = [TITLE, OWNER]
    assert world.platform().columns() == ["projects.title", "projects.owner"]
