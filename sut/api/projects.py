"""GET, POST and PATCH of projects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import Connection, Engine, func, insert, select, update

from sut.api.releases import Release

Status = Literal["planned", "active", "done"]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[datetime, AfterValidator(lambda moment: moment if moment.tzinfo else moment.replace(tzinfo=UTC))]
"""MariaDB keeps no time zone; its sessions are in UTC."""


class NewProject(BaseModel):
    name: Name
    status: Status = "planned"


class Change(BaseModel):
    name: Name | None = None
    status: Status | None = None


class Project(NewProject):
    id: int
    created_at: Moment
    updated_at: Moment


class OwnedProject(Project):
    owner: str | None


def make_router(engine: Engine, release: Release) -> APIRouter:
    """The routes of /projects; each request is one transaction on a connection of `engine`.

    The endpoints are plain functions: each takes a worker thread for as long as the database takes to answer.
    """
    router = APIRouter(prefix="/projects")
    projects = release.projects
    shown = OwnedProject if release.has_owner else Project

    @router.get("", response_model=list[shown])  # type: ignore[valid-type]
    def list_projects(
        after: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> list[Project]:
        """A page in the order of ids, beginning behind `after`."""
        page = select(*release.project).where(projects.c.id > after).order_by(projects.c.id).limit(limit)
        with engine.begin() as database:
            return [shown(**row) for row in database.execute(page).mappings()]

    @router.get("/{project_id}", response_model=shown)
    def get_project(project_id: int) -> Project:
        with engine.begin() as database:
            return one(database, project_id)

    @router.post("", status_code=201, response_model=shown)
    def create_project(new: NewProject) -> Project:
        with engine.begin() as database:
            created = database.execute(insert(projects).values(**new.model_dump()).returning(*release.project))
            return shown(**created.mappings().one())

    @router.patch("/{project_id}", response_model=shown)
    def change_project(project_id: int, change: Change) -> Project:
        values = {**change.model_dump(exclude_none=True), "updated_at": func.now()}
        with engine.begin() as database:
            # read in a statement of its own: MariaDB's UPDATE returns no rows
            database.execute(update(projects).where(projects.c.id == project_id).values(**values))
            return one(database, project_id)

    def one(database: Connection, project_id: int) -> Project:
        row = database.execute(select(*release.project).where(projects.c.id == project_id)).mappings().one_or_none()
        if row is None:
            raise HTTPException(404, f"no project {project_id}")
        return shown(**row)

    return router
