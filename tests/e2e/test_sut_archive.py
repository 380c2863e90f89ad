"""The archive: the same API on a real MariaDB, and users of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pymysql
import pytest

from runlab.stack import processes
from runlab.stack.processes import ProcessStack
from runlab.waiting import wait_until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("mariadbd") is None, reason="MariaDB is not installed")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStack]:
    running = processes.start(
        ROOT / "compose" / "compose.yaml",
        reports=tmp_path_factory.mktemp("reports"),
        run_id="archive",
        time_scale=600,
        rules=lambda text, _file: text,
        services=["archive-users"],
    )
    yield running
    running.stop()


@pytest.fixture
def archive(stack: ProcessStack) -> httpx.Client:
    stack.reset()
    return httpx.Client(base_url=f"http://{stack.host('archive')}:8000", timeout=10, trust_env=False)


def test_it_serves_as_the_other_does(archive: httpx.Client) -> None:
    created = archive.post("/projects", json={"name": "Größe 😀"})
    assert created.status_code == 201
    assert created.json()["created_at"].endswith("Z")
    one = f"/projects/{created.json()['id']}"
    assert archive.patch(one, json={"status": "done"}).json() == archive.get(one).json()
    assert (archive.get(one).json()["name"], archive.get(one).json()["status"]) == ("Größe 😀", "done")
    assert [project["id"] for project in archive.get("/projects?limit=7").json()] == list(range(1, 8))
    assert archive.get("/projects/999999").status_code == 404
    assert archive.patch("/projects/999999", json={"status": "done"}).status_code == 404


def test_its_users_write_down_which_api_they_asked(stack: ProcessStack, archive: httpx.Client) -> None:
    record = stack.data_folder("archive-users") / "users.jsonl"

    def endpoints() -> set[str]:
        events = [json.loads(line) for line in record.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return {event["endpoint"] for event in events if event["event"] == "start"}

    expected = {f"archive {it}" for it in ("GET /projects", "GET /projects/{id}", "PATCH /projects/{id}")}
    wait_until("each endpoint", lambda: endpoints() == {*expected, "archive POST /projects"}, deadline_s=20)


def test_nobody_gets_in_without_a_password(stack: ProcessStack) -> None:
    for user in ("root", "app", "oncall", ""):
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            pymysql.connect(host=stack.host("mariadb"), user=user)
    pymysql.connect(host=stack.host("mariadb"), user="root", password=stack.secret("MARIADB_ROOT_PASSWORD")).close()
    for log in stack.log_files().values():
        assert stack.secret("MARIADB_ROOT_PASSWORD") not in log.read_text(), log


def test_nothing_is_written_outside_the_runs_folder(stack: ProcessStack) -> None:
    with (
        pymysql.connect(
            host=stack.host("mariadb"), user="root", password=stack.secret("MARIADB_ROOT_PASSWORD")
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT @@datadir, @@tmpdir, @@pid_file, @@socket")
        row = cursor.fetchone()
    assert row
    data, temporary, pid_file, socket = (str(value) for value in row)
    folder = stack.data_folder("mariadb").parent
    assert Path(data) == folder / "data"
    for place in (temporary, str(Path(data) / pid_file), str(Path(data) / socket)):
        assert Path(place).resolve().is_relative_to(folder), place
