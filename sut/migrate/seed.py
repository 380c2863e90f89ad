"""The rows of the first day, in SQL that both servers understand.

Every task has an assignee and every comment a task; there are no milestones.
"""

from __future__ import annotations

import sqlalchemy as sa

PROJECTS, TASKS, COMMENTS = 3000, 9000, 3000

NUMBERS = {
    "postgresql": "generate_series(1, {0}) AS numbers (n)",
    "mariadb": "(SELECT seq AS n FROM seq_1_to_{0}) AS numbers",
}
"""The numbers from 1 to {0}, as a table with one column, n."""

ROWS = {
    "projects (name, status)": (
        "concat('Project ', n), CASE n % 3 WHEN 0 THEN 'planned' WHEN 1 THEN 'active' ELSE 'done' END",
        PROJECTS,
    ),
    "tasks (project_id, title, done, assignee)": (
        f"1 + n % {PROJECTS}, concat('Task ', n), n % 2 = 0, concat('Assignee ', 1 + n % 40)",
        TASKS,
    ),
    "comments (task_id, body)": (f"1 + n % {TASKS}, concat('Comment ', n)", COMMENTS),
}


def seed(connection: sa.Connection) -> None:
    """Fill the tables of the baseline; to be done once."""
    for into, (values, count) in ROWS.items():
        numbers = NUMBERS[connection.dialect.name].format(count)
        connection.execute(sa.text(f"INSERT INTO {into} SELECT {values} FROM {numbers}"))  # noqa: S608 - all of it above
