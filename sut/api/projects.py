"""GET, POST and PATCH of projects."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field
from sqlalchemy import Engine, Executable, func, insert, select, update

from sut.api.database import projects

Status = Literal["planned", "active", "done"]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class NewProject(BaseModel):
    name: Name
    status: Status = "planned"


class Change(BaseModel):
    name: Name | None = None
    status: Status | None = None


class Project(NewProject):
    id: int
    created_at: datetime
    updated_at: datetime


def make_router(engine: Engine) -> APIRouter:
    """The routes of /projects; each request is one transaction on a connection of `engine`.

    The endpoints are plain functions: each takes a worker thread for as long as the database takes to answer.
    """
    router = APIRouter(prefix="/projects")

    @router.get("")
    def list_projects(
        after: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> list[Project]:
        """A page in the order of ids, beginning behind `after`."""
        page = select(projects).where(projects.c.id > after).order_by(projects.c.id).limit(limit)
        with engine.begin() as database:
            return [Project(**row) for row in database.execute(page).mappings()]

    @router.get("/{project_id}")
    def get_project(project_id: int) -> Project:
        return one(select(projects).where(projects.c.id == project_id), project_id)

    @router.post("", status_code=201)
    def create_project(new: NewProject) -> Project:
        with engine.begin() as database:
            created = database.execute(insert(projects).values(**new.model_dump()).returning(projects))
            return Project(**created.mappings().one())

    @router.patch("/{project_id}")
    def change_project(project_id: int, change: Change) -> Project:
        values = {**change.model_dump(exclude_none=True), "updated_at": func.now()}
        changed = update(projects).where(projects.c.id == project_id).values(**values)
        return one(changed.returning(projects), project_id)

    def one(statement: Executable, project_id: int) -> Project:
        with engine.begin() as database:
            row = database.execute(statement).mappings().one_or_none()
        if row is None:
            raise HTTPException(404, f"no project {project_id}")
        return Project(**row)

    return router
