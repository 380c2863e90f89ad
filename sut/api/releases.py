"""What each release of the API knows of the database. Columns that a later schema adds are neither read nor written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import BigInteger, Column, DateTime, Label, MetaData, Table, Text


@dataclass(frozen=True)
class Release:
    """A release by its number; a column's key is the name of the field that it is in JSON."""

    number: str
    projects: Table

    @cached_property
    def project(self) -> tuple[Label[object], ...]:
        """What is selected for one project, under the names of its fields."""
        return tuple(column.label(column.key) for column in self.projects.c)

    @property
    def has_owner(self) -> bool:
        return "owner" in self.projects.c

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """Table and column of everything that this release reads or writes."""
        return tuple((self.projects.name, column.name) for column in self.projects.c)


def _release(number: str, status: str, *more: Column[str]) -> Release:
    projects = Table(
        "projects",
        MetaData(),
        Column("id", BigInteger, primary_key=True),
        Column("name", Text, nullable=False),
        Column(status, Text, key="status", nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False),
        Column("updated_at", DateTime(timezone=True), nullable=False),
        *more,
    )
    return Release(number, projects)


RELEASES = {
    release.number: release
    for release in (
        _release("1", "status"),
        # a project has an owner
        _release("2", "status", Column("owner", Text)),
        # a project's status is kept in another column
        _release("3", "state"),
    )
}
