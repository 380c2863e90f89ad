"""Which services start: by need, by name, and by what is installed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from runlab.model import LabError
from runlab.stack import choice, compose
from runlab.stack.choice import Choice
from runlab.stack.control import StackError

FILE = """
services:
  db: {command: [postgres], x-lab: {capabilities: [postgres]}}
  proxy:
    command: [toxiproxy-server]
    x-lab: {capabilities: [toxiproxy], fronts: {db-front: db}}
  api:
    command: [python]
    depends_on:
      proxy: {condition: service_started, required: false}
      db: {condition: service_started}
    x-lab: {capabilities: [api]}
  archive-users:
    profiles: [mariadb]
    command: [python]
    depends_on: [archive]
    x-lab: {capabilities: [archive-users]}
  archive:
    profiles: [mariadb]
    command: [python]
    depends_on: [other-db]
    x-lab: {capabilities: [archive]}
  other-db:
    profiles: [mariadb]
    command: [mariadbd]
    x-lab: {capabilities: [mariadb], reset: [[mariadb, -e, reset]]}
"""
ALWAYS = ("db", "proxy", "api")
OPTIONAL = ("archive-users", "archive", "other-db")


def choose(
    folder: Path,
    *,
    named: Collection[str] | None = None,
    needs: Collection[str] | None = None,
    lacking: Collection[str] = (),
    uid: int = 0,
    monkeypatch: pytest.MonkeyPatch,
) -> Choice:
    file = folder / "compose.yaml"
    file.write_text(FILE, encoding="utf-8")
    monkeypatch.setattr("os.geteuid", lambda: uid)

    def find(program: str, *, service: str) -> str:
        if program in lacking:
            raise StackError(f"service {service}: {program} is not installed", mend="get it")
        return f"/bin/{program}"

    return choice.choose(compose.read(file), named, needs, find)


@pytest.mark.parametrize(
    ("needs", "optional"),
    [
        (None, OPTIONAL),
        ((), ()),
        (("postgres", "nobody has this"), ()),
        (("mariadb",), OPTIONAL),
        (("archive",), OPTIONAL),  # a profile is active as a whole
        (("archive-users", "postgres"), OPTIONAL),
    ],
)
def test_an_optional_service_starts_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs: Collection[str] | None, optional: tuple[str, ...]
) -> None:
    made = choose(tmp_path, needs=needs, monkeypatch=monkeypatch)
    assert made.services == ALWAYS + optional
    assert ("mariadb" in made.capabilities) is bool(optional)
    assert made.available == {"postgres", "toxiproxy", "api", "archive-users", "archive", "mariadb", "accounts"}
    assert not made.missing


def test_without_its_programs_an_optional_service_is_left_out_with_what_requires_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = choose(tmp_path, needs={"archive-users"}, lacking={"mariadb"}, monkeypatch=monkeypatch)
    assert made.services == ALWAYS
    why = "service other-db: mariadb is not installed; get it"
    assert made.missing == {"mariadb": why, "archive": why, "archive-users": why}
    assert made.capabilities == made.available == {"postgres", "toxiproxy", "api", "accounts"}


def test_what_cannot_be_had_is_known_also_when_nobody_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = choose(tmp_path, needs=(), lacking={"mariadbd"}, monkeypatch=monkeypatch)
    assert set(made.missing) == {"mariadb", "archive", "archive-users"}


def test_a_front_is_left_out_alone_where_it_is_not_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = choose(tmp_path, needs=(), lacking={"toxiproxy-server"}, monkeypatch=monkeypatch)
    assert made.services == ("db", "api")
    assert made.missing == {"toxiproxy": "service proxy: toxiproxy-server is not installed; get it"}


def test_a_service_that_is_not_optional_is_left_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plan cannot be made, which is the error that names it."""
    made = choose(tmp_path, needs=(), lacking={"postgres"}, monkeypatch=monkeypatch)
    assert made.services == ALWAYS
    assert not made.missing


def test_a_service_asked_for_by_name_is_not_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(tmp_path, named=["archive"], monkeypatch=monkeypatch).services == ("archive", "other-db")
    assert choose(tmp_path, named=["api"], monkeypatch=monkeypatch).services == ("db", "api")
    with pytest.raises(StackError, match="service other-db: mariadbd is not installed"):
        choose(tmp_path, named=["archive"], lacking={"mariadbd"}, monkeypatch=monkeypatch)
    with pytest.raises(LabError, match="no such service: nobody"):
        choose(tmp_path, named=["nobody"], monkeypatch=monkeypatch)


def test_accounts_of_their_own_are_roots_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = choose(tmp_path, uid=1000, monkeypatch=monkeypatch)
    assert "accounts" not in made.capabilities | made.available
    assert made.missing["accounts"].startswith("without root")
